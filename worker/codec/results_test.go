package codec

import (
	"context"
	"encoding/json"
	"strings"
	"testing"

	"github.com/penstock/penstock/worker/model"
)

// newResults are those of outputs with these names and types, whatever their
// shapes.
func newResults(t *testing.T, accept string, outputs []model.Tensor, names ...string) *Results {
	t.Helper()
	m, in := answer(false, outputs, names...)
	for i := range in.Signature.Outputs {
		in.Signature.Outputs[i].UnknownRank = true
	}
	w, err := NewResults(in.Signature, m, accept)
	if err != nil {
		t.Fatal(err)
	}
	return w
}

var badRecord = Record{Number: 3, Offset: 118, Err: &Error{Code: CodeMalformed, Message: "line 4: \"\xff\"", Hint: "mend it"}}

func TestResultsStandInTheOrderOfTheirRecords(t *testing.T) {
	first, second := tensor([]float32{1, 2, 3, 4}, 2, 2), tensor([]float32{5, 6}, 1, 2)
	const fault = `{"error":{"code":"MalformedInput","message":"line 4: \"` + "\ufffd" + `\"","hint":"mend it","record":3,"offset":118}}`
	for accept, want := range map[string]string{
		"":                      "{\"predictions\":[[1.0,2.0],\n[3.0,4.0],\n" + fault + ",\n[5.0,6.0]]}\n",
		"application/jsonlines": "[1.0,2.0]\n[3.0,4.0]\n" + fault + "\n[5.0,6.0]\n",
	} {
		w := newResults(t, accept, []model.Tensor{first}, "y")
		got, err := w.Rows([]byte("before "), []model.Tensor{first})
		if err != nil {
			t.Fatal(err)
		}
		if got, err = w.Bad(got, badRecord); err != nil {
			t.Fatal(err)
		}
		if got, err = w.Rows(got, []model.Tensor{second}); err != nil {
			t.Fatal(err)
		}
		if got = w.End(got); string(got) != "before "+want {
			t.Errorf("%q: got %s, want %s", accept, got, want)
		}
	}
}

func TestResultsOfNothingAreEmpty(t *testing.T) {
	none := []model.Tensor{tensor([]float32{}, 0, 2)}
	for accept, want := range map[string]string{"": "{\"predictions\":[]}\n", "application/jsonlines": "", "text/csv": ""} {
		w := newResults(t, accept, none, "y")
		got, err := w.Rows(nil, none)
		if got = w.End(got); string(got) != want || err != nil {
			t.Errorf("%q: got %q, %v; want %q", accept, got, err, want)
		}
	}
}

func TestAnErrorMayBeTheFirstResult(t *testing.T) {
	w := newResults(t, "", []model.Tensor{tensor([]float32{1}, 1)}, "y")
	got, err := w.Bad(nil, Record{Number: 1, Err: &Error{Code: CodeInvalidShape, Message: "m"}})
	got = w.End(got)
	if want := `{"predictions":[{"error":{"code":"InvalidShape","message":"m","record":1,"offset":0}}]}` + "\n"; string(got) != want || err != nil {
		t.Errorf("got %s, %v; want %s", got, err, want)
	}
	if !json.Valid(got) {
		t.Error("no JSON")
	}
}

