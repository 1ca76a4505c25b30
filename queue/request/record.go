package request

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"time"

	"github.com/penstock/penstock/storage"
)

// Record is what was accepted under an ID: the object at RecordOf, which is
// written where nothing is before the request is sent.
type Record struct {
	// Request is what was accepted, and in Enqueued when. Its ContentType is
	// that of the object where the body is inline.
	Request Request
	// Digest tells the parameters and the body from others under the same ID.
	Digest string
	// Nonce tells the call that wrote the record from others that met it.
	Nonce string
	// Inline says that the object's bytes are the input itself. Else they are
	// the request, as Encode writes it.
	Inline bool
}

// Metadata that stands on records. A record is read as an input too, so none of
// the names is one that an uploader chooses something by.
const (
	metaDigest  = "penstock-digest"
	metaNonce   = "penstock-nonce"
	metaRequest = "penstock-request" // as JSON, without what the object tells otherwise
)

// Digest is the same for two submissions that ask for the same under one ID:
// what the caller chose is the same, and so is an inline body, nil for none,
// with its encoding. What was only known of the input (ETag, Size), and when it
// was accepted, don't count.
func (r Request) Digest(body []byte, encoding string) string {
	w := toWire(r)
	w.ID, w.ETag, w.Size, w.Enqueued = "", "", 0, nil
	content := ""
	if body != nil { // its input is the record, wherever that lies
		sum := sha256.Sum256(body)
		w.Input, w.VersionID, content = "", "", hex.EncodeToString(sum[:])
	}
	parameters, err := json.Marshal(w)
	if err != nil { // a number that is none; Validate refuses it
		parameters = fmt.Appendf(nil, "%+v", w)
	}
	h := sha256.New()
	for _, part := range []string{string(parameters), encoding, content} {
		fmt.Fprintf(h, "%d:%s", len(part), part)
	}
	return base64.RawURLEncoding.EncodeToString(h.Sum(nil))
}

// recordLife is shorter than records are kept for, and longer than two clocks
// are apart.
const recordLife = 12 * time.Hour

// Earlier says that a terminal object of that time is not of r, whose input is
// an inline body, but of another request under the same ID: one whose record
// has been removed since. Both bodies have the same key, so that nothing else
// tells the two apart before r has its own.
func (l Locations) Earlier(r Request, ended time.Time) bool {
	return !r.Upload() && r.Input == l.RecordOf(r.ID) && ended.Before(r.Enqueued.Add(-recordLife))
}

// longEscape is the length from which a record says the ID that its key has
// too: a longer one may have been cut there.
const longEscape = 200

// Object gives what is to be written at RecordOf the request's ID. body is an
// inline body with its encoding, or nil.
//
// S3 takes 2 KB of metadata. All that SageMaker's API takes fits; what does not
// is an error that says so.
func (rec Record) Object(body []byte, encoding string) ([]byte, storage.PutOptions, error) {
	opts := storage.PutOptions{
		ContentType: "application/json", IfNoneMatch: true,
		Metadata: map[string]string{metaDigest: rec.Digest, metaNonce: rec.Nonce},
	}
	w := toWire(rec.Request)
	if len(escapeID(w.ID)) <= longEscape {
		w.ID = ""
	}
	if rec.Inline {
		w.Input, w.VersionID, w.ContentType, w.ETag, w.Size = "", "", "", "", 0
		opts.ContentType, opts.ContentEncoding = rec.Request.ContentType, encoding
		if err := opts.Validate(); err != nil {
			return nil, opts, err // not a matter of the parameters' length
		}
	} else {
		message, err := Encode(rec.Request)
		if err != nil {
			return nil, opts, err
		}
		body = []byte(message)
	}
	opts.Metadata[metaRequest] = w.text()
	if opts.Validate() == nil {
		return body, opts, nil
	}
	if !rec.Inline {
		delete(opts.Metadata, metaRequest) // the body has it all
		return body, opts, opts.Validate()
	}
	return nil, opts, errors.New("accept, output path, model, signature, endpoint and id are too long together for a request with an inline body: shorten them, or upload the body and name it as the input")
}

// text is w as JSON that spends no bytes on HTML.
func (w wire) text() string {
	var b strings.Builder
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(w); err != nil {
		panic(fmt.Sprintf("request: %v", err)) // text and numbers can always be written
	}
	return strings.TrimSuffix(b.String(), "\n")
}

// ParseRecord reads a record: found is what Head or Get say of it. Where the
// metadata alone don't tell, whole is false and the object's body is wanted too,
// which is nil before. An error says that it is no record of Penstock's.
func ParseRecord(found storage.Info, body []byte) (rec Record, whole bool, err error) {
	rec.Digest, rec.Nonce = found.Metadata[metaDigest], found.Metadata[metaNonce]
	parameters, told := found.Metadata[metaRequest]
	switch {
	case rec.Digest == "":
		err = fmt.Errorf("its metadata has no %s", metaDigest)
	case told:
		rec.Request, rec.Inline, err = parseParameters(parameters, found)
	case body == nil:
		return rec, false, nil
	default:
		rec.Request, err = parseMessage(body)
	}
	if err != nil {
		return rec, true, fmt.Errorf("%s is no record of a request: %w", found.Ref, err)
	}
	return rec, true, nil
}

// parseParameters reads what metaRequest says of the record that was found.
func parseParameters(text string, found storage.Info) (r Request, inline bool, err error) {
	var w wire
	if err := json.Unmarshal([]byte(text), &w); err != nil {
		return r, false, fmt.Errorf("%s: %w", metaRequest, jsonFault(err))
	}
	if w.ID == "" {
		name := found.Ref.Key[strings.LastIndexByte(found.Ref.Key, '/')+1:]
		if w.ID, err = url.PathUnescape(name); err != nil {
			return r, false, err
		}
	}
	if inline = w.Input == ""; inline {
		w.Input, w.ContentType = uri(found.Ref), found.ContentType
	}
	r, err = w.request(0, nil)
	return r, inline, err
}

func parseMessage(body []byte) (Request, error) {
	requests, err := Decode(string(body))
	if err == nil && len(requests) != 1 {
		err = fmt.Errorf("it holds %d requests", len(requests))
	}
	if err != nil {
		return Request{}, err
	}
	return requests[0], nil
}
