package request

import (
	"encoding/json"
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
			Key  string `json:"key"`
			Size int64  `json:"size"`
			ETag string `json:"eTag"`
		} `json:"object"`
	} `json:"s3"`
	// A Lambda function subscribed to a topic gets the notification here.
	Sns *struct {
		Message string `json:"Message"`
	} `json:"Sns"`
}

func decodeRecords(raw json.RawMessage, wraps int) ([]Request, error) {
	var records []record
	if err := json.Unmarshal(raw, &records); err != nil {
		return nil, fmt.Errorf("the event's Records are not those of S3: %w", err)
	}
	if len(records) > 0 && records[0].Sns != nil {
		return decodeSNSRecords(records, wraps)
	}
	return collect(records, record.request)
}

func decodeSNSRecords(records []record, wraps int) ([]Request, error) {
	if wraps >= maxWraps {
		return nil, fmt.Errorf("the message is wrapped by SNS more than twice")
	}
	var all []Request
	for i, r := range records {
		if r.Sns == nil {
			return all, fmt.Errorf("item %d of %d: not a record of SNS like the first", i+1, len(records))
		}
		requests, err := decode([]byte(r.Sns.Message), wraps+1)
		all = append(all, requests...)
		if err != nil {
			return all, fmt.Errorf("item %d of %d: %w", i+1, len(records), err)
		}
	}
	return all, nil
}

func (r record) request() (Request, error) {
	if r.EventSource != "" && r.EventSource != "aws:s3" {
		return Request{}, fmt.Errorf("the record is of %q, not of aws:s3", r.EventSource)
	}
	// Within a major version new members may come, none goes (S3 user guide).
	if major, _, _ := strings.Cut(r.EventVersion, "."); r.EventVersion != "" && major != "2" {
		return Request{}, fmt.Errorf("the record is of eventVersion %q; only 2.x is understood", r.EventVersion)
	}
	if name := strings.TrimPrefix(r.EventName, "s3:"); !strings.HasPrefix(name, "ObjectCreated:") {
		return Request{}, errNothing
	}
	// Keys are form-encoded here: a space is "+", and so not a path's "%2B".
	key, err := url.QueryUnescape(r.S3.Object.Key)
	if err != nil {
		return Request{}, fmt.Errorf("the object's key %q is not URL-encoded as S3 does it: %w", r.S3.Object.Key, err)
	}
	return uploaded(r.S3.Bucket.Name, key, r.S3.Object.ETag, r.S3.Object.Size)
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
				Key  string `json:"key"` // as it is: EventBridge does not encode
				Size int64  `json:"size"`
				ETag string `json:"etag"`
			} `json:"object"`
		} `json:"detail"`
	}
	if err := json.Unmarshal(body, &e); err != nil {
		return nil, fmt.Errorf("the event is not one of EventBridge: %w", err)
	}
	if e.Source != "aws.s3" {
		return nil, fmt.Errorf("the event is of source %q, not of aws.s3", e.Source)
	}
	if e.DetailType != "Object Created" {
		return nil, nil
	}
	o := e.Detail.Object
	r, err := uploaded(e.Detail.Bucket.Name, o.Key, o.ETag, o.Size)
	return collect([]int{0}, func(int) (Request, error) { return r, err })
}

// uploaded makes the request of an object that appeared in a bucket. The
// version id that events carry is not taken over: events come late and out of order, so
// the object that is there now counts, not the one the event tells of.
func uploaded(bucket, key, etag string, size int64) (Request, error) {
	if ignoredKey(key, size) {
		return Request{}, errNothing
	}
	r := Request{Input: storage.Ref{Bucket: bucket, Key: key}, ETag: trimETag(etag), Size: size}
	return r, r.Validate()
}

// ignoredKey says that an object is no input whoever uploads it: Penstock's
// own state, which may lie in a watched bucket, and the empty objects that
// consoles make to show a folder.
func ignoredKey(key string, size int64) bool {
	return strings.HasPrefix(key, stateFolder) || strings.Contains(key, "/"+stateFolder) ||
		strings.HasSuffix(key, "/") && size == 0
}

// stateFolder is the name below which Penstock keeps its own objects.
const stateFolder = ".penstock/"
