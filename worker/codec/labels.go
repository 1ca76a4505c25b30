package codec

import (
	"math"
	"slices"

	"github.com/penstock/penstock/worker/model"
)

// none is the index of no output.
const none = -1

// defaultTopK is how many labels a prediction lists.
const defaultTopK = 5

// labelled is the index of the output whose last dimension the model's labels
// name, or none.
func (r *result) labelled() (int, error) {
	if r.raw || len(r.config.Labels) == 0 {
		return none, nil
	}
	infos := r.in.Signature.Outputs
	i := slices.IndexFunc(infos, func(t model.TensorInfo) bool { return t.Name == r.config.LabelOutput })
	if r.config.LabelOutput == "" && len(infos) == 1 {
		i = 0
	}
	if i < 0 {
		return none, nil // another signature's output
	}
	t := r.outputs[i]
	rank, least := len(t.Shape), 2
	if r.column {
		least = 1
	}
	if rank < least || t.Shape[rank-1] != int64(len(r.config.Labels)) || t.DType == model.String || t.DType == model.Bool {
		e := badOutput("%s has %d labels for output %q, which is %v of shape %v: its last dimension has to hold a score for each", model.ConfigFile, len(r.config.Labels), infos[i].Name, t.DType, t.Shape)
		e.Hint = "correct labels or label_output in " + model.ConfigFile + "; Accept: application/json;raw=true gives the plain numbers"
		return none, e
	}
	return i, nil
}

// prediction writes the labels of the scores that begin at element at: the
// best one, and a few with their scores, best first.
func (w *jsonWriter) prediction(t *model.Tensor, at int64) {
	best := w.best(t, at)
	w.b = append(w.b, `{"label":`...)
	w.b = appendString(w.b, w.config.Labels[best[0]])
	w.b = append(w.b, `,"confidence":`...)
	w.b = appendElement(w.b, t, at+best[0], false)
	w.b = append(w.b, `,"scores":`...)
	for i, class := range best {
		w.b = append(w.b, separator(i, '{'))
		w.b = append(appendString(w.b, w.config.Labels[class]), ':')
		w.b = appendElement(w.b, t, at+class, false)
	}
	w.b = append(w.b, "}}"...)
}

// best lists the classes with the highest scores, best first; of equal ones
// the lower index goes first, and NaN goes last.
func (w *jsonWriter) best(t *model.Tensor, at int64) []int64 {
	k := w.config.TopK
	if k <= 0 {
		k = defaultTopK
	}
	k = min(k, len(w.config.Labels))
	better := func(a, b int64) bool {
		x, y := score(t, at+a), score(t, at+b)
		return x > y || math.IsNaN(y) && !math.IsNaN(x)
	}
	top := make([]int64, 0, k)
	for class := range int64(len(w.config.Labels)) {
		i := len(top)
		for i > 0 && better(class, top[i-1]) {
			i--
		}
		switch {
		case i == k:
			continue
		case len(top) == k:
			top = top[:k-1]
		}
		top = slices.Insert(top, i, class)
	}
	return top
}

// score is a numeric element, for comparing.
func score(t *model.Tensor, at int64) float64 {
	switch t.DType {
	case model.Float32, model.Float64:
		return float(t, at)
	case model.Uint8, model.Uint16, model.Uint32, model.Uint64:
		return float64(element(t, at))
	}
	return float64(signed(t, at))
}
