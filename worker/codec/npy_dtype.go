package codec

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/penstock/penstock/worker/model"
)

// npyTypes are NumPy's names of the numeric types, without the byte order.
var npyTypes = map[string]model.DType{
	"f4": model.Float32, "f8": model.Float64, "b1": model.Bool,
	"i1": model.Int8, "i2": model.Int16, "i4": model.Int32, "i8": model.Int64,
	"u1": model.Uint8, "u2": model.Uint16, "u4": model.Uint32, "u8": model.Uint64,
}

// widens lists the types that hold every value of a type.
var widens = map[model.DType][]model.DType{
	model.Uint8:   {model.Uint16, model.Uint32, model.Uint64, model.Int16, model.Int32, model.Int64, model.Float32, model.Float64},
	model.Uint16:  {model.Uint32, model.Uint64, model.Int32, model.Int64, model.Float32, model.Float64},
	model.Uint32:  {model.Uint64, model.Int64, model.Float64},
	model.Int8:    {model.Int16, model.Int32, model.Int64, model.Float32, model.Float64},
	model.Int16:   {model.Int32, model.Int64, model.Float32, model.Float64},
	model.Int32:   {model.Int64, model.Float64},
	model.Float32: {model.Float64},
}

// float16 is NumPy's name of a type that no input has, but all of whose values
// are float32s.
const float16 = "f2"

// tensor is the array as info's type, without a copy where the file has the
// elements just as a tensor does.
func (h *npyHeader) tensor(info model.TensorInfo) (model.Tensor, error) {
	if h.descr == "" {
		return model.Tensor{}, h.refuse(info)
	}
	order, kind := h.descr[0], strings.TrimLeft(h.descr[:1], "<>|=")+h.descr[1:]
	if kind == "" {
		return model.Tensor{}, h.refuse(info)
	}
	if kind[0] == 'S' || kind[0] == 'U' {
		return h.strings(info, order, kind)
	}
	from, ok := npyTypes[kind]
	size := from.Size()
	if kind == float16 {
		from, ok, size = model.Float32, true, 2
	}
	if !ok || info.DType != from && !slices.Contains(widens[from], info.DType) {
		return model.Tensor{}, h.refuse(info)
	}
	if err := h.checkSize(int64(size)); err != nil {
		return model.Tensor{}, err
	}
	data := h.data
	if h.fortran && len(h.shape) > 1 {
		data = rowMajor(data, h.shape, size)
	}
	if order == '>' && size > 1 {
		data = swapped(data, size)
	}
	if kind == float16 {
		data = fromFloat16(data)
	}
	if from == model.Bool && slices.ContainsFunc(data, func(b byte) bool { return b > 1 }) {
		return model.Tensor{}, brokenNPY("a boolean is neither 0 nor 1")
	}
	if from != info.DType {
		data = widen(data, from, info.DType)
	}
	return model.Tensor{DType: info.DType, Shape: h.shape, Data: data}, nil
}

// refuse is the error of an array whose type the input doesn't take.
func (h *npyHeader) refuse(info model.TensorInfo) error {
	e := &Error{
		Code:    CodeInvalidDType,
		Message: fmt.Sprintf("the array's dtype is %.20q, which can't become %s, the type of input %q, without loss", h.descr, info.DType, info.Name),
		Hint:    fmt.Sprintf("save array.astype('%s')", info.DType),
	}
	if info.DType == model.String {
		e.Hint = "save array.astype('S') or array.astype('U')"
	}
	return e
}

// checkSize compares the bytes that the shape needs with those there are,
// before anything is allocated by it.
func (h *npyHeader) checkSize(item int64) error {
	n := model.Elements(h.shape)
	if item > 0 && n > math.MaxInt64/item || n*item != int64(len(h.data)) {
		return brokenNPY("%d elements of %d bytes are announced, but %d bytes follow the header", n, item, len(h.data))
	}
	return nil
}

