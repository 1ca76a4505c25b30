package request

import (
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
	Time        time.Time `json:"time"`
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
	CodeNotFound     = "InputNotFound"     // the input object or its bucket is not there
	CodeForbidden    = "LocationForbidden" // the input lies outside the worker's input locations, or may not be read
	CodeReservedKey  = "ReservedKey"       // an upload's key would take the place of another's result
	CodeChanged      = "InputChanged"      // the version that was asked for is not there any more
	CodeInvalid      = "InvalidRequest"    // the uploader's metadata can't be understood
	CodeTooLarge     = "InputTooLarge"     // more bytes than the worker takes
	CodeUnknownModel = "UnknownModel"      // no such model is loaded
	CodeModelError   = "ModelError"        // the model refused or failed on this input
	CodePoison       = "Poison"            // the input ended the worker's process, more than once
	CodeTimeout      = "Timeout"           // one run took longer than the request's time limit
	CodeExpired      = "Expired"           // the request was older than its TTL before it could be started
	CodeOutputTaken  = "OutputTaken"       // another request's result is at the output's key
)

// JSON gives the object's bytes, indented, for people open it.
func (f Failure) JSON() []byte {
	b, err := json.MarshalIndent(f, "", "  ")
	if err != nil { // only strings, a bool, an int and a time: it can't be
		panic(err)
	}
	return append(b, '\n')
}
