// Package inspect finds out what there is to know of a SavedModel before it is
// served, without TensorFlow: what it says of itself, where its versions are,
// what its penstock.json says, and why it can't be served, if it can't.
package inspect

import "github.com/penstock/penstock/cmd/internal/inspection"

// Report is what is known of a model. Sizes are in bytes.
type Report struct {
	URI        string      `json:"uri"`
	Name       string      `json:"name"`              // as requests name it unless -model says otherwise
	Version    string      `json:"version,omitempty"` // the one that this is about; empty when it has no versions
	Versions   []Version   `json:"versions"`          // all that are there, in ascending order; none of a model without versions
	TensorFlow string      `json:"tensorflow,omitempty"`
	Tags       [][]string  `json:"tags"` // of each graph
	Size       Size        `json:"size"`
	Parameters Parameters  `json:"parameters"`
	Signatures []Signature `json:"signatures"`
	LeftOut    []string    `json:"leftOut"` // signatures that can't be served, with the reason
	ModelFile  *ModelFile  `json:"modelFile,omitempty"`
	// WarmUpFile is the size of assets.extra/tf_serving_warmup_requests; 0 when
	// there is none.
	WarmUpFile int64 `json:"warmUpFile"`
	// Faults are why the model can't be served as it is.
	Faults []string `json:"faults"`

	Measured *inspection.Measured `json:"measured,omitempty"`
	// NotMeasured is why Measured is missing.
	NotMeasured string `json:"notMeasured,omitempty"`
}

// Version is a version folder.
type Version struct {
	Name    string `json:"name"`
	Bytes   int64  `json:"bytes"`
	Missing string `json:"missing,omitempty"` // a file without which it can't be served
}

// Size is what a model takes on a disk.
type Size struct {
	Graph      int64 `json:"graph"`
	Variables  int64 `json:"variables"`
	Assets     int64 `json:"assets"`
	Total      int64 `json:"total"`
	Operations int   `json:"operations"` // of the graph and its functions
}

// Parameters are the variables that signatures read.
type Parameters struct {
	Count     int64 `json:"count"`     // of their elements
	Variables int   `json:"variables"` // how many there are
	Unknown   int   `json:"unknown"`   // how many of them have no known shape, and are not in Count
}

// Signature is one that can be served.
type Signature struct {
	Name    string   `json:"name"`
	Inputs  []Tensor `json:"inputs"`
	Outputs []Tensor `json:"outputs"`
	Batch   Batch    `json:"batch"`
}

// Tensor is an input or output.
type Tensor struct {
	Name  string  `json:"name"`
	DType string  `json:"dtype"`
	Shape []int64 `json:"shape"` // null when the model declares none; -1 is any length
}

// Batch says how many rows a run of a signature may have.
type Batch struct {
	Kind BatchKind `json:"kind"`
	Rows int64     `json:"rows,omitempty"` // of FixedBatch
	Why  string    `json:"why,omitempty"`  // of NoBatch
}

// BatchKind is a way to batch.
type BatchKind string

// The ways.
const (
	AnyBatch   BatchKind = "any"
	FixedBatch BatchKind = "fixed"
	NoBatch    BatchKind = "none"
)

// ModelFile is a penstock.json.
type ModelFile struct {
	Path   string   `json:"path"`             // below the model's own folder; "../penstock.json" lies beside it
	Sets   []string `json:"sets"`             // its members, in their order
	Labels int      `json:"labels,omitempty"` // how many
	Faults []string `json:"faults,omitempty"`
}