// What is written in pieces is what Encode writes of all.
func TestResultsInPiecesAreThoseOfTheWhole(t *testing.T) {
	outputs := []model.Tensor{tensor([]float32{1, 2, 3, 4, 5, 6}, 3, 2), tensor([]string{"u", "v,\n\"", "\u00e9"}, 3)}
	for _, accept := range []string{
		"", "application/json;raw=true", "application/x-ndjson", "text/csv", "text/csv;header=absent", "text/csv;header=present", "text/html, */*;q=0.1", "application/x-npy, text/csv;q=0.5",
	} {
		for _, labels := range [][]string{nil, {"no", "yes"}} {
			m, in := answer(false, outputs, "y", "z")
			if labels != nil {
				m.config.Labels, m.config.LabelOutput = labels, "y"
			}
			want, wantType, err := Encode(in, outputs, m, accept)
			if err != nil {
				t.Fatal(err)
			}
			w, err := NewResults(in.Signature, m, accept)
			if err != nil {
				t.Fatal(err)
			}
			var got []byte
			for row := range int64(3) {
				one := []model.Tensor{outputs[0].Slice(row, row+1), outputs[1].Slice(row, row+1)}
				if got, err = w.Rows(got, one); err != nil {
					t.Fatal(err)
				}
			}
			if got = w.End(got); string(got) != string(want) || w.ContentType() != wantType {
				t.Errorf("%q: got %s\n%s\nwant %s\n%s", accept, w.ContentType(), got, wantType, want)
			}
		}
	}
}

func TestFormsThatNeedTheWholeResultAreNotChosen(t *testing.T) {
	for accept, says := range map[string]string{
		"application/x-npy":           "one after the other",
		"application/x-npz, text/csv": "a row of output y float32[-1 2 2] is more than a list",
		"image/png":                   "application/jsonlines",
		"text/csv;header=maybe":       "more than a list",
		"application/json;q=0":        "application/json",
	} {
		m, in := answer(false, []model.Tensor{tensor([]float32{1, 2, 3, 4}, 1, 2, 2)}, "y")
		in.Signature.Outputs[0].Shape[0] = -1
		_, err := NewResults(in.Signature, m, accept)
		checkError(t, err, CodeNotAcceptable, says)
	}
	m, in := answer(false, []model.Tensor{tensor([]float32{1, 2}, 1, 2)}, "y")
	_, err := NewResults(in.Signature, m, "text/csv;header=maybe")
	checkError(t, err, CodeNotAcceptable, "header=present")
}

func TestOnlyArraysNeedTheWholeResult(t *testing.T) {
	for accept, want := range map[string]bool{
		"": true, "*/*": true, "text/csv": true, "application/x-npy, application/json;q=0.1": true,
		"application/x-npy": false, "application/x-npz, image/png": false,
	} {
		if got := StreamsResults(floats, accept); got != want {
			t.Errorf("%q: %v", accept, got)
		}
	}
	arrays := newModel(info("x", model.Float32, -1))
	arrays.config.Accept = "application/x-npy"
	if StreamsResults(arrays, "") {
		t.Error("the model file's form is forgotten")
	}
}

func TestCSVHasNoPlaceForAnError(t *testing.T) {
	w := newResults(t, "text/csv", []model.Tensor{tensor([]float32{1}, 1)}, "y")
	got, err := w.Bad([]byte("1\n"), badRecord)
	checkError(t, err, CodeNotAcceptable, "record 3 is bad, and text/csv has no place to say so: MalformedInput: line 4", "ask for application/jsonlines")
	if string(got) != "1\n" {
		t.Errorf("%q was written", got)
	}
}

func TestOutputsThatDifferFromThoseBeforeAreNotWrittenAsCSV(t *testing.T) {
	first := []model.Tensor{tensor([]float32{1, 2}, 1, 2)}
	w := newResults(t, "text/csv", first, "y")
	if _, err := w.Rows(nil, first); err != nil {
		t.Fatal(err)
	}
	_, err := w.Rows(nil, []model.Tensor{tensor([]float32{1, 2, 3}, 1, 3)})
	checkError(t, err, CodeNotAcceptable, "rows of the outputs have [3] values, but those before them [2]", "application/jsonlines")
	_, err = w.Rows(nil, []model.Tensor{tensor([]float32{1}, 1, 1, 1)})
	checkError(t, err, CodeNotAcceptable, "the shape [1 1 1]")
}

