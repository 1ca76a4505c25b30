//go:build !cgo

package tf

import (
	"context"
	"errors"

	"github.com/penstock/penstock/worker/model"
)

var errNoCgo = errors.New("this binary was built without cgo, so it can't run TensorFlow models; build it with CGO_ENABLED=1 and libtensorflow")

// Model is never made without cgo.
type Model struct{ model.Model }

// Load errs: without cgo there is no TensorFlow.
func Load(string, Options) (*Model, error) { return nil, errNoCgo }

// WarmUp errs like Load.
func (*Model) WarmUp(context.Context) error { return errNoCgo }

// Quiet does nothing: there is no TensorFlow that would print.
func Quiet() error { return nil }
