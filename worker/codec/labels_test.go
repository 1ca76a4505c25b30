package codec

import (
	"testing"

	"github.com/penstock/penstock/worker/model"
)

func TestLogitsAreAnsweredAsProbabilities(t *testing.T) {
	abc := []string{"a", "b", "c"}
	logits := tensor([]float32{1, 3, 2}, 1, 3)
	for name, c := range map[string]struct {
		scores model.Tensor
		config model.Config
		want   string
	}{
		"as they are":         {logits, model.Config{}, `{"label":"b","confidence":3.0,"scores":{"b":3.0,"c":2.0,"a":1.0}}`},
		"softmax":             {logits, model.Config{Activation: model.Softmax}, `{"label":"b","confidence":0.665240943,"scores":{"b":0.665240943,"c":0.244728476,"a":0.0900305733}}`},
		"softmax, the best":   {logits, model.Config{Activation: model.Softmax, TopK: 1}, `{"label":"b","confidence":0.665240943,"scores":{"b":0.665240943}}`},
		"sigmoid":             {logits, model.Config{Activation: model.Sigmoid}, `{"label":"b","confidence":0.952574134,"scores":{"b":0.952574134,"c":0.880797088,"a":0.731058598}}`},
		"float64":             {tensor([]float64{1, 3, 2}, 1, 3), model.Config{Activation: model.Softmax}, `{"label":"b","confidence":0.66524095577482178,"scores":{"b":0.66524095577482178,"c":0.24472847105479764,"a":0.090030573170380462}}`},
		"integers":            {tensor([]int8{0, -128, 127}, 1, 3), model.Config{Activation: model.Sigmoid}, `{"label":"c","confidence":1.0,"scores":{"c":1.0,"a":0.5,"b":2.5722093726424148e-56}}`},
		"huge":                {tensor([]float32{1e30, -1e30, 1e30}, 1, 3), model.Config{Activation: model.Softmax}, `{"label":"a","confidence":0.5,"scores":{"a":0.5,"c":0.5,"b":0.0}}`},
		"threshold":           {logits, model.Config{Activation: model.Sigmoid, LabelThreshold: 0.9}, `{"label":"b","confidence":0.952574134,"scores":{"b":0.952574134}}`},
		"threshold of no one": {logits, model.Config{LabelThreshold: 4}, `{"label":"b","confidence":3.0,"scores":{}}`},
		"threshold reached":   {tensor([]float32{0.7, 0.7, 0.1}, 1, 3), model.Config{LabelThreshold: 0.7}, `{"label":"a","confidence":0.7,"scores":{"a":0.7,"b":0.7}}`},
	} {
		t.Run(name, func(t *testing.T) {
			m, in := answer(false, []model.Tensor{c.scores}, "y")
			m.config = c.config
			m.config.Labels = abc
			body, _, err := Encode(in, []model.Tensor{c.scores}, m, "")
			if want := `{"predictions":[` + c.want + "]}\n"; err != nil || string(body) != want {
				t.Errorf("got %s, %v; want %s", body, err, want)
			}
			body, _, err = Encode(in, []model.Tensor{c.scores}, m, "application/x-ndjson")
			if err != nil || string(body) != c.want+"\n" {
				t.Errorf("as a line: got %s, %v; want %s", body, err, c.want)
			}
		})
	}
}

func TestASignatureOfOtherClassesIsNotLabelled(t *testing.T) {
	scores := tensor([]float32{1, 2}, 1, 2)
	m, in := answer(false, []model.Tensor{scores}, "y")
	m.config.Labels = []string{"a", "b", "c"}
	_, _, err := Encode(in, []model.Tensor{scores}, m, "")
	checkError(t, err, CodeBadOutput, "3 labels")

	m.config.Signature = "classify" // so that this one runs only when it is named
	body, _, err := Encode(in, []model.Tensor{scores}, m, "")
	if want := `{"predictions":[[1.0,2.0]]}` + "\n"; err != nil || string(body) != want {
		t.Errorf("got %s, %v; want %s", body, err, want)
	}
}

func TestTheOutputOfAModelWithoutABatchIsLabelled(t *testing.T) {
	scores := tensor([]float32{1, 2, 3}, 3)
	m, in := answer(true, []model.Tensor{scores}, "y")
	m.config.Labels = []string{"a", "b", "c"}
	body, _, err := Encode(in, []model.Tensor{scores}, m, "")
	if want := `{"outputs":{"label":"c","confidence":3.0,"scores":{"c":3.0,"b":2.0,"a":1.0}}}` + "\n"; err != nil || string(body) != want {
		t.Errorf("got %s, %v; want %s", body, err, want)
	}
}
