package savedmodel

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/penstock/penstock/worker/model"
)

// Description is what a SavedModel says of itself. It is read from the graph
// for serving alone: the values of variables are not looked at.
type Description struct {
	TensorFlow string             // the version that wrote it; empty when it does not say
	TagSets    [][]string         // of all graphs in the file, of which the one tagged {serve} is described
	Signatures []*model.Signature // those that can be served, in ascending order of name
	LeftOut    []error            // each a signature that can't be, with the reason
	Operations int                // of the graph and of its functions
	Variables  Variables
	// Faults are why the model can't be served as it is. They are certain, but
	// there may be others that only a run shows.
	Faults []error
}

// Variables are those that signatures read, and not, for example, those of an
// optimizer.
type Variables struct {
	Count    int
	Elements int64 // the model's parameters: the elements of all variables of a known shape
	Unknown  int   // how many are of no known shape
}

// Describe reads the SavedModel in a local directory. It errs when there is
// none to describe.
func Describe(dir string) (*Description, error) {
	saved, err := read(dir)
	if err != nil {
		return nil, err
	}
	meta, err := serving(saved)
	if err != nil {
		return nil, err
	}
	d := &Description{TensorFlow: meta.GetMetaInfoDef().GetTensorflowVersion()}
	for _, g := range saved.GetMetaGraphs() {
		d.TagSets = append(d.TagSets, g.GetMetaInfoDef().GetTags())
	}
	endpoints, refused := readEndpoints(meta)
	for _, e := range endpoints {
		d.Signatures = append(d.Signatures, e.Signature)
	}
	d.LeftOut = refused
	switch {
	case len(endpoints) == 0 && len(refused) == 0:
		d.Faults = append(d.Faults, errNoSignature)
	case len(endpoints) == 0:
		d.Faults = append(d.Faults, errors.New("no signature can be served"))
	}
	g := newGraph(meta)
	d.Operations = g.operations
	read := g.variables(g.reach(fetchesOf(endpoints)...))
	d.Variables = count(read)
	if len(read) > 0 && !HasVariables(dir) {
		d.Faults = append(d.Faults, errors.New(NoCheckpoint))
	} else if lost := g.unrestored(meta, read); len(lost) > 0 {
		d.Faults = append(d.Faults, fmt.Errorf("%s not restored when the model is loaded, so every run will fail; %s", list(lost), Keras3Remedy))
	}
	return d, nil
}

// What to do about a model whose variables are missing.
const (
	NoCheckpoint = "the directory has no variables/variables.index: copy the whole SavedModel again"
	Keras3Remedy = `tf.saved_model.save writes a Keras 3 model without its variables: export it with model.export("DIR")`
)

func fetchesOf(endpoints []Endpoint) []string {
	var names []string
	for _, e := range endpoints {
		for _, f := range e.Fetches {
			names = append(names, f.Op)
		}
	}
	return names
}

// list names some variables: "the variables dense/bias and dense/kernel are".
func list(names []string) string {
	slices.Sort(names)
	switch n := len(names); {
	case n == 1:
		return "the variable " + names[0] + " is"
	case n > 3:
		return fmt.Sprintf("%d variables (%s, …) are", n, strings.Join(names[:3], ", "))
	default:
		return "the variables " + strings.Join(names[:n-1], ", ") + " and " + names[n-1] + " are"
	}
}
