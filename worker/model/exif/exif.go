// Package exif reads from a JPEG which way up it is to be shown. Cameras and
// phones store what the sensor saw, and note beside it how they were held.
package exif

import (
	"bytes"
	"encoding/binary"
)

// Orientation is how a stored image is turned into the one to be shown, by its
// number in the EXIF standard, 1 to 8.
type Orientation uint8

// Upright is the orientation of an image that is stored as it is to be shown.
const Upright Orientation = 1

// Swaps says whether rows become columns, so that width and height change
// places. They do so before FlipsY and FlipsX.
func (o Orientation) Swaps() bool { return o >= 5 && o <= 8 }

// FlipsX says whether left and right change places.
func (o Orientation) FlipsX() bool { return o == 2 || o == 3 || o == 6 || o == 7 }

// FlipsY says whether top and bottom change places.
func (o Orientation) FlipsY() bool { return o == 3 || o == 4 || o == 7 || o == 8 }

const orientationTag = 0x0112

// OrientationOf reads a JPEG's orientation. Whatever is no JPEG, has no EXIF
// data or damaged ones is upright: they are a remark, not the picture.
func OrientationOf(jpeg []byte) Orientation {
	b, ok := bytes.CutPrefix(jpeg, []byte("\xff\xd8"))
	for ok && len(b) >= 4 && b[0] == 0xff {
		marker, size := b[1], int(binary.BigEndian.Uint16(b[2:]))
		if marker == 0xff { // a fill byte
			b = b[1:]
			continue
		}
		if marker == 0xda || marker == 0xd9 || size < 2 || len(b) < 2+size {
			break // the pixels, or the end
		}
		if exif, ok := bytes.CutPrefix(b[4:2+size], []byte("Exif\x00\x00")); ok && marker == 0xe1 {
			return ofTIFF(exif)
		}
		b = b[2+size:]
	}
	return Upright
}

// ofTIFF finds the orientation in the first directory of a TIFF, which is what
// EXIF data are.
func ofTIFF(b []byte) Orientation {
	if len(b) < 8 {
		return Upright
	}
	var order binary.ByteOrder
	switch string(b[:4]) {
	case "II*\x00":
		order = binary.LittleEndian
	case "MM\x00*":
		order = binary.BigEndian
	default:
		return Upright
	}
	at := uint64(order.Uint32(b[4:]))
	if at+2 > uint64(len(b)) {
		return Upright
	}
	entries := b[at+2:]
	const size, short = 12, 3
	for range order.Uint16(b[at:]) {
		if len(entries) < size {
			break
		}
		if order.Uint16(entries) == orientationTag && order.Uint16(entries[2:]) == short {
			if v := order.Uint16(entries[8:]); v >= 1 && v <= 8 {
				return Orientation(v)
			}
			break
		}
		entries = entries[size:]
	}
	return Upright
}
