package request

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"strings"

	"github.com/penstock/penstock/storage"
)

// record is one record of an S3 event notification. See "Event message
// structure" in the S3 user guide.
type record struct {
	EventVersion string `json:"eventVersion"`
	EventSource  string `json:"eventSource"`
	EventName    string `json:"eventName"`
	S3           struct {
		Bucket struct {
			Name string `json:"name"`
		} `json:"bucket"`
		Object struct {
			Key       string `json:"key"`
			Size      int64  `json:"size"`
			ETag      string `json:"eTag"`
			Sequencer string `json:"sequencer"`
		} `json:"object"`
	} `json:"s3"`
	// A Lambda function subscribed to a topic gets the notification here.
	SNS *struct {
		Message string `json:"Message"`
	} `json:"Sns"`
}

func decodeRecords(raw json.RawMessage, wraps int) ([]Request, error) {
	var records []record
	if err := json.Unmarshal(raw, &records); err != nil {
		return nil, fmt.Errorf("the event's Records are not those of S3: %w", jsonFault(err))
	}
	return collect(records, func(r record) ([]Request, error) {
		if r.SNS != nil {
			return decode([]byte(r.SNS.Message), wraps+1)
		}
		return r.requests()
	})
}

func (r record) requests() ([]Request, error) {
	if r.EventSource != "" && r.EventSource != "aws:s3" {
		return nil, fmt.Errorf("the record is of %q, not of aws:s3", r.EventSource)
	}
	if r.EventName == "" {
		return nil, errors.New("the record has no eventName, so it is none of S3's")
	}
	// Within a major version new members may come, none goes (S3 user guide).
	if major, _, _ := strings.Cut(r.EventVersion, "."); r.EventVersion != "" && major != "2" {
		return nil, fmt.Errorf("the record is of eventVersion %q; only 2.x is understood", r.EventVersion)
	}
	// S3 leaves out the "s3:" that other servers write.
	if name := strings.TrimPrefix(r.EventName, "s3:"); !strings.HasPrefix(name, "ObjectCreated:") {
		return nil, nil
	}
	// Keys are form-encoded here: a space is "+", unlike in a URL's path.
	key, err := url.QueryUnescape(r.S3.Object.Key)
	if err != nil {
		return nil, fmt.Errorf("the object's key %q is not URL-encoded as S3 does it: %w", r.S3.Object.Key, err)
	}
	o := r.S3.Object
	return uploaded(r.S3.Bucket.Name, key, o.ETag, o.Size, o.Sequencer)
}

func decodeEventBridge(body []byte) ([]Request, error) {
	var e struct {
		Source     string `json:"source"`
		DetailType string `json:"detail-type"`
		Detail     struct {
			Bucket struct {
				Name string `json:"name"`
			} `json:"bucket"`
			Object struct {
				Key       string `json:"key"` // as it is: EventBridge does not encode
				Size      int64  `json:"size"`
				ETag      string `json:"etag"`
				Sequencer string `json:"sequencer"`
			} `json:"object"`
		} `json:"detail"`
	}
	if err := json.Unmarshal(body, &e); err != nil {
		return nil, fmt.Errorf("the event is not one of S3 by EventBridge: %w", jsonFault(err))
	}
	if e.Source != "aws.s3" {
		return nil, fmt.Errorf("the event is of source %q, not of aws.s3", e.Source)
	}
	switch {
	case !strings.HasPrefix(e.DetailType, "Object "):
		return nil, fmt.Errorf("the event is S3's %q, which does not tell of objects as its notifications do: turn EventBridge on for the bucket, and let the rule match the detail-type \"Object Created\"", e.DetailType)
	case e.DetailType != "Object Created": // such as "Object Deleted"
		return nil, nil
	}
	o := e.Detail.Object
	return uploaded(e.Detail.Bucket.Name, o.Key, o.ETag, o.Size, o.Sequencer)
}

// uploaded makes the request of an object that appeared in a bucket, or none
// where the object is no input. The version id that events carry is not taken
// over: events come late and out of order, so the object that is there now
// counts, not the one the event tells of.
func uploaded(bucket, key, etag string, size int64, sequencer string) ([]Request, error) {
	r, ok, err := Uploaded(storage.Info{Ref: storage.Ref{Bucket: bucket, Key: key}, ETag: etag, Size: size})
	if !ok || err != nil {
		return nil, err
	}
	r.Sequencer = sequencer
	return []Request{r}, nil
}

// Uploaded makes the request that an event of this object's upload asks for.
// It serves those who find objects by other ways than events, such as a
// listing. ok is false where events ask for nothing: for folder markers and
// for Penstock's own objects. An error says that no worker could run it.
func Uploaded(found storage.Info) (r Request, ok bool, err error) {
	if inStateFolder(found.Ref.Key) || isFolderMarker(found.Ref.Key, found.Size) {
		return Request{}, false, nil
	}
	r = Request{Input: storage.Ref{Bucket: found.Ref.Bucket, Key: found.Ref.Key}, ETag: trimETag(found.ETag), Size: found.Size}
	return r, true, r.Validate()
}

// isFolderMarker says that an object is one of the empty ones that consoles
// make to show a folder.
func isFolderMarker(key string, size int64) bool {
	return strings.HasSuffix(key, "/") && size == 0
}
