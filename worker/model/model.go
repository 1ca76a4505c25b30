// Package model is the contract between the worker and the thing that
// computes: dense tensors, the signatures of a loaded model, and one call that
// runs a batch. worker/model/tf implements it with TensorFlow through tfgo,
// worker/model/fake without.
package model

import (
	"context"
	"fmt"
	"slices"
)

// Signature is one callable of a model: a SignatureDef of a SavedModel.
type Signature struct {
	Name    string       // for example "serving_default"
	Inputs  []TensorInfo // in ascending order of name
	Outputs []TensorInfo // in ascending order of name
}

// Batch says how many rows one run of the signature takes. rows is the fixed
// number that the model declares, or -1 when it takes any number. ok is false
// when the signature has no common batch dimension: an input or output is a
// scalar, or their first dimensions differ; such a signature takes one part at
// a time, as it is.
func (s *Signature) Batch() (rows int64, ok bool) {
	rows, first := int64(-1), true
	for _, t := range slices.Concat(s.Inputs, s.Outputs) {
		n := int64(-1)
		if !t.UnknownRank {
			if len(t.Shape) == 0 {
				return 0, false
			}
			n = t.Shape[0]
		}
		if !first && n != rows {
			return 0, false
		}
		rows, first = n, false
	}
	return rows, true
}

// TensorInfo describes one input or output of a signature.
type TensorInfo struct {
	Name  string // the alias in the SignatureDef, for example "x"
	DType DType
	Shape []int64 // -1 is a dimension known at run time only; the first is the batch. Meaningless when UnknownRank
	// UnknownRank says that the model declares no shape at all.
	UnknownRank bool
}

// String gives "x float32[-1 28 28 1]".
func (t TensorInfo) String() string {
	if t.UnknownRank {
		return fmt.Sprintf("%s %s[...]", t.Name, t.DType)
	}
	return fmt.Sprintf("%s %s%v", t.Name, t.DType, t.Shape)
}

// Model is a loaded model. All methods but Close may be called concurrently.
type Model interface {
	Name() string    // as requests name it
	Version() string // for example "1"; empty when unversioned

	// Signatures maps each signature's name to its description. The caller
	// does not change it.
	Signatures() map[string]*Signature

	// Config is what the model's own file says of labels, images and limits.
	// It is never nil.
	Config() *Config

	// Run runs one batch. Each part is one item's share: for every input of
	// sig, in order, a tensor whose first dimension is that item's number of
	// rows. Parts of one call have the same shapes but for the first dimension;
	// where Config's Pad names an input, they have once they are filled up,
	// which Run does, and it cuts the outputs back that Trim names. A signature
	// with a fixed batch takes up to that many rows in all: Run fills with zero
	// rows and trims the result. One without a batch dimension takes one part,
	// as it is. The result has one entry a part, with a tensor for every output
	// of sig, in order, of that part's rows.
	//
	// Outputs can turn out not to be of the run's rows, whatever sig says. Those
	// of one part are passed on as they are; with several parts, or with rows
	// that filled the batch, Run errs with an *UnbatchableError.
	//
	// A run can't be interrupted; ctx is only looked at before it starts.
	// An error concerns the whole batch: which part is to blame is for the
	// caller to find out. A panic of the runtime is returned as an error.
	Run(ctx context.Context, sig *Signature, parts [][]Tensor) ([][]Tensor, error)

	// DecodeImage turns an encoded PNG or JPEG into one row of shape
	// [1, spec.Height, spec.Width, spec.Channels] and type dtype, resized and
	// scaled as spec says; the three sizes of spec are set. It errs with an
	// *Error when the image is damaged. Callers bound the image's dimensions
	// before: decoding takes width*height*channels bytes.
	DecodeImage(ctx context.Context, encoded []byte, spec ImageSpec, dtype DType) (Tensor, error)

	// Close frees the model. No Run may be under way.
	Close() error
}

// Error is a fault that a model reported.
type Error struct {
	Code    string // TensorFlow's status name, for example "INVALID_ARGUMENT"; "PANIC" for a recovered panic
	Message string
	// Permanent says that the same input will fail again on any worker.
	Permanent bool
}

func (e *Error) Error() string { return e.Code + ": " + e.Message }

// UnbatchableError says that an output's first dimension is not that of the
// rows of its run, as that of a mean over them: it can't be shared out among
// parts, which are therefore to be run one by one.
type UnbatchableError struct {
	Output string
	Shape  []int64 // that the output had
	Rows   int64   // of the run
}

func (e *UnbatchableError) Error() string { return e.Unwrap().Error() }

// Unwrap gives an *Error, permanent: to whom the rows of a run do not matter,
// the signature can't be run in the way it was.
func (e *UnbatchableError) Unwrap() error {
	return &Error{
		Code: "FAILED_PRECONDITION", Permanent: true,
		Message: fmt.Sprintf("output %q has shape %v for %d rows; its first dimension must be the batch's, "+
			"so this model can't be batched: give its outputs a fixed first dimension", e.Output, e.Shape, e.Rows),
	}
}
