package exif

import (
	"encoding/binary"
	"testing"
)

// jpeg is a JPEG with EXIF data in its second segment, up to its pixels.
func jpeg(tiff []byte) []byte {
	b := []byte("\xff\xd8\xff\xe0\x00\x04ab\xff\xff\xe1")
	b = binary.BigEndian.AppendUint16(b, uint16(8+len(tiff)))
	b = append(append(b, "Exif\x00\x00"...), tiff...)
	return append(b, 0xff, 0xda, 0, 2)
}

// tiff is a directory of a description and an orientation.
func tiff(order binary.AppendByteOrder, magic string, orientation uint16) []byte {
	b := order.AppendUint32([]byte(magic), 8)
	b = order.AppendUint16(b, 2)
	b = append(b, make([]byte, 12)...)
	b = order.AppendUint16(b, orientationTag)
	b = order.AppendUint16(b, 3)
	b = order.AppendUint32(b, 1)
	b = order.AppendUint16(b, orientation)
	return append(b, 0, 0, 0, 0, 0, 0)
}

func TestOrientationIsReadInBothByteOrders(t *testing.T) {
	t.Parallel()
	for want := Upright; want <= 8; want++ {
		for magic, order := range map[string]binary.AppendByteOrder{"II*\x00": binary.LittleEndian, "MM\x00*": binary.BigEndian} {
			if got := OrientationOf(jpeg(tiff(order, magic, uint16(want)))); got != want {
				t.Errorf("%q: %d, want %d", magic, got, want)
			}
		}
	}
}

func TestDamagedEXIFDataAreUpright(t *testing.T) {
	t.Parallel()
	good := tiff(binary.BigEndian, "MM\x00*", 6)
	for n := range len(good) - 8 {
		if got := OrientationOf(jpeg(good[:n])); got != Upright {
			t.Errorf("the first %d bytes: %d", n, got)
		}
	}
	whole := jpeg(good)
	for n := range len(whole) - 4 {
		if got := OrientationOf(whole[:n]); got != Upright {
			t.Errorf("the first %d bytes of the JPEG: %d", n, got)
		}
	}
	for name, b := range map[string][]byte{
		"0":             jpeg(tiff(binary.BigEndian, "MM\x00*", 0)),
		"9":             jpeg(tiff(binary.BigEndian, "MM\x00*", 9)),
		"another order": jpeg(tiff(binary.BigEndian, "XX\x00*", 6)),
		"far directory": jpeg([]byte("MM\x00*\xff\xff\xff\xff")),
		"a PNG":         []byte("\x89PNG\r\n\x1a\n"),
		"nothing":       nil,
	} {
		if got := OrientationOf(b); got != Upright {
			t.Errorf("%s: %d", name, got)
		}
	}
}

func FuzzOrientationOf(f *testing.F) {
	f.Add(jpeg(tiff(binary.LittleEndian, "II*\x00", 8)))
	f.Fuzz(func(t *testing.T, b []byte) {
		if o := OrientationOf(b); o < 1 || o > 8 {
			t.Errorf("orientation %d", o)
		}
	})
}
