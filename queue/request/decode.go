package request

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
)

// Decode reads the body of a queue message: a request of ours, an S3 event
// notification, an EventBridge event "Object Created", or either of these
// wrapped by SNS.
//
// Both results count. The requests are those that could be read; the error,
// when not nil, says what could not, and is for a person to see: the message
// belongs in the dead-letter queue once the requests are done. Neither means
// that the message asks for nothing (S3's test event, a deletion, an object
// below ".penstock/", a folder marker) and is to be acknowledged. All requests
// are of one part of one job, or of none: a message that mixes them, as one put
// together by hand of several in SNS's wraps, has none that could be read.
func Decode(body string) ([]Request, error) {
	requests, err := decode([]byte(body), 0)
	if len(requests) > 0 {
		if _, mixed := toJobWire(requests); mixed != nil {
			return nil, errors.Join(mixed, err)
		}
	}
	return requests, err
}

// probe holds the members that tell the kinds of message apart.
type probe struct {
	Records    json.RawMessage `json:"Records"`     // S3 notification
	Event      string          `json:"Event"`       // S3 test event
	DetailType string          `json:"detail-type"` // EventBridge
	Type       string          `json:"Type"`        // SNS
	TopicArn   string          `json:"TopicArn"`
	Message    *string         `json:"Message"`
	Input      json.RawMessage `json:"input"`
	Requests   json.RawMessage `json:"requests"`
}

// maxWraps is how many SNS envelopes may lie around a message: one from S3
// through a topic, one more from a topic that another feeds.
const maxWraps = 2

func decode(body []byte, wraps int) ([]Request, error) {
	if wraps > maxWraps {
		return nil, fmt.Errorf("the message is wrapped by SNS more than %d times", maxWraps)
	}
	body = bytes.TrimPrefix(bytes.TrimSpace(body), []byte("\xef\xbb\xbf"))
	if len(body) == 0 || body[0] != '{' {
		return nil, fmt.Errorf("the message is neither a request nor an event: it must be a JSON object, but begins with %.20q", body)
	}
	var p probe
	if err := json.Unmarshal(body, &p); err != nil {
		return nil, fmt.Errorf("the message is neither a request nor an event: %w", jsonFault(err))
	}
	switch {
	case p.Requests != nil || p.Input != nil:
		return decodeOwn(body)
	case p.Records != nil:
		return decodeRecords(p.Records, wraps)
	case p.Event == "s3:TestEvent":
		return nil, nil
	case p.DetailType != "":
		return decodeEventBridge(body)
	case p.Message != nil && (p.Type == "Notification" || p.Type == "" && p.TopicArn != ""):
		return decode([]byte(*p.Message), wraps+1)
	case p.Type != "":
		return nil, fmt.Errorf("the message is of SNS's type %q, not a Notification; subscribe the queue to the topic by its ARN, which needs no confirmation", p.Type)
	}
	return nil, errors.New(`the message is neither a request (with "input" or "requests") nor an event of S3, EventBridge or SNS`)
}

func decodeOwn(body []byte) ([]Request, error) {
	var e envelope
	d := json.NewDecoder(bytes.NewReader(body))
	d.DisallowUnknownFields()
	if err := d.Decode(&e); err != nil {
		// A later version may have other members: that is the better reason.
		var v struct{ Version int }
		if json.Unmarshal(body, &v) == nil && v.Version > version {
			return nil, versionError(v.Version)
		}
		return nil, fmt.Errorf("the request is not valid: %w", jsonFault(err))
	}
	if e.Version != 0 && e.Version != version {
		return nil, versionError(e.Version)
	}
	list := e.Requests
	if e.wire != (wire{}) {
		if list != nil {
			return nil, errors.New(`the message has both "requests" and a request's members beside it`)
		}
		list = []wire{e.wire}
	}
	if len(list) == 0 {
		return nil, errors.New(`the message has no request: "requests" or "input" is empty`)
	}
	place := -1
	return collect(list, func(w wire) ([]Request, error) {
		place++
		r, err := w.request(place, e.Job)
		if err != nil {
			return nil, err
		}
		return []Request{r}, nil
	})
}

func versionError(v int) error {
	return fmt.Errorf("the message is of version %d, and this program reads version %d: update the older of sender and reader", v, version)
}

// jsonFault says an error of encoding/json in the words of the message: its
// members and JSON's types, not Go's.
func jsonFault(err error) error {
	t, ok := errors.AsType[*json.UnmarshalTypeError](err)
	switch {
	case ok && t.Field == "":
		return fmt.Errorf("it can't be a JSON %s", t.Value)
	case ok:
		// A member of the embedded wire is told as "wire.size".
		return fmt.Errorf("%q can't be a JSON %s", strings.TrimPrefix(t.Field, "wire."), t.Value)
	}
	return errors.New(strings.TrimPrefix(err.Error(), "json: "))
}

// collect reads each element: it returns the requests of those that it can
// read, and an error that names the others by their place.
func collect[T any](list []T, read func(T) ([]Request, error)) ([]Request, error) {
	var all []Request
	var errs []error
	for i, e := range list {
		requests, err := read(e)
		all = append(all, requests...)
		if err != nil && len(list) > 1 {
			err = fmt.Errorf("item %d of %d: %w", i+1, len(list), err)
		}
		errs = append(errs, err)
	}
	return all, errors.Join(errs...)
}
