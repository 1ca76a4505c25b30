package model

import (
	"encoding/json"
	"reflect"
	"slices"
	"strings"
	"testing"
)

func TestAModelFileIsReadWhole(t *testing.T) {
	t.Parallel()
	c, err := ParseConfig([]byte(`{"labels":["a","b"],"label_output":"p","top_k":2,"label_threshold":0.1,"activation":"sigmoid",
		"allowed_batch_sizes":[4,16],"max_batch_size":16,"batch_timeout_micros":0,"max_concurrent_batches":1,
		"pad":{"x":{"value":-1,"sizes":[8,16]}},"trim":{"y":"x"},"signature":"s","content_type":"image/png",
		"accept":"text/csv, */*;q=0.1","record_errors":"fail",
		"image":{"input":"x","height":8,"width":9,"channels":3,"resize":"area","antialias":false,"crop":"pad","fill":114,
			"exif_orientation":false,"color_order":"BGR","layout":"channels_first",
			"scale":1,"mean":[1,2,3],"std":[4],"invert":true}}`))
	if err != nil {
		t.Fatal(err)
	}
	want := &Config{
		Labels: []string{"a", "b"}, LabelOutput: "p", TopK: 2, LabelThreshold: 0.1, Activation: Sigmoid,
		AllowedBatchSizes: []int{4, 16}, MaxBatchSize: 16, BatchTimeoutMicros: new(int64(0)), MaxConcurrentBatches: 1,
		Pad: map[string]Pad{"x": {Value: -1.0, Sizes: []int64{8, 16}}}, Trim: map[string]string{"y": "x"}, Signature: "s", ContentType: "image/png",
		Accept: "text/csv, */*;q=0.1", RecordErrors: "fail",
		Image: &ImageSpec{
			Input: "x", Height: 8, Width: 9, Channels: 3, Resize: Area, Antialias: new(false), Crop: Letterbox, Fill: 114,
			EXIFOrientation: new(false), ColorOrder: BGR, Layout: ChannelsFirst,
			Scale: 1, Mean: []float64{1, 2, 3}, Std: []float64{4}, Invert: true,
		},
	}
	if !reflect.DeepEqual(c, want) {
		t.Errorf("got %+v with %+v", c, c.Image)
	}
}

func TestANullInAModelFileIsAsIfItWereNotThere(t *testing.T) {
	t.Parallel()
	c, err := ParseConfig([]byte(`{"labels":null,"pad":{"x":null,"y":{"value":null}},"trim":{"a":null,"b":"y"}}`))
	if err != nil {
		t.Fatal(err)
	}
	if want := (&Config{Pad: map[string]Pad{"y": {}}, Trim: map[string]string{"b": "y"}}); !reflect.DeepEqual(c, want) {
		t.Errorf("got %+v, want %+v", c, want)
	}
	_, err = ParseConfig([]byte(`{"pad":{"x":null},"trim":{"a":"x"}}`))
	wantFaults(t, err, `trim.a "x"`)
}

// wantFaults parses a file that has exactly these faults: each is its place,
// a blank, and part of what is said of it.
func wantFaults(t *testing.T, err error, want ...string) {
	t.Helper()
	if err == nil {
		t.Fatalf("no error; want %q", want)
	}
	said := strings.Split(err.Error(), "\n")
	for _, w := range want {
		path, text, _ := strings.Cut(w, " ")
		found := slices.IndexFunc(said, func(line string) bool {
			rest, ok := strings.CutPrefix(line, ConfigFile+": "+path+": ")
			return ok && strings.Contains(rest, text)
		})
		if found < 0 {
			t.Errorf("%q is missing in:\n%v", w, err)
			continue
		}
		said = slices.Delete(said, found, found+1)
	}
	if len(said) > 0 {
		t.Errorf("nobody expected:\n%s", strings.Join(said, "\n"))
	}
}

