// Package inspection is what bin/worker finds out about a model by running it,
// for `penstock model inspect`: how the two talk, which input is made up for a
// run, and what follows from the times that were measured.
//
// `worker inspect` writes lines of JSON to its standard output, each a [State].
// The last line with Done is the result. When there is none, the worker died,
// and the last line says of what.
package inspection

// State is one line: what the worker does next, and all that it knows so far.
type State struct {
	Doing    string   `json:"doing,omitempty"` // for people: "load the model"
	Done     bool     `json:"done,omitempty"`
	Measured Measured `json:"measured"`
}

// Measured is what loading and running a model showed. Times are in seconds,
// memory is in bytes.
type Measured struct {
	TensorFlow    string      `json:"tensorflow"` // the library's version
	Cores         int         `json:"cores"`      // that TensorFlow may use
	LoadSeconds   float64     `json:"loadSeconds,omitempty"`
	WarmUpSeconds float64     `json:"warmUpSeconds,omitempty"` // the first run of every signature
	Memory        Memory      `json:"memory"`
	Signatures    []Signature `json:"signatures"`
	// Error says why the model can't be run at all: it can't be loaded, or its
	// warm-up failed, or the process died.
	Error string `json:"error,omitempty"`
}

// Memory is the resident memory of the worker's process: with TensorFlow and
// no model, with the model loaded, after its warm-up, and at the most. What
// the system does not tell is 0.
type Memory struct {
	Before   int64 `json:"before,omitempty"`
	Loaded   int64 `json:"loaded,omitempty"`
	WarmedUp int64 `json:"warmedUp,omitempty"`
	Peak     int64 `json:"peak,omitempty"`
}

// Signature is what runs of one signature showed.
type Signature struct {
	Name        string          `json:"name"`
	Input       string          `json:"input"`             // what it was run on: MadeUp, or the name of a file
	Shapes      []Shape         `json:"shapes,omitempty"`  // of the inputs, of one row
	Assumed     []string        `json:"assumed,omitempty"` // inputs with open dimensions, whose sizes are made up
	Runs        []Run           `json:"runs"`              // in ascending order of rows
	Skipped     []Skipped       `json:"skipped,omitempty"`
	Recommended *Recommendation `json:"recommended,omitempty"` // nil when no run succeeded
	Error       string          `json:"error,omitempty"`       // why no run, or none with more rows, succeeded
}

// MadeUp is the input of which no file was given.
const MadeUp = "made-up values (ones, whole numbers 0, empty strings)"

// Shape is the shape of an input.
type Shape struct {
	Input string  `json:"input"`
	Shape []int64 `json:"shape"`
}

// Run is what runs with a number of rows took, one after the other. The very
// first one is not counted.
type Run struct {
	Rows          int     `json:"rows"`
	Times         int     `json:"times"` // how many runs there were
	MedianSeconds float64 `json:"medianSeconds"`
	P99Seconds    float64 `json:"p99Seconds"`    // the longest when there were fewer than 100
	RowsPerSecond float64 `json:"rowsPerSecond"` // at the median, so that a neighbour on the machine who bursts in counts little
}

// Skipped is a number of rows that was not run, and why.
type Skipped struct {
	Rows   int    `json:"rows"`
	Reason string `json:"reason"`
}
