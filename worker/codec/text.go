package codec

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"unicode/utf8"

	"github.com/penstock/penstock/worker/model"
)

// decodeText makes one string of the whole text.
func decodeText(_ context.Context, body []byte, src Source, m model.Model) (*Input, error) {
	if err := refuseUTF16(body, "text"); err != nil {
		return nil, err
	}
	sig, info, err := soleInput("text", src, m)
	if err != nil {
		return nil, err
	}
	shape, ok := oneString(sig)
	if !ok {
		return nil, &Error{
			Code:    CodeUnsupportedType,
			Message: fmt.Sprintf("a text can't become the input %v: it has to be strings, one a row", info),
			Hint:    "if the content is JSON, JSON lines or CSV, set the object's content type to it",
		}
	}
	text := bytes.TrimPrefix(body, []byte(utf8BOM))
	for rest := text; len(rest) > 0; {
		r, size := utf8.DecodeRune(rest)
		if r == utf8.RuneError && size == 1 {
			return nil, &Error{
				Code:    CodeMalformed,
				Message: fmt.Sprintf("the text is not valid UTF-8 at byte %d", len(body)-len(rest)),
				Hint:    "save it as UTF-8; bytes that are no text may have any other content type",
			}
		}
		rest = rest[size:]
	}
	return oneElement(sig, shape, text)
}

// decodeOpaque makes one string of content that no decoder is for, if the model
// takes that: one that decodes images itself, for example.
func decodeOpaque(body []byte, src Source, m model.Model) (in *Input, ok bool) {
	sig, err := chooseSignature(m, src.Signature, "")
	if err != nil {
		return nil, false
	}
	shape, ok := oneString(sig)
	if !ok {
		return nil, false
	}
	in, err = oneElement(sig, shape, body)
	return in, err == nil
}

// oneElement is an input of one string.
func oneElement(sig *model.Signature, shape []int64, content []byte) (*Input, error) {
	t := model.Tensor{DType: model.String, Shape: shape, Bytes: [][]byte{content}}
	return newInput(sig, []model.Tensor{t}, false)
}

// oneString says whether sig takes strings, one a row: it has a single input
// of them, and a row is one element. shape is a row's, as a tensor.
func oneString(sig *model.Signature) (shape []int64, ok bool) {
	info := sig.Inputs[0]
	_, batched := sig.Batch()
	switch {
	case len(sig.Inputs) != 1 || info.DType != model.String:
		return nil, false
	case info.UnknownRank:
		return []int64{1}, true
	case !batched && slices.ContainsFunc(info.Shape, func(d int64) bool { return d != 1 && d != -1 }):
		return nil, false
	case len(info.Shape) > 1 && slices.ContainsFunc(info.Shape[1:], func(d int64) bool { return d != 1 }):
		return nil, false
	}
	return slices.Repeat([]int64{1}, len(info.Shape)), true
}
