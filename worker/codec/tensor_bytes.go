package codec

import (
	"context"
	"fmt"
	"math"
	"mime"
	"slices"
	"strconv"
	"strings"

	"github.com/penstock/penstock/worker/model"
)

// decodeTensorBytes takes the bytes for the elements of the only input, as they
// lie in memory: row-major, little-endian.
func decodeTensorBytes(_ context.Context, body []byte, src Source, m model.Model) (*Input, error) {
	sig, info, err := soleInput("application/x-tensor-bytes", src, m)
	if err != nil {
		return nil, err
	}
	_, params, err := mime.ParseMediaType(src.ContentType)
	if err != nil {
		return nil, &Error{Code: CodeMalformed, Message: fmt.Sprintf("the content type %.100q can't be understood: %v", src.ContentType, err), Hint: "write application/x-tensor-bytes;dtype=float32;shape=2x3"}
	}
	switch dtype := params["dtype"]; {
	case info.DType == model.String:
		return nil, &Error{Code: CodeInvalidDType, Message: fmt.Sprintf("bytes can't be told apart as strings, which input %q takes", info.Name), Hint: "send JSON"}
	case dtype != "" && dtype != info.DType.String():
		return nil, &Error{Code: CodeInvalidDType, Message: fmt.Sprintf("the content type says dtype=%.40q, but input %q takes %v", dtype, info.Name, info.DType)}
	}
	var shape []int64
	if text, ok := params["shape"]; ok {
		shape, err = shapeParameter(text, len(body), info)
	} else {
		shape, err = wholeRows(len(body), info)
	}
	if err != nil {
		return nil, err
	}
	if info.DType == model.Bool && slices.ContainsFunc(body, func(b byte) bool { return b > 1 }) {
		return nil, &Error{Code: CodeMalformed, Message: "a boolean is neither 0 nor 1"}
	}
	t := model.Tensor{DType: info.DType, Shape: shape, Data: body}
	return newInput(sig, []model.Tensor{asRow(t, info, sig)}, false)
}

// shapeParameter reads a shape such as 2x28x28, or 2,28,28 in quotes, which n
// bytes have to fill.
func shapeParameter(text string, n int, info model.TensorInfo) ([]int64, error) {
	shape := []int64{}
	elements := int64(1)
	for _, size := range strings.FieldsFunc(text, func(r rune) bool { return r == 'x' || r == ',' }) {
		d, err := strconv.ParseInt(strings.TrimSpace(size), 10, 64)
		if err != nil || d < 0 || len(shape) == maxDepth || d > 0 && elements > math.MaxInt64/16/d {
			return nil, &Error{Code: CodeMalformed, Message: fmt.Sprintf("the content type says shape=%.60q, which is none", text), Hint: "write shape=2x28x28"}
		}
		shape = append(shape, d)
		elements *= d
	}
	if elements*int64(info.DType.Size()) != int64(n) {
		return nil, &Error{Code: CodeMalformed, Message: fmt.Sprintf("%v of shape %v takes %d bytes, but there are %d", info.DType, shape, elements*int64(info.DType.Size()), n)}
	}
	return shape, nil
}

// wholeRows is the shape of as many rows as n bytes hold.
func wholeRows(n int, info model.TensorInfo) ([]int64, error) {
	row := int64(info.DType.Size())
	dims := info.Shape[min(1, len(info.Shape)):]
	for _, d := range dims {
		if d < 0 || info.UnknownRank {
			row = 0
			break
		}
		if d > 0 && row > math.MaxInt64/d {
			row = math.MaxInt64 // larger than any body
			continue
		}
		row *= d
	}
	switch {
	case info.UnknownRank || row == 0:
		return nil, &Error{Code: CodeInvalidShape, Message: fmt.Sprintf("the bytes of a row are not known: the model takes %v", info), Hint: "say the shape in the content type: application/x-tensor-bytes;shape=2x3"}
	case int64(n)%row != 0:
		return nil, &Error{Code: CodeInvalidShape, Message: fmt.Sprintf("the input has %d bytes, which is no multiple of the %d that a row of %v takes", n, row, info)}
	case len(info.Shape) == 0:
		return []int64{}, scalarBytes(n, row, info)
	}
	return slices.Concat([]int64{int64(n) / row}, dims), nil
}

func scalarBytes(n int, size int64, info model.TensorInfo) error {
	if int64(n) == size {
		return nil
	}
	return &Error{Code: CodeInvalidShape, Message: fmt.Sprintf("the input has %d bytes, but the single value %v takes %d", n, info, size)}
}
