package model

import (
	"fmt"
	"slices"
)

// DType is the element type of a tensor, numbered as in TensorFlow's
// types.proto.
type DType int32

// The element types that TensorFlow's Go binding can carry and Penstock
// decodes. Others are refused by name when a model is loaded.
const (
	Float32 DType = 1
	Float64 DType = 2
	Int32   DType = 3
	Uint8   DType = 4
	Int16   DType = 5
	Int8    DType = 6
	String  DType = 7
	Int64   DType = 9
	Bool    DType = 10
	Uint16  DType = 17
	Uint32  DType = 22
	Uint64  DType = 23
)

var dtypes = map[DType]struct {
	name string
	size int
}{
	Float32: {"float32", 4}, Float64: {"float64", 8},
	Int8: {"int8", 1}, Int16: {"int16", 2}, Int32: {"int32", 4}, Int64: {"int64", 8},
	Uint8: {"uint8", 1}, Uint16: {"uint16", 2}, Uint32: {"uint32", 4}, Uint64: {"uint64", 8},
	Bool: {"bool", 1}, String: {"string", 0},
}

// refused are the names, TensorFlow's for Python and NumPy, of the types that
// Penstock can't carry. The binding knows those up to "variant".
var refused = map[DType]string{
	8: "complex64", 11: "qint8", 12: "quint8", 13: "qint32", 14: "bfloat16", 15: "qint16", 16: "quint16",
	18: "complex128", 19: "float16", 20: "resource", 21: "variant",
	24: "float8_e5m2", 25: "float8_e4m3fn", 26: "float8_e4m3fnuz", 27: "float8_e4m3b11fnuz", 28: "float8_e5m2fnuz",
	29: "int4", 30: "uint4", 31: "int2", 32: "uint2", 33: "float4_e2m1fn",
}

// references are as many above the types that they refer to; models from
// before TensorFlow 2 have them.
const references = 100

// String gives NumPy's name of the type, "float32", or TensorFlow's where NumPy
// has none. A type that neither had when this was written is "type 99".
func (d DType) String() string {
	if t, ok := dtypes[d]; ok {
		return t.name
	}
	if name, ok := refused[d]; ok {
		return name
	}
	if d > references && d < 2*references {
		return (d - references).String() + "_ref"
	}
	return fmt.Sprintf("type %d", int32(d))
}

// Known says whether Penstock can carry the type.
func (d DType) Known() bool { _, ok := dtypes[d]; return ok }

// Size is the number of bytes of one element, 0 for String.
func (d DType) Size() int { return dtypes[d].size }

// Tensor is a dense tensor in Go memory. Tensors are not changed once they
// were handed on; slices may be shared between them.
type Tensor struct {
	DType DType
	Shape []int64
	Data  []byte   // elements in row-major order, little-endian; nil for String
	Bytes [][]byte // the elements of a String tensor, in row-major order
}

// Elements is the product of the dimensions; 1 for a scalar.
func Elements(shape []int64) int64 {
	n := int64(1)
	for _, d := range shape {
		n *= d
	}
	return n
}

// Rows is the first dimension, and 1 for a scalar.
func (t Tensor) Rows() int64 {
	if len(t.Shape) == 0 {
		return 1
	}
	return t.Shape[0]
}

// Slice gives rows [from, to) without copying. t must not be a scalar.
func (t Tensor) Slice(from, to int64) Tensor {
	shape := slices.Clone(t.Shape)
	shape[0] = to - from
	n := Elements(t.Shape[1:])
	s := Tensor{DType: t.DType, Shape: shape}
	if t.DType == String {
		s.Bytes = t.Bytes[from*n : to*n]
	} else {
		n *= int64(t.DType.Size())
		s.Data = t.Data[from*n : to*n]
	}
	return s
}

// NumBytes is the memory that the elements take.
func (t Tensor) NumBytes() int64 {
	n := int64(len(t.Data))
	for _, b := range t.Bytes {
		n += int64(len(b)) + 24 // TF_TString's size
	}
	return n
}

// Concat joins results of the same signature along the first dimension: part
// i's tensor j is followed by part i+1's. It errs when their shapes differ in
// another dimension.
func Concat(parts [][]Tensor) ([]Tensor, error) {
	if len(parts) == 1 {
		return parts[0], nil
	}
	joined := slices.Clone(parts[0])
	for j := range joined {
		t := &joined[j]
		t.Shape, t.Data, t.Bytes = slices.Clone(t.Shape), slices.Clone(t.Data), slices.Clone(t.Bytes)
		for _, p := range parts[1:] {
			if len(t.Shape) == 0 || !slices.Equal(p[j].Shape[1:], t.Shape[1:]) {
				return nil, fmt.Errorf("results of shapes %v and %v can't be joined", t.Shape, p[j].Shape)
			}
			t.Shape[0] += p[j].Shape[0]
			t.Data = append(t.Data, p[j].Data...)
			t.Bytes = append(t.Bytes, p[j].Bytes...)
		}
	}
	return joined, nil
}
