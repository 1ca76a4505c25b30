package codec

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"math"
	"slices"
	"strconv"

	"github.com/penstock/penstock/worker/model"
)

// column builds the tensor of one input from nested lists, straight into the
// tensor's bytes. In column format it is given one value, in row format one a
// row. The first value settles the shape; whatever follows must be equal.
type column struct {
	info   model.TensorInfo
	size   int     // of an element, in bytes; 0 for strings
	shape  []int64 // of one value; open for a list that hasn't ended yet
	ranked bool    // shape has all its dimensions
	rows   int64   // how many values were added
	flat   int     // elements of a value; set by flatRow only
	data   []byte
	bytes  [][]byte
	row    int // elements that a row may have
	most   int // elements that it may hold by now, and some more
}

// open is the size of a list that hasn't ended yet.
const open = -1

func newColumn(info model.TensorInfo) *column {
	return &column{info: info, size: info.DType.Size(), row: mostOfRow(info), most: math.MaxInt}
}

// reserve makes room for the elements that rest, of so many lines, may hold: no
// more than its commas or its quotes allow, so that memory stays in proportion
// to the text.
func (c *column) reserve(rest []byte, lines int) {
	if c.info.DType == model.String {
		c.bytes = make([][]byte, 0, bytes.Count(rest, []byte{'"'})/2)
	} else {
		c.data = make([]byte, 0, (bytes.Count(rest, []byte{','})+lines+1)*c.size)
	}
}

// addRow reads one value that is a row.
func (c *column) addRow(s *scanner) *fault {
	c.most = c.elements() + c.row + surplus
	return c.add(s)
}

// add reads one value.
func (c *column) add(s *scanner) *fault {
	f := c.value(s, 0)
	c.rows++
	return f
}

// tensor is what was built; with stacked the values are its rows, else there
// was one and it is that.
func (c *column) tensor(stacked bool) model.Tensor {
	t := model.Tensor{DType: c.info.DType, Shape: c.shape, Data: c.data, Bytes: c.bytes}
	if stacked {
		t.Shape = slices.Concat([]int64{c.rows}, c.shape)
	}
	return t
}

// value reads what lies level lists deep.
func (c *column) value(s *scanner, level int) *fault {
	if s.peek() == '[' {
		return c.list(s, level)
	}
	if !c.ranked {
		c.ranked = true // on the way down to the first element shape has level dimensions
	}
	if level != len(c.shape) {
		return c.wrong(s, CodeInvalidShape, "but a list is needed here: all lists must be nested equally deep")
	}
	return c.scalar(s)
}

func (c *column) list(s *scanner, level int) *fault {
	switch {
	case level >= maxDepth:
		return s.broken("lists nest deeper than %d levels", maxDepth)
	case !c.ranked && level == len(c.shape):
		c.shape = append(c.shape, open)
	case level >= len(c.shape):
		return c.wrong(s, CodeInvalidShape, "but a single value is needed here: all lists must be nested equally deep")
	}
	n, f := s.elements(func(i int64) *fault {
		if i%surplus == surplus-1 && c.elements() > c.most {
			return c.overfull()
		}
		return c.value(s, level+1)
	})
	switch {
	case f != nil:
		return f
	case c.elements() > c.most:
		return c.overfull()
	case c.shape[level] == open:
		c.shape[level], c.ranked = n, true // an empty list ends the way down
	case c.shape[level] != n:
		return &fault{
			code: CodeInvalidShape,
			text: fmt.Sprintf(" has %d elements, but the lists before it have %d", n, c.shape[level]),
			hint: "lists of one level must be equally long: pad or cut them",
		}
	}
	return nil
}

// scalar reads one element.
func (c *column) scalar(s *scanner) *fault {
	switch c.info.DType {
	case model.String:
		return c.text(s)
	case model.Bool:
		switch {
		case s.word("true"):
			c.data = append(c.data, 1)
		case s.word("false"):
			c.data = append(c.data, 0)
		default:
			return c.wrong(s, CodeInvalidDType, "but input %q takes bool: true or false", c.info.Name)
		}
		return nil
	}
	start := s.i
	var n number
	if !s.number(&n) {
		s.i = start
		f := c.wrong(s, CodeInvalidDType, "but input %q takes %s", c.info.Name, c.info.DType)
		if f.code == CodeInvalidDType && s.b[start] == 'n' && c.isFloat() { // null, as pandas writes NaN
			f.hint = missingNumber
		}
		return f
	}
	text := s.b[start:s.i]
	if c.number(&n, text) {
		return nil
	}
	return c.refuse(&n, text)
}

// missingNumber is what to do where a float is left out.
const missingNumber = "write NaN for a missing number, if the model can cope with it"

func (c *column) isFloat() bool {
	return c.info.DType == model.Float32 || c.info.DType == model.Float64
}

