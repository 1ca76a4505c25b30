package request

import (
	"bytes"
	"encoding/json"
	"fmt"
	"time"
)

// Failure is the body of a failure object, as JSON.
type Failure struct {
	Error       Problem   `json:"error"`
	InferenceID string    `json:"inferenceId"`
	Input       string    `json:"input"` // s3:// URI
	Model       string    `json:"model,omitempty"`
	Attempts    int       `json:"attempts"` // runs that counted
	Time        time.Time `json:"time"`     // of the verdict; written in UTC, to the millisecond
}

// Problem is what went wrong, for a person and for a program.
type Problem struct {
	Code      string `json:"code"`           // stable, for programs: one of the Code constants, or one of worker/codec's
	Message   string `json:"message"`        // what, where, why
	Stage     string `json:"stage"`          // one of the Stage constants
	Retryable bool   `json:"retryable"`      // the same request may succeed when it is sent again
	Hint      string `json:"hint,omitempty"` // what to do
}

func (p *Problem) Error() string { return fmt.Sprintf("%s (%s): %s", p.Code, p.Stage, p.Message) }

// Stages of a request's life.
const (
	StageAccept  = "accept"
	StageFetch   = "fetch"
	StageDecode  = "decode"
	StagePredict = "predict"
	StageEncode  = "encode"
	StageStore   = "store"
)

// Codes of a Problem, beside those of worker/codec.
const (
	CodeNotFound         = "InputNotFound"     // the input object or its bucket is not there
	CodeForbidden        = "LocationForbidden" // the input lies outside the worker's input locations, or may not be read
	CodeReservedKey      = "ReservedKey"       // an upload's key would take the place of another's result
	CodeChanged          = "InputChanged"      // the version that was asked for is not there any more
	CodeInvalid          = "InvalidRequest"    // the uploader's metadata can't be understood
	CodeTooLarge         = "InputTooLarge"     // more bytes than the worker takes
	CodeUnknownModel     = "UnknownModel"      // no such model is loaded
	CodeModelError       = "ModelError"        // the model refused or failed on this input
	CodeReceivedTooOften = "ReceivedTooOften"  // the queue gave it up, and no worker said why
	CodePoison           = "Poison"            // the input ended the worker's process, more than once
	CodeTimeout          = "Timeout"           // one run took longer than the request's time limit
	CodeExpired          = "Expired"           // the request was older than its TTL before it could be started
	CodeCancelled        = "Cancelled"         // its sender cancelled the request before it was started
	CodeInternal         = "InternalError"     // a fault of Penstock's own on this input
	CodeOutputTaken      = "OutputTaken"       // another request's result is at the output's key
)

// Expired is the problem of a request that was not started within its time to
// live.
func Expired(r Request) *Problem {
	again := "send it again, under another id"
	if r.Upload() {
		again = "upload it again"
	}
	return &Problem{
		Code: CodeExpired, Stage: StageAccept, Retryable: true,
		Message: fmt.Sprintf("the request was not started within its time to live of %v", r.TTL),
		Hint:    again + "; if this happens often, run more workers or raise the TTL",
	}
}

// JSON gives the object's bytes, indented, because people open it.
func (f Failure) JSON() []byte {
	f.Time = f.Time.UTC().Truncate(time.Millisecond)
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false) // it is not HTML, and "<" is easier to read than "\u003c"
	e.SetIndent("", "  ")
	if err := e.Encode(f); err != nil { // only a time beyond the year 9999 can't be written
		panic(fmt.Sprintf("request: failure object: %v", err))
	}
	return b.Bytes()
}
