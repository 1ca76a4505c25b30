package savedmodel

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	corepb "github.com/galeone/tensorflow/tensorflow/go/core/protobuf/for_core_protos_go_proto"

	"github.com/penstock/penstock/worker/model"
)

// Endpoint is a signature with the names of the graph's tensors behind it.
type Endpoint struct {
	*model.Signature
	Feeds, Fetches []TensorName // in the order of Inputs and Outputs
}

// TensorName is one output of an operation of the graph: "serving_default_x:0".
type TensorName struct {
	Op    string
	Index int
}

// ReadEndpoints gives every signature that Penstock can carry. What it can't
// carry is in refused, with the reason; when nothing is left that is an error.
func ReadEndpoints(g *corepb.MetaGraphDef) (endpoints []Endpoint, refused []error, err error) {
	endpoints, refused = readEndpoints(g)
	switch {
	case len(endpoints) > 0:
		return endpoints, refused, nil
	case len(refused) > 0:
		return nil, nil, fmt.Errorf("no signature can be served: %w", errors.Join(refused...))
	}
	return nil, nil, errNoSignature
}

var errNoSignature = errors.New(`the model has no signature; save it with tf.saved_model.save(…, signatures=…) or model.export("DIR")`)

func readEndpoints(g *corepb.MetaGraphDef) (endpoints []Endpoint, refused []error) {
	for _, name := range slices.Sorted(maps.Keys(g.GetSignatureDef())) {
		if strings.HasPrefix(name, "__saved_model_") {
			continue // TensorFlow's own: initialisation and training
		}
		e, err := readEndpoint(name, g.GetSignatureDef()[name])
		if err != nil {
			refused = append(refused, fmt.Errorf("signature %q: %w", name, err))
			continue
		}
		endpoints = append(endpoints, e)
	}
	return endpoints, refused
}

func readEndpoint(name string, def *corepb.SignatureDef) (Endpoint, error) {
	e := Endpoint{Signature: &model.Signature{Name: name}}
	var errIn, errOut error
	e.Inputs, e.Feeds, errIn = readTensors("input", def.GetInputs())
	e.Outputs, e.Fetches, errOut = readTensors("output", def.GetOutputs())
	if err := cmp.Or(errIn, errOut); err != nil {
		return e, err
	}
	if len(e.Outputs) == 0 {
		return e, errors.New("it has no outputs")
	}
	for i, feed := range e.Feeds {
		if j := slices.Index(e.Feeds[:i], feed); j >= 0 { // every run would fail, in TensorFlow Serving too: "fed more than once"
			return e, fmt.Errorf("inputs %q and %q are one tensor, %s:%d, which TensorFlow takes once a run; leave one of them out, or give each a tensor of its own", e.Inputs[j].Name, e.Inputs[i].Name, feed.Op, feed.Index)
		}
	}
	for i, fetch := range e.Fetches {
		if j := slices.Index(e.Feeds, fetch); j >= 0 { // every run would fail: "is both fed and fetched"
			return e, fmt.Errorf("output %q is input %q itself, which TensorFlow does not give out; put tf.identity between them", e.Outputs[i].Name, e.Inputs[j].Name)
		}
	}
	return e, nil
}

// readTensors reads one side of a signature, in ascending order of name.
func readTensors(side string, defs map[string]*corepb.TensorInfo) ([]model.TensorInfo, []TensorName, error) {
	var infos []model.TensorInfo
	var names []TensorName
	for _, alias := range slices.Sorted(maps.Keys(defs)) {
		def := defs[alias]
		info := model.TensorInfo{Name: alias, DType: model.DType(def.GetDtype()), Shape: []int64{}}
		if !info.DType.Known() {
			return nil, nil, fmt.Errorf("%s %q is of type %s, which isn't supported; cast it inside the model", side, alias, info.DType)
		}
		name, err := parseTensorName(def.GetName())
		if err != nil {
			return nil, nil, fmt.Errorf("%s %q: %w", side, alias, err)
		}
		if shape := def.GetTensorShape(); shape == nil || shape.GetUnknownRank() {
			info.UnknownRank = true
		} else {
			for _, d := range shape.GetDim() {
				info.Shape = append(info.Shape, max(d.GetSize(), -1))
			}
		}
		infos = append(infos, info)
		names = append(names, name)
	}
	return infos, names, nil
}

// parseTensorName splits "op:index". A sparse or composite tensor has no name
// of its own.
func parseTensorName(s string) (TensorName, error) {
	if s == "" {
		return TensorName{}, errors.New("it is a sparse or composite tensor, which isn't supported; make it dense inside the model")
	}
	op, digits, found := strings.Cut(s, ":")
	if !found {
		return TensorName{Op: op}, nil
	}
	index, err := strconv.Atoi(digits)
	if err != nil || index < 0 {
		return TensorName{}, fmt.Errorf("%q is not a tensor's name", s)
	}
	return TensorName{op, index}, nil
}
