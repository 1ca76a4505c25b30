package stage

import (
	"errors"
	"io"
	"net/http"
)

// Effect is what becomes of a call that is struck; pass has the server execute
// it and answers it.
type Effect func(w http.ResponseWriter, r *http.Request, pass http.HandlerFunc)

// LoseRequest cuts the connection; the server never hears of the call.
func LoseRequest(http.ResponseWriter, *http.Request, http.HandlerFunc) {
	panic(http.ErrAbortHandler)
}

// LoseReply has the server execute the call, and cuts the connection.
func LoseReply(w http.ResponseWriter, r *http.Request, pass http.HandlerFunc) {
	pass(&discarding{header: make(http.Header)}, r)
	panic(http.ErrAbortHandler)
}

// CutReply cuts the connection after about half of the reply's body.
func CutReply(w http.ResponseWriter, r *http.Request, pass http.HandlerFunc) {
	pass(&halving{ResponseWriter: w}, r)
	panic(http.ErrAbortHandler)
}

// CutRequest cuts both connections after half of the request's body.
func CutRequest(w http.ResponseWriter, r *http.Request, pass http.HandlerFunc) {
	r.Body = struct {
		io.Reader
		io.Closer
	}{io.MultiReader(io.LimitReader(r.Body, r.ContentLength/2), broken{}), r.Body}
	pass(w, r)
}

// Refuse answers without asking the server.
func Refuse(status int, contentType, body string) Effect {
	return func(w http.ResponseWriter, r *http.Request, _ http.HandlerFunc) {
		_, _ = io.Copy(io.Discard, r.Body) // the client may not be reading yet
		w.Header().Set("Content-Type", contentType)
		w.WriteHeader(status)
		if r.Method != http.MethodHead {
			_, _ = io.WriteString(w, body) // a client that is gone needs no answer
		}
	}
}

// SlowDown is S3's answer to too many calls.
var SlowDown = Refuse(http.StatusServiceUnavailable, "application/xml",
	`<?xml version="1.0" encoding="UTF-8"?><Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>`)

// Throttled is SQS's answer to too many calls.
var Throttled = Refuse(http.StatusBadRequest, "application/x-amz-json-1.0",
	`{"__type":"com.amazonaws.sqs#RequestThrottled","message":"Rate exceeded"}`)

// discarding takes a reply and keeps nothing of it.
type discarding struct{ header http.Header }

func (d *discarding) Header() http.Header         { return d.header }
func (d *discarding) Write(p []byte) (int, error) { return len(p), nil }
func (d *discarding) WriteHeader(int)             {}

// halving passes about half of a body on: of each piece that is written.
type halving struct {
	http.ResponseWriter
	cut bool
}

func (h *halving) Write(p []byte) (int, error) {
	if h.cut {
		return len(p), nil
	}
	h.cut = true
	if _, err := h.ResponseWriter.Write(p[:len(p)/2]); err != nil {
		return 0, err
	}
	return len(p), http.NewResponseController(h.ResponseWriter).Flush()
}

// broken is a body that ends before its time.
type broken struct{}

func (broken) Read([]byte) (int, error) { return 0, errors.New("cut by the fault rig") }
