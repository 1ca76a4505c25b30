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
	if i < 0 || r.otherClasses(infos[i]) {
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

// otherClasses says whether an output declares another number of classes than
// the model file names, and its signature is not the one that runs by default,
// which was held against the file when the model was loaded.
func (r *result) otherClasses(t model.TensorInfo) bool {
	usual := r.config.Signature
	if usual == "" {
		usual = defaultSignature
	}
	last := len(t.Shape) - 1
	return r.in.Signature.Name != usual && !t.UnknownRank && last > 0 && t.Shape[last] >= 0 && t.Shape[last] != int64(len(r.config.Labels))
}

// prediction writes the labels of the scores that begin at element at: the
// best one, and a few with their scores, best first.
func (w *jsonWriter) prediction(t *model.Tensor, at int64) {
	best := w.best(t, at)
	confidence := w.confidence(t, at, best[0])
	w.b = append(w.b, `{"label":`...)
	w.b = appendString(w.b, w.config.Labels[best[0]])
	w.b = append(w.b, `,"confidence":`...)
	w.confident(t, at+best[0], confidence)
	w.b = append(w.b, `,"scores":{`...)
	listed := 0
	for _, class := range best {
		if w.below(t, at+class, confidence) {
			break // and so are the others
		}
		if listed++; listed > 1 {
			w.b = append(w.b, ',')
		}
		w.b = append(appendString(w.b, w.config.Labels[class]), ':')
		w.confident(t, at+class, confidence)
	}
	w.b = append(w.b, "}}"...)
}

// confident writes one score, as a probability when confidence makes one of it.
func (w *jsonWriter) confident(t *model.Tensor, at int64, confidence func(float64) float64) {
	if confidence == nil {
		w.b = appendElement(w.b, t, at, false)
		return
	}
	bits := 8 * t.DType.Size()
	if t.DType != model.Float32 {
		bits = 64
	}
	w.b = appendFloat(w.b, confidence(score(t, at)), bits)
}

// below says whether a score is too low to be listed. It is compared in its
// own precision: 0.7 reaches a threshold of 0.7.
func (w *jsonWriter) below(t *model.Tensor, at int64, confidence func(float64) float64) bool {
	threshold := w.config.LabelThreshold
	if threshold == 0 {
		return false
	}
	v := score(t, at)
	if confidence != nil {
		v = confidence(v)
	}
	if t.DType == model.Float32 {
		return !(float32(v) >= float32(threshold))
	}
	return !(v >= threshold)
}

// confidence is what makes a probability of a score, as the model file says,
// or nil. The scores begin at element at; best is the highest one's class.
func (w *jsonWriter) confidence(t *model.Tensor, at, best int64) func(float64) float64 {
	switch w.config.Activation {
	case model.Sigmoid:
		return func(v float64) float64 { return 1 / (1 + math.Exp(-v)) }
	case model.Softmax:
		most, sum := score(t, at+best), 0.0
		for class := range int64(len(w.config.Labels)) {
			sum += math.Exp(score(t, at+class) - most)
		}
		return func(v float64) float64 { return math.Exp(v-most) / sum }
	}
	return nil
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
