package source

import "fmt"

// ModelFileError says that a SavedModel is there, but that its model file is at
// fault.
type ModelFileError struct {
	Dir   string // holds saved_model.pb
	Place string // the directory of the model file
	Err   error
}

func (e *ModelFileError) Error() string { return fmt.Sprintf("in %s: %v", e.Place, e.Err) }
func (e *ModelFileError) Unwrap() error { return e.Err }
