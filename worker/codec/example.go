package codec

import (
	"encoding/binary"
	"fmt"
	"math"
	"slices"

	"github.com/penstock/penstock/worker/model"
)

// examples builds the tensors of a signature from serialized tf.Examples:
//
//	message Example   { Features features = 1; }
//	message Features  { map<string, Feature> feature = 1; }
//	message Feature   { oneof kind { BytesList bytes_list = 1; FloatList float_list = 2; Int64List int64_list = 3; } }
//	message BytesList { repeated bytes value = 1; }
//	message FloatList { repeated float value = 1 [packed = true]; }
//	message Int64List { repeated int64 value = 1 [packed = true]; }
type examples struct {
	rows *rows // what the record is added to
	// whole says that each record as it is is an element of the only input: the
	// model takes strings, one a row, and the first record has no feature of
	// the input's name.
	whole, maybeWhole bool
}

func (e *examples) reserve(*rows, []byte) {}

// add reads one record.
func (e *examples) add(r *rows, record []byte) (isRow bool, f *fault) {
	e.rows = r
	if e.maybeWhole {
		e.whole, e.maybeWhole = !hasFeature(record, r.columns[0].info.Name), false
	}
	r.n++
	if e.whole {
		c := r.columns[0]
		c.bytes = append(c.bytes, record)
		return true, c.flatRow(1)
	}
	if f := eachFeature(record, e.feature); f != nil {
		return true, f
	}
	for _, c := range r.columns {
		if c.rows < r.n {
			return true, &fault{
				code: CodeInvalidShape,
				text: fmt.Sprintf(" has no feature %q; the model takes: %s", c.info.Name, r.names()),
				hint: "name the features after the inputs",
			}
		}
	}
	return true, nil
}

func (e *examples) lost(f *fault) *fault { return f }

// hasFeature says whether record is a tf.Example with a feature of that name.
func hasFeature(record []byte, name string) bool {
	found := false
	f := eachFeature(record, func(key, _ []byte) *fault {
		found = found || string(key) == name
		return nil
	})
	return found && f == nil
}

// eachFeature calls visit for every feature of a serialized tf.Example.
func eachFeature(record []byte, visit func(key, feature []byte) *fault) *fault {
	return eachMessage(record, 1, func(features []byte) *fault {
		return eachMessage(features, 1, func(entry []byte) *fault {
			var key, feature []byte
			for len(entry) > 0 {
				var p protoField
				if !p.next(&entry) {
					return noExample()
				}
				switch {
				case p.number == 1 && p.wire == wireBytes:
					key = p.bytes
				case p.number == 2 && p.wire == wireBytes:
					feature = p.bytes
				}
			}
			return visit(key, feature)
		})
	})
}

// eachMessage calls visit for every message within b that has that number.
func eachMessage(b []byte, number uint64, visit func([]byte) *fault) *fault {
	for len(b) > 0 {
		var p protoField
		if !p.next(&b) {
			return noExample()
		}
		if p.number == number && p.wire == wireBytes {
			if f := visit(p.bytes); f != nil {
				return f
			}
		}
	}
	return nil
}

func noExample() *fault {
	return &fault{
		code: CodeMalformed,
		text: " is no tf.Example",
		hint: "write tf.train.Example messages with SerializeToString",
	}
}

// feature reads the values of one input. Features that are no inputs, such as
// labels, are passed over.
func (e *examples) feature(key, feature []byte) *fault {
	c := e.rows.named[string(key)]
	if c == nil {
		return nil
	}
	if c.rows == e.rows.n {
		return duplicate().within(step(key))
	}
	n, kind := 0, uint64(0)
	for len(feature) > 0 {
		var p protoField
		if !p.next(&feature) {
			return noExample()
		}
		if p.number < 1 || p.number > 3 || p.wire != wireBytes {
			continue
		}
		if kind != 0 && kind != p.number {
			return (&fault{code: CodeMalformed, text: " holds lists of several kinds"}).within(step(key))
		}
		kind = p.number
		added, f := c.featureList(kind, p.bytes, n)
		if f != nil {
			return f.within(step(key))
		}
		n += added
	}
	if f := c.flatRow(n); f != nil {
		return f.within(step(key))
	}
	return nil
}

