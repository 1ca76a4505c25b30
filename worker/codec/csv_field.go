package codec

import (
	"bytes"
	"fmt"
	"math"
	"strings"
	"unicode/utf8"

	"github.com/penstock/penstock/worker/model"
)

// trimmed is a field without the spaces around it, which matter to strings
// only.
func trimmed(field []byte) []byte { return bytes.Trim(field, " \t") }

// field reads one element from a field of a CSV file.
func (c *column) field(field []byte) *fault {
	switch c.info.DType {
	case model.String:
		if !utf8.Valid(field) {
			return &fault{code: CodeMalformed, text: " is not valid UTF-8", hint: "save the file as UTF-8; bytes that are no text can be sent as JSON or TFRecord"}
		}
		c.bytes = append(c.bytes, field)
		return nil
	case model.Bool:
		v, ok := boolField(field)
		if !ok {
			return c.wrongField(field, "true, false, 1 or 0")
		}
		c.data = append(c.data, v)
		return nil
	}
	s := scanner{b: trimmed(field)}
	var n number
	if !numberField(&s, &n) {
		return c.wrongField(field, "")
	}
	if c.number(&n, s.b) {
		return nil
	}
	return c.refuse(&n, s.b)
}

// numberField reads a number that is the whole text, as in JSON; NaN and
// infinities may also be written as Python does.
func numberField(s *scanner, n *number) bool {
	if s.number(n) && s.i == len(s.b) {
		return true
	}
	if len(s.b) == 0 || len(s.b) > len("-Infinity") {
		return false
	}
	*n = number{decimal: true}
	switch strings.ToLower(string(s.b)) {
	case "nan", "+nan", "-nan":
		n.special = math.NaN()
	case "inf", "+inf", "infinity", "+infinity":
		n.special = math.Inf(1)
	case "-inf", "-infinity":
		n.special = math.Inf(-1)
	default:
		return false
	}
	return true
}

// boolField reads true or false in any case, 1 or 0.
func boolField(field []byte) (v byte, ok bool) {
	switch b := trimmed(field); {
	case len(b) == 1 && (b[0] == '0' || b[0] == '1'):
		return b[0] - '0', true
	case bytes.EqualFold(b, []byte("true")):
		return 1, true
	case bytes.EqualFold(b, []byte("false")):
		return 0, true
	}
	return 0, false
}

// looksLikeValue says whether a field is a number or a boolean of any type.
func looksLikeValue(field []byte) bool {
	if _, ok := boolField(field); ok {
		return true
	}
	s := scanner{b: trimmed(field)}
	return numberField(&s, new(number))
}

// wrongField is the fault of a field that is no value of the input's type.
func (c *column) wrongField(field []byte, needs string) *fault {
	f := &fault{code: CodeInvalidDType, text: " is empty"}
	if len(trimmed(field)) > 0 {
		f.text = fmt.Sprintf(" is %q", short(field))
	}
	f.text += fmt.Sprintf(", but input %q takes %v", c.info.Name, c.info.DType)
	switch {
	case needs != "":
		f.text += ": " + needs
	case bytes.ContainsAny(field, ";\t"):
		f.hint = "separate the columns with commas"
	case c.isFloat() && len(trimmed(field)) == 0:
		f.hint = missingNumber
	default:
		f.hint = "numbers are written as in JSON: 1, -2.5 or 3e8"
	}
	return f
}
