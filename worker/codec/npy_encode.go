package codec

import (
	"encoding/binary"
	"fmt"
	"strings"

	"github.com/penstock/penstock/worker/model"
)

// refusesNPY says why an .npy file can't hold r.
func refusesNPY(r *result) string {
	if n := len(r.outputs); n > 1 {
		return fmt.Sprintf("the signature has %d outputs", n)
	}
	if r.outputs[0].DType == model.String {
		return "the output is of strings"
	}
	return ""
}

func encodeNPY(r *result) ([]byte, error) { return npyOf(&r.outputs[0]), nil }

// npyOf writes version 1.0 of NumPy's format.
func npyOf(t *model.Tensor) []byte {
	descr := ""
	for name, dtype := range npyTypes {
		if dtype == t.DType {
			descr = "<" + name
		}
	}
	if t.DType.Size() == 1 {
		descr = "|" + descr[1:] // as NumPy writes types that have no byte order
	}
	var shape strings.Builder
	for _, d := range t.Shape {
		fmt.Fprintf(&shape, "%d, ", d)
	}
	header := fmt.Sprintf("{'descr': '%s', 'fortran_order': False, 'shape': (%s), }", descr, strings.TrimSuffix(shape.String(), " "))

	// Data begins at a multiple of 64, so that it can be mapped into memory.
	const before = len(npyMagic) + 2 + 2
	size := (before+len(header)+1+63)/64*64 - before
	b := make([]byte, 0, before+size+len(t.Data))
	b = append(b, npyMagic+"\x01\x00"...)
	b = binary.LittleEndian.AppendUint16(b, uint16(size))
	b = fmt.Appendf(b, "%-*s\n", size-1, header)
	return append(b, t.Data...)
}
