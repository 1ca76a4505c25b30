package model

import (
	"os"
	"reflect"
	"regexp"
	"strings"
	"testing"
)

// page is the documentation of the model file.
func page(t *testing.T) string {
	t.Helper()
	b, err := os.ReadFile("../../docs/model-file.md")
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestTheExamplesOfTheDocumentationAreValid(t *testing.T) {
	t.Parallel()
	blocks := regexp.MustCompile("(?s)```json\n(.*?)```").FindAllStringSubmatch(page(t), -1)
	if len(blocks) < 8 {
		t.Fatalf("there are only %d examples", len(blocks))
	}
	for _, b := range blocks {
		if _, err := ParseConfig([]byte(b[1])); err != nil {
			t.Errorf("%s%v", b[1], err)
		}
	}
}

func TestTheDocumentationKnowsEveryMemberAndWord(t *testing.T) {
	t.Parallel()
	text := page(t)
	words := []string{
		string(Softmax), string(Sigmoid), string(Bilinear), string(Nearest), string(Bicubic), string(Area), string(Lanczos3), string(Lanczos5),
		string(Gaussian), string(MitchellCubic), string(Stretch), string(CenterCrop), string(CropToAspect), string(Letterbox),
		string(RGB), string(BGR), string(ChannelsLast), string(ChannelsFirst), string(Caffe), string(TF), string(Torch), "report", "fail",
		"pad.INPUT.value", "pad.INPUT.sizes",
	}
	for _, t := range []reflect.Type{reflect.TypeFor[Config](), reflect.TypeFor[ImageSpec]()} {
		words = append(words, jsonNames(t)...)
	}
	for _, w := range words {
		if !strings.Contains(text, "`"+w+"`") {
			t.Errorf("nothing is said of %q", w)
		}
	}
}