// refuse is the fault of a number that the input's type can't hold.
func (c *column) refuse(n *number, text []byte) *fault {
	f := &fault{code: CodeInvalidDType}
	switch text := short(text); {
	case c.isFloat():
		f.text = fmt.Sprintf(": cannot convert %s to %s without loss of precision", text, c.info.DType)
		if !n.decimal && !n.long {
			f.hint = fmt.Sprintf("write %s.0 to have it rounded", text)
		}
	case n.decimal:
		f.text = fmt.Sprintf(" is %s, but input %q takes %s: whole numbers without point or exponent", text, c.info.Name, c.info.DType)
	default:
		f.text = fmt.Sprintf(" is %s, which input %q of type %s can't hold", text, c.info.Name, c.info.DType)
	}
	return f
}

// number appends n, unless the input's type can't hold it.
func (c *column) number(n *number, text []byte) bool {
	switch c.info.DType {
	case model.Float32:
		v, ok := n.float32(text)
		c.data = binary.LittleEndian.AppendUint32(c.data, math.Float32bits(v))
		return ok
	case model.Float64:
		v, ok := n.float64(text)
		c.store(math.Float64bits(v))
		return ok
	case model.Int8, model.Int16, model.Int32, model.Int64:
		v, ok := n.int(8 * c.size)
		c.store(uint64(v))
		return ok
	case model.Uint8, model.Uint16, model.Uint32, model.Uint64:
		v, ok := n.uint(8*c.size, text)
		c.store(v)
		return ok
	}
	return false
}

// store appends the low bytes of bits: one element.
func (c *column) store(bits uint64) {
	switch c.size {
	case 1:
		c.data = append(c.data, byte(bits))
	case 2:
		c.data = binary.LittleEndian.AppendUint16(c.data, uint16(bits))
	case 4:
		c.data = binary.LittleEndian.AppendUint32(c.data, uint32(bits))
	case 8:
		c.data = binary.LittleEndian.AppendUint64(c.data, bits)
	}
}

// text reads one element of a string input.
func (c *column) text(s *scanner) *fault {
	if s.peek() == '"' {
		v, f := s.str()
		c.bytes = append(c.bytes, v)
		return f
	}
	encoded, ok := s.base64Object()
	if !ok {
		return c.wrong(s, CodeInvalidDType, `but input %q takes strings: "..." or {"b64": "..."}`, c.info.Name)
	}
	v, err := base64.StdEncoding.AppendDecode(nil, encoded)
	if err == nil {
		c.bytes = append(c.bytes, v)
		return nil
	}
	if v, rawErr := base64.RawStdEncoding.AppendDecode(nil, encoded); rawErr == nil { // without padding
		c.bytes = append(c.bytes, v)
		return nil
	}
	return &fault{code: CodeMalformed, text: fmt.Sprintf(".b64 is not base64: %v", err), hint: "use the standard alphabet, with + and /"}
}

// base64Object reads an object whose one member is a string called b64. If
// there is another value next, or none, it reads nothing.
func (s *scanner) base64Object() (encoded []byte, ok bool) {
	start := s.i
	if s.take('{') && s.peek() == '"' {
		key, f := s.str()
		if f == nil && string(key) == "b64" && s.take(':') && s.peek() == '"' {
			if encoded, f = s.str(); f == nil && s.take('}') {
				return encoded, true
			}
		}
	}
	s.i = start
	return nil, false
}

// wrong is the fault of the value that comes next; but says what would have
// been right. Broken JSON is the graver fault, and reported instead.
func (c *column) wrong(s *scanner, code, but string, args ...any) *fault {
	kind, start := s.kind(), s.i
	if f := s.skip(0); f != nil {
		return f
	}
	switch kind {
	case "a string", "a boolean", "a number":
		kind += " (" + short(s.b[start:s.i]) + ")"
	}
	return &fault{code: code, text: " is " + kind + ", " + fmt.Sprintf(but, args...)}
}

// kind names the value that comes next.
func (s *scanner) kind() string {
	switch s.peek() {
	case '[':
		return "a list"
	case '{':
		return "an object"
	case '"':
		return "a string"
	case 't', 'f':
		return "a boolean"
	case 'n':
		return "null"
	}
	return "a number"
}

// unlike is the fault of a value of another kind than is wanted, or of what is
// no value at all.
func (s *scanner) unlike(wanted, hint string) *fault {
	kind := s.kind()
	if f := s.skip(2); f != nil {
		return f
	}
	return &fault{code: CodeInvalidShape, text: " is " + kind + ", but " + wanted, hint: hint}
}

// short quotes as much of a value as a message has room for.
func short(text []byte) string {
	const room = 40
	if len(text) <= room {
		return string(text)
	}
	return string(bytes.ToValidUTF8(text[:room], nil)) + "... (" + strconv.Itoa(len(text)) + " bytes)"
}
