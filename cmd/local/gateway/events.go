package gateway

import (
	"context"
	"encoding/json"
	"encoding/xml"
	"fmt"
	"net/url"
	"strings"
	"sync/atomic"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/gofiber/fiber/v3"
	"github.com/versity/versitygw/s3event"
	"go.uber.org/zap"
)

// eventTimeout bounds how long a write waits until OnEvent has taken its
// event, over all attempts.
const eventTimeout = 10 * time.Second

// heads is the part of the backend that events need.
type heads interface {
	HeadObject(context.Context, *s3.HeadObjectInput) (*s3.HeadObjectOutput, error)
}

// events makes versitygw's events into documents. It is called after a write
// has succeeded and before it is answered.
type events struct {
	ctx     context.Context // of OnEvent
	region  string
	heads   heads
	onEvent func(context.Context, []byte) error
	log     *zap.Logger
	last    atomic.Int64 // the last sequencer
}

var _ s3event.S3EventSender = (*events)(nil)

// eventDocument is what S3 sends to a queue.
type eventDocument struct {
	Records []eventRecord
}

type eventRecord struct {
	EventVersion      string            `json:"eventVersion"`
	EventSource       string            `json:"eventSource"`
	Region            string            `json:"awsRegion"`
	Time              string            `json:"eventTime"`
	Name              string            `json:"eventName"`
	UserIdentity      eventIdentity     `json:"userIdentity"`
	RequestParameters map[string]string `json:"requestParameters"`
	ResponseElements  map[string]string `json:"responseElements"`
	S3                eventEntity       `json:"s3"`
}

type eventIdentity struct {
	PrincipalID string `json:"principalId"`
}

type eventEntity struct {
	SchemaVersion   string      `json:"s3SchemaVersion"`
	ConfigurationID string      `json:"configurationId"`
	Bucket          eventBucket `json:"bucket"`
	Object          eventObject `json:"object"`
}

type eventBucket struct {
	Name  string        `json:"name"`
	Owner eventIdentity `json:"ownerIdentity"`
	ARN   string        `json:"arn"`
}

type eventObject struct {
	Key       string `json:"key"` // form-encoded, but for slashes
	Size      *int64 `json:"size,omitempty"`
	ETag      string `json:"eTag,omitempty"`
	VersionID string `json:"versionId,omitempty"`
	Sequencer string `json:"sequencer"`
}

// SendEvent implements versitygw's event sender. What it takes from ctx is
// copied: fiber uses that memory again for the next request.
func (e *events) SendEvent(ctx fiber.Ctx, m s3event.EventMeta) {
	bucket, key, _ := strings.Cut(strings.TrimPrefix(strings.Clone(ctx.Path()), "/"), "/")
	name := strings.TrimPrefix(string(m.EventName), "s3:")
	switch m.EventName {
	case s3event.EventObjectRemovedDeleteObjects:
		for _, key := range deletedKeys(ctx.BodyRaw()) {
			e.send(e.record(ctx, m, "ObjectRemoved:Delete", bucket, key))
		}
		return
	case s3event.EventObjectCreatedPost:
		key = postedKey(bucket, strings.Clone(ctx.GetRespHeader("Location")))
	}
	r := e.record(ctx, m, name, bucket, key)
	if strings.HasPrefix(name, "ObjectCreated:") {
		r.S3.Object.VersionID = strings.Clone(ctx.GetRespHeader("x-amz-version-id"))
		r.S3.Object.Size = e.size(bucket, key, m.ObjectSize)
		if m.ObjectETag != nil {
			r.S3.Object.ETag = strings.Trim(*m.ObjectETag, `"`)
		}
	}
	e.send(r)
}

// Close implements versitygw's event sender.
func (e *events) Close() error { return nil }

func (e *events) record(ctx fiber.Ctx, m s3event.EventMeta, name, bucket, key string) eventRecord {
	return eventRecord{
		EventVersion:      "2.1",
		EventSource:       "aws:s3",
		Region:            e.region,
		Time:              time.Now().UTC().Format("2006-01-02T15:04:05.000Z"),
		Name:              name,
		UserIdentity:      eventIdentity{m.BucketOwner},
		RequestParameters: map[string]string{"sourceIPAddress": strings.Clone(ctx.IP())},
		ResponseElements: map[string]string{
			"x-amz-request-id": strings.Clone(ctx.GetRespHeader("x-amz-request-id")),
			"x-amz-id-2":       strings.Clone(ctx.GetRespHeader("x-amz-id-2")),
		},
		S3: eventEntity{
			SchemaVersion:   "1.0",
			ConfigurationID: "penstock-local",
			Bucket:          eventBucket{Name: bucket, Owner: eventIdentity{m.BucketOwner}, ARN: "arn:aws:s3:::" + bucket},
			Object:          eventObject{Key: formEncoded(key), Sequencer: e.sequencer()},
		},
	}
}

// formEncoded encodes a key as S3 does in events.
func formEncoded(key string) string {
	return strings.ReplaceAll(url.QueryEscape(key), "%2F", "/")
}

// sequencer rises with every event, also over restarts.
func (e *events) sequencer() string {
	for {
		last := e.last.Load()
		next := max(time.Now().UnixNano(), last+1)
		if e.last.CompareAndSwap(last, next) {
			return fmt.Sprintf("%016X", next)
		}
	}
}

// size fills in what versitygw doesn't say of copies and multipart uploads.
func (e *events) size(bucket, key string, told int64) *int64 {
	if told > 0 {
		return &told
	}
	out, err := e.heads.HeadObject(e.ctx, &s3.HeadObjectInput{Bucket: &bucket, Key: &key})
	if err != nil || out.ContentLength == nil {
		return nil // gone already, or replaced: an event without a size says so
	}
	return out.ContentLength
}

// deletedKeys are the keys of a DeleteObjects request.
func deletedKeys(body []byte) []string {
	var request struct {
		Objects []struct{ Key string } `xml:"Object"`
	}
	if xml.Unmarshal(body, &request) != nil {
		return nil // versitygw understood it, so this can't be
	}
	keys := make([]string, len(request.Objects))
	for i, o := range request.Objects {
		keys[i] = o.Key
	}
	return keys
}

// postedKey finds the key of a form upload in the reply: in the query of a
// redirect, else in the path.
func postedKey(bucket, location string) string {
	u, err := url.Parse(location)
	if err != nil {
		return ""
	}
	if q := u.Query(); q.Get("bucket") == bucket && q.Has("key") {
		return q.Get("key")
	}
	return strings.TrimPrefix(u.Path, "/"+bucket+"/")
}

// send offers a document to OnEvent until it is taken.
func (e *events) send(r eventRecord) {
	body, err := json.Marshal(eventDocument{[]eventRecord{r}})
	if err != nil {
		e.log.Error("S3 event lost", zap.String("key", r.S3.Object.Key), zap.Error(err))
		return
	}
	ctx, cancel := context.WithTimeout(e.ctx, eventTimeout)
	defer cancel()
	for pause := 50 * time.Millisecond; ; pause *= 2 {
		err := e.onEvent(ctx, body)
		if err == nil {
			return
		}
		timer := time.NewTimer(pause)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			e.log.Error("S3 event lost: its receiver did not take it in time", zap.ByteString("event", body), zap.Error(err))
			return
		}
	}
}