func TestEveryFaultOfAModelFileIsReportedWithItsPlace(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		file string
		want []string
	}{
		"mistyped members": {
			`{"lables":["a"],"image":{"hight":3,"colour_order":"BGR"},"pad":{"x":{"values":0}},"zzz":{"a":[1]}}`,
			[]string{`lables did you mean "labels"?`, `image.hight did you mean "height"?`, `image.colour_order did you mean "color_order"?`, `pad.x.values did you mean "value"?`, "zzz the members here are labels, "},
		},
		"wrong types": {
			`{"labels":"a","top_k":"5","image":{"mean":[1,"2"],"height":2.5,"invert":1},"pad":{"x":{"value":[0]},"y":{"value":{}}},"allowed_batch_sizes":{},"max_batch_size":1e30}`,
			[]string{"labels it must be a list", "top_k it must be a whole number", "image.mean[1] it must be a number", "image.height it is 2.5", "image.invert it must be true or false", "pad.x.value it is a list", "pad.y.value it is an object", "allowed_batch_sizes it must be a list", "max_batch_size whole number"},
		},
		"twice":        {`{"top_k":1,"top_k":2}`, []string{"top_k twice"}},
		"wrong case":   {`{"Labels":["a"]}`, []string{`Labels did you mean "labels"?`}},
		"two places":   {`{"labels":["a"],"labels_file":"l.txt"}`, []string{"labels_file one of the two"}},
		"far labels":   {`{"labels_file":"/etc/passwd"}`, []string{"labels_file below the folder"}},
		"labels":       {`{"labels":["a","a",""],"top_k":-1}`, []string{`labels[1] "a" is at 0`, "labels[2] empty", "top_k negative"}},
		"no labels":    {`{"label_output":"x","top_k":3,"label_threshold":0.5,"activation":"softmax"}`, []string{"label_output neither", "top_k neither", "label_threshold neither", "activation neither"}},
		"activation":   {`{"labels":["a"],"activation":"soft_max"}`, []string{`activation did you mean "softmax"?`}},
		"batching":     {`{"max_batch_size":-1,"max_concurrent_batches":-2,"batch_timeout_micros":-3,"allowed_batch_sizes":[0,4,4]}`, []string{"max_batch_size negative", "max_concurrent_batches negative", "batch_timeout_micros negative", "allowed_batch_sizes[0] positive", "allowed_batch_sizes[2] ascend"}},
		"largest":      {`{"max_batch_size":8,"allowed_batch_sizes":[2,16]}`, []string{"max_batch_size last of allowed_batch_sizes is 16"}},
		"padding":      {`{"pad":{"x":{"sizes":[8,8,-1]}},"trim":{"y":"z"}}`, []string{"pad.x.sizes[1] ascend", "pad.x.sizes[2] positive", `trim.y "z"`}},
		"types":        {`{"content_type":"png","accept":"text/csv,;","record_errors":"reprot"}`, []string{`content_type "png"`, "accept media range", `record_errors did you mean "report"?`}},
		"sizes":        {`{"image":{"height":-1,"width":99999,"channels":2}}`, []string{"image.height from 0", "image.width from 0", "image.channels 1, 3 or 4"}},
		"words":        {`{"image":{"resize":"cubic","crop":"centre_crop","preset":"pytorch","color_order":"bgr","layout":"NCHW"}}`, []string{`image.resize "bicubic"`, `image.crop did you mean "center_crop"?`, `image.preset did you mean "torch"?`, `image.color_order did you mean "BGR"?`, "image.layout channels_first"}},
		"kernels":      {`{"image":{"resize":"nearest","antialias":true}}`, []string{"image.antialias nearest"}},
		"crops":        {`{"image":{"height":8,"resize_shorter":4,"crop":"center_crop","fill":3}}`, []string{"image.resize_shorter less than", "image.fill pad"}},
		"no crop":      {`{"image":{"resize_shorter":9}}`, []string{"image.resize_shorter center_crop"}},
		"fill":         {`{"image":{"crop":"pad","fill":256}}`, []string{"image.fill 0 to 255"}},
		"numbers":      {`{"image":{"channels":4,"mean":[1,2,3],"std":[1,0]}}`, []string{"image.mean 3 numbers", "image.std 2 numbers", "image.std[1] divided"}},
		"grey BGR":     {`{"image":{"channels":1,"color_order":"BGR"}}`, []string{"image.color_order colours"}},
		"presets":      {`{"image":{"preset":"torch","channels":1,"scale":1,"mean":[0],"std":[1],"color_order":"RGB"}}`, []string{"image.preset 3 channels", "image.scale preset", "image.mean preset", "image.std preset", "image.color_order preset"}},
		"null is none": {`{"labels":null,"image":{"antialias":null,"hight":null}}`, []string{"image.hight height"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := ParseConfig([]byte(c.file))
			wantFaults(t, err, c.want...)
		})
	}
}