// featureList appends the values of one list, which is the feature's values
// from index at on, and gives their number.
func (c *column) featureList(kind uint64, list []byte, at int) (n int, f *fault) {
	switch {
	case kind == 1 && c.info.DType == model.String:
		return c.bytesList(list)
	case kind == 1 && c.info.DType == model.Uint8 && at == 0:
		before := len(c.data)
		f = eachMessage(list, 1, func(value []byte) *fault {
			if len(c.data) > before {
				return &fault{code: CodeInvalidShape, text: " holds several byte strings: bytes for a uint8 input must be a single one"}
			}
			c.data = append(c.data, value...)
			return nil
		})
		return len(c.data) - before, f
	case kind == 2 && c.isFloat():
		return c.floatList(list)
	case kind == 3 && c.info.DType != model.String && !c.isFloat():
		return c.intList(list, at)
	}
	f = &fault{
		code: CodeInvalidDType,
		text: fmt.Sprintf(" is %s, but input %q takes %v", [...]string{1: "a bytes_list", 2: "a float_list", 3: "an int64_list"}[kind], c.info.Name, c.info.DType),
		hint: "write it as an int64_list",
	}
	switch c.info.DType {
	case model.String:
		f.hint = "write it as a bytes_list"
	case model.Float32, model.Float64:
		f.hint = "write it as a float_list"
	}
	return 0, f
}

func (c *column) bytesList(list []byte) (n int, f *fault) {
	f = eachMessage(list, 1, func([]byte) *fault { n++; return nil })
	if f == nil && n > c.row+surplus {
		f = c.overfull()
	}
	if f != nil {
		return 0, f
	}
	c.bytes = slices.Grow(c.bytes, n)
	return n, eachMessage(list, 1, func(value []byte) *fault {
		c.bytes = append(c.bytes, value)
		return nil
	})
}

// floatList reads floats, packed or not.
func (c *column) floatList(list []byte) (n int, f *fault) {
	before := len(c.data)
	for len(list) > 0 {
		var p protoField
		if !p.next(&list) {
			return 0, noExample()
		}
		switch {
		case p.number == 1 && p.wire == wireFixed32:
			c.float(uint32(p.value))
		case p.number != 1 || p.wire != wireBytes:
			continue
		case len(p.bytes)%4 != 0:
			return 0, noExample()
		case c.info.DType == model.Float32:
			c.data = append(c.data, p.bytes...)
		default:
			for v := p.bytes; len(v) > 0; v = v[4:] {
				c.float(binary.LittleEndian.Uint32(v))
			}
		}
	}
	return (len(c.data) - before) / c.size, nil
}

// float appends the float32 of these bits to a column of floats.
func (c *column) float(bits uint32) {
	if c.info.DType == model.Float32 {
		c.store(uint64(bits))
		return
	}
	c.store(math.Float64bits(float64(math.Float32frombits(bits))))
}

// intList reads integers, packed or not.
func (c *column) intList(list []byte, at int) (n int, f *fault) {
	for len(list) > 0 {
		var p protoField
		if !p.next(&list) {
			return 0, noExample()
		}
		switch {
		case p.number == 1 && p.wire == wireVarint:
			if f := c.int64(int64(p.value)); f != nil {
				return 0, f.at(int64(at + n))
			}
			n++
		case p.number == 1 && p.wire == wireBytes:
			count := varints(p.bytes)
			if count > c.row+surplus {
				return 0, c.overfull()
			}
			c.data = slices.Grow(c.data, count*c.size)
			for values := p.bytes; len(values) > 0; n++ {
				v, size := binary.Uvarint(values)
				if size <= 0 {
					return 0, noExample()
				}
				if f := c.int64(int64(v)); f != nil {
					return 0, f.at(int64(at + n))
				}
				values = values[size:]
			}
		}
	}
	return n, nil
}

// varints counts the integers of a packed list: all bytes of one but the last
// have their highest bit set.
func varints(packed []byte) (n int) {
	for _, b := range packed {
		if b < 0x80 {
			n++
		}
	}
	return n
}

// int64 appends v to a column of integers or booleans.
func (c *column) int64(v int64) *fault {
	unused, fits := 64-8*c.size, false
	switch c.info.DType {
	case model.Bool:
		fits = v == 0 || v == 1
	case model.Int8, model.Int16, model.Int32, model.Int64:
		fits = v<<unused>>unused == v
	default:
		fits = v >= 0 && (c.size == 8 || v>>(8*c.size) == 0)
	}
	if !fits {
		return &fault{code: CodeInvalidDType, text: fmt.Sprintf(" is %d, which input %q of type %s can't hold", v, c.info.Name, c.info.DType)}
	}
	c.store(uint64(v))
	return nil
}