// strings reads arrays of fixed-width byte strings, or of UTF-32 text. NumPy
// pads both with zeros, which it does not count as part of the string.
func (h *npyHeader) strings(info model.TensorInfo, order byte, kind string) (model.Tensor, error) {
	width, err := strconv.ParseUint(kind[1:], 10, 31)
	if err != nil || info.DType != model.String {
		return model.Tensor{}, h.refuse(info)
	}
	item := int64(width)
	if kind[0] == 'U' {
		item *= 4
	}
	if item == 0 {
		return model.Tensor{}, brokenNPY("its strings have no width")
	}
	if err := h.checkSize(item); err != nil {
		return model.Tensor{}, err
	}
	data := h.data
	if h.fortran && len(h.shape) > 1 {
		data = rowMajor(data, h.shape, int(item))
	}
	t := model.Tensor{DType: model.String, Shape: h.shape, Bytes: make([][]byte, 0, len(data)/int(item))}
	for s := range slices.Chunk(data, int(item)) {
		if kind[0] == 'U' {
			if s, err = utf8Of(s, order); err != nil {
				return model.Tensor{}, err
			}
		}
		t.Bytes = append(t.Bytes, bytes.TrimRight(s, "\x00"))
	}
	return t, nil
}

// utf8Of converts UTF-32.
func utf8Of(s []byte, order byte) ([]byte, error) {
	var endian binary.ByteOrder = binary.LittleEndian
	if order == '>' {
		endian = binary.BigEndian
	}
	var v []byte
	for c := range slices.Chunk(s, 4) {
		r := endian.Uint32(c)
		if r > utf8.MaxRune || !utf8.ValidRune(rune(r)) {
			return nil, brokenNPY("%#x is no character", r)
		}
		v = utf8.AppendRune(v, rune(r))
	}
	return v, nil
}

// swapped reverses the bytes of every element.
func swapped(data []byte, size int) []byte {
	out := slices.Clone(data)
	for e := range slices.Chunk(out, size) {
		slices.Reverse(e)
	}
	return out
}

// rowMajor reorders elements that lie with the first index varying fastest.
func rowMajor(data []byte, shape []int64, size int) []byte {
	out := make([]byte, 0, len(data))
	strides := make([]int, len(shape)) // in bytes, in data
	stride := size
	for i, d := range shape {
		strides[i] = stride
		stride *= int(d)
	}
	index := make([]int64, len(shape))
	for at := 0; len(out) < len(data); {
		out = append(out, data[at:at+size]...)
		for i := len(shape) - 1; i >= 0; i-- { // count up, the last index first
			index[i]++
			at += strides[i]
			if index[i] < shape[i] {
				break
			}
			at -= int(shape[i]) * strides[i]
			index[i] = 0
		}
	}
	return out
}

// widen converts elements to a type that holds all values of theirs.
func widen(data []byte, from, to model.DType) []byte {
	c := newColumn(model.TensorInfo{DType: to})
	c.data = make([]byte, 0, len(data)/from.Size()*c.size)
	for e := range slices.Chunk(data, from.Size()) {
		switch from {
		case model.Uint8:
			c.whole(int64(e[0]))
		case model.Uint16:
			c.whole(int64(binary.LittleEndian.Uint16(e)))
		case model.Uint32:
			c.whole(int64(binary.LittleEndian.Uint32(e)))
		case model.Int8:
			c.whole(int64(int8(e[0])))
		case model.Int16:
			c.whole(int64(int16(binary.LittleEndian.Uint16(e))))
		case model.Int32:
			c.whole(int64(int32(binary.LittleEndian.Uint32(e))))
		case model.Float32: // widens to float64 only
			v := math.Float32frombits(binary.LittleEndian.Uint32(e))
			c.store(math.Float64bits(float64(v)))
		}
	}
	return c.data
}

// fromFloat16 widens float16 to float32.
func fromFloat16(data []byte) []byte {
	out := make([]byte, 0, 2*len(data))
	for e := range slices.Chunk(data, 2) {
		h := binary.LittleEndian.Uint16(e)
		sign, exponent, fraction := uint32(h>>15)<<31, uint32(h>>10&0x1f), uint32(h&0x3ff)
		bits := sign | fraction<<13
		switch exponent {
		case 0: // zero, and what lies below the normal numbers of float16
			bits = sign | math.Float32bits(float32(fraction)*0x1p-24)
		case 0x1f: // infinities and NaN
			bits |= 0xff << 23
		default:
			bits |= (exponent + 127 - 15) << 23
		}
		out = binary.LittleEndian.AppendUint32(out, bits)
	}
	return out
}

// whole appends v, as a float where the column is of such a type.
func (c *column) whole(v int64) {
	switch c.info.DType {
	case model.Float32:
		c.store(uint64(math.Float32bits(float32(v))))
	case model.Float64:
		c.store(math.Float64bits(float64(v)))
	default:
		c.store(uint64(v))
	}
}
