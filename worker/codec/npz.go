package codec

import (
	"archive/zip"
	"bytes"
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"maps"
	"slices"
	"strings"

	"github.com/penstock/penstock/worker/model"
)

const zipMagic = "PK\x03\x04"

// archive is an .npz file: a zip archive of .npy files.
type archive struct {
	body   []byte
	arrays map[string]*zip.File // by name, without .npy
	limit  int64                // bytes that may still come of decompressing
}

// decodeNPZ reads NumPy's archives of named arrays, stored or deflated.
func decodeNPZ(_ context.Context, body []byte, src Source, m model.Model) (*Input, error) {
	sig, err := chooseSignature(m, src.Signature, "")
	if err != nil {
		return nil, err
	}
	a, err := openNPZ(body, src.maxBytes(body))
	if err != nil {
		return nil, err
	}
	tensors := make([]model.Tensor, len(sig.Inputs))
	for i, info := range sig.Inputs {
		name, err := a.pick(info, len(sig.Inputs))
		if err != nil {
			return nil, err
		}
		if tensors[i], err = a.tensor(name, info, sig); err != nil {
			return nil, err
		}
	}
	return newInput(sig, tensors, false)
}

// brokenNPZ is the error of a file that is no .npz.
func brokenNPZ(format string, args ...any) *Error {
	return &Error{
		Code:    CodeMalformed,
		Message: "broken .npz file: " + fmt.Sprintf(format, args...),
		Hint:    "write it with numpy.savez",
	}
}

func openNPZ(body []byte, limit int64) (*archive, error) {
	z, err := zip.NewReader(bytes.NewReader(body), int64(len(body)))
	if err != nil {
		return nil, brokenNPZ("%v", err)
	}
	a := &archive{body: body, arrays: map[string]*zip.File{}, limit: limit}
	for _, f := range z.File {
		name, ok := strings.CutSuffix(f.Name, ".npy")
		if !ok {
			continue
		}
		if a.arrays[name] != nil {
			return nil, brokenNPZ("array %.60q is there twice", name)
		}
		a.arrays[name] = f
	}
	if len(a.arrays) == 0 {
		return nil, brokenNPZ("the zip archive holds no arrays")
	}
	return a, nil
}

// pick is the name of the array for an input: the input's own, or that of the
// only array for the only input.
func (a *archive) pick(info model.TensorInfo, inputs int) (string, error) {
	if a.arrays[info.Name] != nil {
		return info.Name, nil
	}
	names := slices.Sorted(maps.Keys(a.arrays))
	if len(names) == 1 && inputs == 1 {
		return names[0], nil
	}
	list := strings.Join(names[:min(len(names), 10)], ", ")
	return "", &Error{
		Code:    CodeInvalidShape,
		Message: fmt.Sprintf("the .npz file has no array for input %q; it has: %.300s", info.Name, list),
		Hint:    fmt.Sprintf("name the arrays after the inputs: numpy.savez(file, %s=..., ...)", info.Name),
	}
}

// tensor reads an array.
func (a *archive) tensor(name string, info model.TensorInfo, sig *model.Signature) (model.Tensor, error) {
	data, err := a.read(a.arrays[name])
	var h *npyHeader
	if err == nil {
		h, err = parseNPY(data)
	}
	var t model.Tensor
	if err == nil {
		t, err = h.tensor(info)
	}
	if e, ok := errors.AsType[*Error](err); ok {
		return t, &Error{Code: e.Code, Message: fmt.Sprintf("array %.60q: %s", name, e.Message), Hint: e.Hint}
	}
	return asRow(t, info, sig), err
}

// read gives an array's file, without a copy where it is stored as it is.
func (a *archive) read(f *zip.File) ([]byte, error) {
	if f.Method == zip.Store {
		return a.stored(f)
	}
	r, err := f.Open()
	if errors.Is(err, zip.ErrAlgorithm) {
		return nil, &Error{Code: CodeUnsupportedType, Message: fmt.Sprintf("it is compressed by method %d", f.Method), Hint: "use numpy.savez or numpy.savez_compressed"}
	}
	if err != nil {
		return nil, brokenNPZ("%v", err)
	}
	defer r.Close()
	data, err := expand(r, int(min(f.CompressedSize64, uint64(len(a.body)))), f.UncompressedSize64, a.limit)
	if _, ok := errors.AsType[*Error](err); err != nil && !ok {
		return nil, brokenNPZ("%v", err)
	}
	a.limit -= int64(len(data))
	return data, err
}

// stored gives a file that is not compressed.
func (a *archive) stored(f *zip.File) ([]byte, error) {
	start, err := f.DataOffset()
	if err != nil {
		return nil, brokenNPZ("%v", err)
	}
	size, there := f.UncompressedSize64, int64(len(a.body))-start
	if there < 0 || size > uint64(there) {
		return nil, brokenNPZ("it should have %d bytes, but the file ends before", size)
	}
	data := a.body[start : start+int64(size)]
	if crc32.ChecksumIEEE(data) != f.CRC32 {
		return nil, brokenNPZ("%v", zip.ErrChecksum)
	}
	return data, nil
}