func TestWhatIsNoModelFileIsRefused(t *testing.T) {
	t.Parallel()
	for file, want := range map[string]string{
		"":                        "ends too early",
		"{\n\"top_k\":":           "line 2: it ends too early",
		"{\n\"top_k\": 1,\n oops": "line 3: ",
		"[]":                      "it must be an object",
		"3":                       "it must be an object",
		"{} {}":                   "more behind the JSON object",
	} {
		if c, err := ParseConfig([]byte(file)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %+v, %v; want %q", file, c, err, want)
		}
	}
	if c, err := ParseConfig([]byte("null")); err != nil || !reflect.DeepEqual(c, &Config{}) {
		t.Errorf("null: %+v, %v", c, err)
	}
}

func FuzzParseConfig(f *testing.F) {
	f.Add([]byte(`{"labels":["a"],"image":{"mean":[1]},"pad":{"x":{"value":"s"}}}`))
	f.Add([]byte(`{"a":[{"b":[[1,{}]]}]}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		c, err := ParseConfig(b)
		if err != nil {
			return
		}
		again, err := json.Marshal(c)
		if err != nil {
			t.Fatalf("what was read can't be written: %v", err)
		}
		if _, err := ParseConfig(again); err != nil {
			t.Fatalf("what was written can't be read: %v\n%s", err, again)
		}
	})
}

func TestASignatureKnowsItsBatch(t *testing.T) {
	t.Parallel()
	info := func(shape ...int64) TensorInfo { return TensorInfo{Name: "t", DType: Float32, Shape: shape} }
	unknown := TensorInfo{Name: "t", DType: Float32, UnknownRank: true}
	for _, c := range []struct {
		name    string
		in, out []TensorInfo
		rows    int64
		ok      bool
	}{
		{"free", []TensorInfo{info(-1, 3)}, []TensorInfo{info(-1)}, -1, true},
		{"fixed", []TensorInfo{info(4, 3)}, []TensorInfo{info(4)}, 4, true},
		{"unknown rank", []TensorInfo{unknown}, []TensorInfo{info(-1)}, -1, true},
		{"scalar output", []TensorInfo{info(3)}, []TensorInfo{info()}, 0, false},
		{"different", []TensorInfo{info(-1, 3)}, []TensorInfo{info(7)}, 0, false},
	} {
		rows, ok := (&Signature{Inputs: c.in, Outputs: c.out}).Batch()
		if ok != c.ok || ok && rows != c.rows {
			t.Errorf("%s: got %d, %v; want %d, %v", c.name, rows, ok, c.rows, c.ok)
		}
	}
}

func TestRowsAreCutAndJoinedAgain(t *testing.T) {
	t.Parallel()
	numbers := Tensor{DType: Uint8, Shape: []int64{3, 2}, Data: []byte{1, 2, 3, 4, 5, 6}}
	words := Tensor{DType: String, Shape: []int64{3}, Bytes: [][]byte{[]byte("a"), nil, []byte("c")}}
	var parts [][]Tensor
	for i := range int64(3) {
		parts = append(parts, []Tensor{numbers.Slice(i, i+1), words.Slice(i, i+1)})
	}
	got, err := Concat(parts)
	if err != nil {
		t.Fatal(err)
	}
	if string(got[0].Data) != string(numbers.Data) || got[0].Shape[0] != 3 || len(got[1].Bytes) != 3 || string(got[1].Bytes[2]) != "c" {
		t.Errorf("got %+v", got)
	}
	if string(numbers.Data) != "\x01\x02\x03\x04\x05\x06" {
		t.Errorf("joining changed its input: %v", numbers.Data)
	}
	wide := Tensor{DType: Uint8, Shape: []int64{1, 3}, Data: []byte{7, 8, 9}}
	if _, err := Concat([][]Tensor{{numbers}, {wide}}); err == nil {
		t.Error("rows of different widths were joined")
	}
}