func TestOutputsWithoutCommonRowsAreRefused(t *testing.T) {
	outputs := []model.Tensor{tensor([]float32{1, 2}, 2), tensor([]float32{1}, 1)}
	w := newResults(t, "", outputs, "a", "b")
	for says, bad := range map[string][]model.Tensor{
		`output "b" has 1 rows, but the input has 2`: outputs,
		`output "a" is a single value`:               {tensor([]float32{1}), outputs[1]},
		"has 2 outputs, but the model gave 1":        outputs[:1],
	} {
		got, err := w.Rows([]byte("x"), bad)
		checkError(t, err, CodeBadOutput, says)
		if string(got) != "x" {
			t.Errorf("%q was written", got)
		}
	}
	m, in := answer(false, outputs[:1], "a")
	m.config.Labels = []string{"no"}
	w, err := NewResults(in.Signature, m, "")
	if err != nil {
		t.Fatal(err)
	}
	_, err = w.Rows(nil, outputs[:1])
	checkError(t, err, CodeBadOutput, "labels")
}

func TestTheModelFileDecidesWhatNobodySays(t *testing.T) {
	outputs := []model.Tensor{tensor([]float32{1, 2}, 2)}
	for accept, want := range map[string]string{
		"": "application/x-ndjson", " ": "application/x-ndjson", "*/*": "application/x-ndjson", "text/html, */*;q=0.1": "application/x-ndjson",
		"application/json": "application/json", "*/*;raw=true": "application/json", "application/x-ndjson;q=0, */*": "application/json",
	} {
		m, in := answer(false, outputs, "y")
		m.config.Accept = "application/x-ndjson"
		_, got, err := Encode(in, outputs, m, accept)
		if got != want || err != nil {
			t.Errorf("Accept %q: Encode wrote %q, %v; want %q", accept, got, err, want)
		}
		w, err := NewResults(in.Signature, m, accept)
		if err != nil || w.ContentType() != want {
			t.Errorf("Accept %q: Results wrote %+v, %v; want %q", accept, w, err, want)
		}
	}
	m := newModel(info("x", model.Float32, -1))
	m.sign("other", []model.TensorInfo{info("z", model.Int8, -1)}, info("y", model.Float32, -1))
	m.config = model.Config{ContentType: "text/csv; header=absent", Signature: "other"}
	const png = "\x89PNG\r\n\x1a\n"
	for _, c := range []struct {
		src        Source
		body, want string
	}{
		{Source{}, "1\n2\n", "other"},
		{Source{ContentType: "binary/octet-stream", Name: "in/a"}, "1\n2\n", "other"},
		{Source{Name: "a.gz"}, gzipped(t, "1\n2\n"), "other"},
		{Source{ContentType: "application/gzip"}, gzipped(t, "1\n2\n"), "other"},
		{Source{Signature: "serving_default"}, "1\n2\n", "serving_default"},
		{Source{ContentType: "application/json"}, `{"instances": [1, 2]}`, "other"},
		{Source{Name: "a.json"}, `{"signature_name": "serving_default", "instances": [1, 2]}`, "serving_default"},
		{Source{ContentType: "application/jsonlines"}, "1\n2\n", "other"},
		{Source{Name: "a.npy.gz"}, gzipped(t, string(npy("|i1", false, "(2,)", []byte{1, 2}))), "other"},
		{Source{}, string(npy("|i1", false, "(2,)", []byte{1, 2})), "other"}, // whatever the model file says
	} {
		in, err := Decode(context.Background(), []byte(c.body), c.src, m)
		if err != nil || in.Signature.Name != c.want || in.Rows != 2 {
			t.Errorf("%+v %.20q: %+v, %v; want %s", c.src, c.body, in, err, c.want)
		}
		if !Streams([]byte(c.body), c.src, m) {
			continue
		}
		chunks, err := readAll(t, strings.NewReader(c.body), c.src, m, 10)
		if err != nil || chunks[0].Input.Signature.Name != c.want || chunks[0].Input.Rows != 2 {
			t.Errorf("%+v %.20q in pieces: %v; want %s", c.src, c.body, err, c.want)
		}
	}
	_, err := Decode(t.Context(), []byte(png), Source{}, m)
	checkError(t, err, CodeUnsupportedType, "image")
}
