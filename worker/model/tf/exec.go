//go:build cgo

package tf

import (
	"errors"
	"fmt"
	"runtime"

	tensorflow "github.com/galeone/tensorflow/tensorflow/go"
	"github.com/galeone/tfgo"

	"github.com/penstock/penstock/worker/model"
)

// feeds are the tensors of a run by the graph's input that they go into.
type feeds = map[tensorflow.Output]*tensorflow.Tensor

// recovered runs f, and turns a panic of tfgo or of the binding into an
// *model.Error. It is the one place where they are recovered.
func recovered(f func()) (err error) {
	defer func() {
		switch r := recover().(type) {
		case nil:
		case error:
			err = explain(r)
		default: // tfgo panics with the text of an error when it loads
			err = &model.Error{Code: panicked, Message: firstSentence(fmt.Sprint(r))}
		}
	}()
	f()
	return nil
}

// explain gives an error of the binding its code.
func explain(err error) *model.Error {
	if code, ok := statusCode(err); ok {
		return newError(code, err.Error())
	}
	if _, ok := errors.AsType[runtime.Error](err); ok {
		return &model.Error{Code: panicked, Message: err.Error()}
	}
	return &model.Error{Code: unknown, Message: firstSentence(err.Error())}
}

// execModel runs a loaded model. The caller frees the results.
func execModel(m *tfgo.Model, fetches []tensorflow.Output, feed feeds) (results []*tensorflow.Tensor, err error) {
	err = recovered(func() { results = m.Exec(fetches, feed) })
	return results, err
}

// execSession runs a graph of our own. The caller frees the results.
func execSession(s *tensorflow.Session, fetches []tensorflow.Output, feed feeds) (results []*tensorflow.Tensor, err error) {
	if perr := recovered(func() { results, err = s.Run(feed, fetches, nil) }); perr != nil {
		return nil, perr
	}
	if err != nil {
		return nil, explain(err)
	}
	return results, nil
}

// invalid is an error about the input that needs no run to be found.
func invalid(message string) *model.Error {
	return &model.Error{Code: invalidArgument, Message: message, Permanent: true}
}
