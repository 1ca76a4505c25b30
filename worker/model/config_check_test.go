package model

import "testing"

// signatures are of a model with everything that a model file may speak of.
func signatures() map[string]*Signature {
	info := func(name string, dtype DType, shape ...int64) TensorInfo {
		return TensorInfo{Name: name, DType: dtype, Shape: shape}
	}
	all := make(map[string]*Signature)
	for _, s := range []*Signature{
		{Name: "serving_default", Inputs: []TensorInfo{info("photo", Float32, -1, 32, 48, 3)}, Outputs: []TensorInfo{info("classes", Float32, -1, 3)}},
		{Name: "first", Inputs: []TensorInfo{info("planes", Float32, -1, 3, 32, 48)}, Outputs: []TensorInfo{info("classes", Float32, -1, 3)}},
		{Name: "grey", Inputs: []TensorInfo{info("grey", Uint8, -1, 28, 28)}, Outputs: []TensorInfo{info("digit", Int64, -1)}},
		{Name: "any size", Inputs: []TensorInfo{info("open", Float32, -1, -1, -1, 3)}, Outputs: []TensorInfo{info("classes", Float32, -1, -1)}},
		{Name: "text", Inputs: []TensorInfo{info("tokens", Int32, -1, -1), info("mask", Bool, -1, -1)}, Outputs: []TensorInfo{info("embedding", Float32, -1, 8), info("per_token", Float32, -1, -1, 8)}},
		{Name: "words", Inputs: []TensorInfo{info("words", String, -1, -1)}, Outputs: []TensorInfo{info("language", String, -1)}},
		{Name: "four", Inputs: []TensorInfo{info("rows", Float32, 4, 7)}, Outputs: []TensorInfo{info("sum", Float32, 4)}},
		{Name: "anything", Inputs: []TensorInfo{{Name: "any", DType: Uint8, UnknownRank: true}}, Outputs: []TensorInfo{{Name: "any", DType: Float32, UnknownRank: true}}},
	} {
		all[s.Name] = s
	}
	return all
}

func TestAModelFileThatFitsItsModelIsTaken(t *testing.T) {
	t.Parallel()
	for _, file := range []string{
		`{}`,
		`{"labels":["a","b","c"],"image":{"preset":"torch","crop":"center_crop","resize_shorter":64}}`,
		`{"labels":["a","b","c"],"label_output":"classes","image":{"input":"photo","height":32,"width":48,"channels":3}}`,
		`{"signature":"first","image":{"layout":"channels_first"}}`,
		`{"signature":"grey","image":{"scale":1,"invert":true}}`,
		`{"signature":"any size","labels":["a"],"image":{}}`,
		`{"signature":"any size","image":{"height":8,"width":9,"crop":"pad"}}`,
		`{"signature":"anything","labels":["a"],"image":{"height":8}}`,
		`{"image":{"input":"grey"}}`,
		`{"pad":{"tokens":{"value":-1,"sizes":[16]},"mask":{"value":false},"words":{"value":"[PAD]"},"any":{}},"trim":{"per_token":"tokens"}}`,
		`{"allowed_batch_sizes":[1,4,16]}`,
	} {
		c, err := ParseConfig([]byte(file))
		if err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		if err := c.Check(signatures()); err != nil {
			t.Errorf("%s: %v", file, err)
		}
	}
}

func TestEveryContradictionOfModelFileAndModelIsReported(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		file string
		want []string
	}{
		"signature":        {`{"signature":"serve"}`, []string{"signature it has: any size, anything, first"}},
		"number of labels": {`{"labels":["a","b"]}`, []string{"labels there are 2, but output classes float32[-1 3]"}},
		"output":           {`{"labels":["a","b"],"label_output":"clases"}`, []string{`label_output signature "serving_default" has no output "clases"; it has: classes`}},
		"several outputs":  {`{"signature":"text","labels":["a","b","c","d","e"]}`, []string{"label_output say which of embedding float32[-1 8], per_token"}},
		"no scores":        {`{"signature":"words","labels":["a"]}`, []string{"labels no scores"}},
		"one number":       {`{"signature":"grey","labels":["a"]}`, nil},
		"image's input":    {`{"image":{"input":"foto"}}`, []string{`image.input has no input "foto"; it has: photo`}},
		"image's sizes":    {`{"image":{"height":30,"width":50,"channels":4}}`, []string{"image.height it is 30, but the model takes photo", "image.width 50", "image.channels 4"}},
		"the layout":       {`{"image":{"layout":"channels_first"}}`, []string{"image.channels"}},
		"grey":             {`{"signature":"grey","image":{"channels":3}}`, []string{"image.channels it is 3, but the model takes grey"}},
		"scaled integers":  {`{"signature":"grey","image":{"preset":"tf"}}`, []string{"image takes pixels as they are"}},
		"grey by a preset": {`{"image":{"input":"grey","preset":"torch"}}`, []string{"image takes pixels as they are", "image with 1 channels"}},
		"no image":         {`{"signature":"four","image":{}}`, []string{"image an image can't become the input rows"}},
		"strings":          {`{"signature":"words","image":{}}`, []string{"image an image can't become the input words"}},
		"two inputs":       {`{"signature":"text","image":{"input":"tokens"}}`, []string{"image an image can only be the sole input"}},
		"an open size":     {`{"signature":"any size","image":{"height":8,"crop":"pad"}}`, []string{"image.crop leaves them open"}},
		"a short side":     {`{"image":{"crop":"center_crop","resize_shorter":40}}`, []string{"image.resize_shorter less than the 48 x 32"}},
		"no such pad":      {`{"pad":{"token":{}}}`, []string{"pad.token it has: any, grey, mask"}},
		"nothing to pad":   {`{"pad":{"photo":{}}}`, []string{"pad.photo leaves no dimension open"}},
		"padding's type":   {`{"pad":{"tokens":{"value":0.5},"mask":{"value":1},"words":{"value":0},"any":{"value":256}}}`, []string{"pad.tokens.value 0.5", "pad.mask.value 1", "pad.words.value 0", "pad.any.value 256"}},
		"trimming":         {`{"pad":{"tokens":{}},"trim":{"embedding":"tokens","zzz":"tokens"}}`, []string{"trim.embedding leaves no dimension open", "trim.zzz it has: any, classes"}},
		"allowed sizes":    {`{"allowed_batch_sizes":[1,8]}`, []string{`allowed_batch_sizes signature "four" takes 4 rows`}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			config, err := ParseConfig([]byte(c.file))
			if err != nil {
				t.Fatal(err)
			}
			err = config.Check(signatures())
			if c.want == nil {
				c.want = []string{"labels must have as many in its last dimension"}
			}
			wantFaults(t, err, c.want...)
		})
	}
}

func TestAModelWithoutABatchHasNoSizesOfIt(t *testing.T) {
	t.Parallel()
	scalar := &Signature{Name: "s", Inputs: []TensorInfo{{Name: "x", DType: Float32, Shape: []int64{3}}}, Outputs: []TensorInfo{{Name: "y", DType: Float32, Shape: []int64{}}}}
	c := &Config{AllowedBatchSizes: []int{1, 2}, Labels: []string{"a"}}
	wantFaults(t, c.Check(map[string]*Signature{"s": scalar}),
		"allowed_batch_sizes no signature of the model has a batch dimension", "labels last dimension")
}
