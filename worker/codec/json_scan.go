package codec

import (
	"fmt"
	"strconv"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// maxDepth bounds how deep JSON values nest. NumPy's arrays have at most 64
// dimensions.
const maxDepth = 64

// fault is what is wrong with a JSON value, on its way out of the values
// around it: each puts its own index or key in front of path, so that the happy
// way keeps no path.
type fault struct {
	code, text, hint string
	path             string // for example "[3].signal[1]"
	fatal            bool   // of a record: those that follow can't be read either
}

// within adds the place in an enclosing value.
func (f *fault) within(step string) *fault {
	f.path = step + f.path
	return f
}

func (f *fault) at(i int64) *fault { return f.within("[" + strconv.FormatInt(i, 10) + "]") }

// err is the finished Error.
func (f *fault) err() error {
	where := strings.TrimPrefix(f.path, ".")
	if where == "" {
		where = "the input"
	}
	return &Error{Code: f.code, Message: where + f.text, Hint: f.hint}
}

// scanner reads JSON values one after the other from a text, and nothing into
// memory. It is the only reader of JSON here: for a request's body, and for
// one record of a file of them.
type scanner struct {
	b   []byte
	i   int    // the next byte
	key []byte // as it stands there, with its quotes: the last one that members read
}

// peek is the next byte that is no white space; 0 at the end.
func (s *scanner) peek() byte {
	for s.i < len(s.b) {
		switch c := s.b[s.i]; c {
		case ' ', '\n', '\r', '\t':
			s.i++
		default:
			return c
		}
	}
	return 0
}

// broken is the fault of a text that is not JSON at the next byte.
func (s *scanner) broken(format string, args ...any) *fault {
	where := fmt.Sprintf(": broken JSON at byte %d: ", s.i)
	if s.i >= len(s.b) {
		where = fmt.Sprintf(": the JSON ends too early, at byte %d: ", s.i)
	}
	return &fault{code: CodeMalformed, text: where + fmt.Sprintf(format, args...)}
}

// unexpected is the fault of finding another byte than one of want.
func (s *scanner) unexpected(want string) *fault {
	if s.peek() == 0 && s.i >= len(s.b) {
		return s.broken("expected %s", want)
	}
	r, _ := utf8.DecodeRune(s.b[s.i:])
	return s.broken("expected %s, not %q", want, r)
}

// take reads c, if it comes next.
func (s *scanner) take(c byte) bool {
	if s.peek() != c {
		return false
	}
	s.i++
	return true
}

// word reads a literal such as true, if it is next.
func (s *scanner) word(w string) bool {
	if len(s.b)-s.i < len(w) || string(s.b[s.i:s.i+len(w)]) != w {
		return false
	}
	s.i += len(w)
	return true
}

// more reads what follows an element: true for a comma, false for end.
func (s *scanner) more(end byte) (bool, *fault) {
	switch {
	case s.take(','):
		return true, nil
	case s.take(end):
		return false, nil
	}
	return false, s.unexpected(fmt.Sprintf("',' or '%c'", end))
}

// elements reads a list; visit reads each element. It gives their number.
func (s *scanner) elements(visit func(i int64) *fault) (n int64, f *fault) {
	s.i++ // the bracket
	if s.take(']') {
		return 0, nil
	}
	for more := true; more; n++ {
		if f := visit(n); f != nil {
			return n, f.at(n)
		}
		if more, f = s.more(']'); f != nil {
			return n, f
		}
	}
	return n, nil
}

// members reads an object; visit is called behind each colon and reads the
// value. The key is valid during the call.
func (s *scanner) members(visit func(key []byte) *fault) *fault {
	s.i++ // the brace
	if s.take('}') {
		return nil
	}
	for {
		if s.peek() != '"' {
			return s.unexpected("a key in quotes")
		}
		from := s.i
		key, f := s.str()
		if f != nil {
			return f
		}
		s.key = s.b[from:s.i]
		if !s.take(':') {
			return s.unexpected("':'")
		}
		if f := visit(key); f != nil {
			return f.within(step(key))
		}
		if more, f := s.more('}'); !more {
			return f
		}
	}
}

// step is how a member appears in a path.
func step(key []byte) string {
	for _, c := range key {
		if c != '_' && (c < '0' || c > '9') && (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') {
			return fmt.Sprintf("[%.40q]", key)
		}
	}
	return fmt.Sprintf(".%.40s", key)
}

// skip reads any value and forgets it, but not its faults.
func (s *scanner) skip(depth int) *fault {
	switch c := s.peek(); {
	case depth > maxDepth:
		return s.broken("values nest deeper than %d levels", maxDepth)
	case c == '[':
		_, f := s.elements(func(int64) *fault { return s.skip(depth + 1) })
		return f
	case c == '{':
		return s.members(func([]byte) *fault { return s.skip(depth + 1) })
	case c == '"':
		_, f := s.str()
		return f
	case s.word("true"), s.word("false"), s.word("null"):
		return nil
	}
	if !s.number(new(number)) {
		return s.unexpected("a value")
	}
	return nil
}

// str reads a string whose opening quote is next. The result shares the text's
// memory unless the string has escapes.
func (s *scanner) str() ([]byte, *fault) {
	s.i++
	start, ascii := s.i, true
	for ; s.i < len(s.b); s.i++ {
		switch c := s.b[s.i]; {
		case c == '"':
			v := s.b[start:s.i:s.i]
			if !ascii && !utf8.Valid(v) {
				s.i = start
				return nil, s.badUTF8()
			}
			s.i++
			return v, nil
		case c == '\\':
			return s.escaped(start)
		case c < ' ':
			return nil, s.broken("a control character in a string: write it as an escape")
		case c >= utf8.RuneSelf:
			ascii = false
		}
	}
	return nil, s.broken("a string has no closing quote")
}

func (s *scanner) badUTF8() *fault {
	f := s.broken("the string is not valid UTF-8")
	f.hint = `send bytes that are no text as {"b64": "<base64>"}`
	return f
}

// escaped reads the rest of a string from its first backslash, into a copy.
func (s *scanner) escaped(start int) ([]byte, *fault) {
	v := append(make([]byte, 0, s.i-start+32), s.b[start:s.i]...)
	for s.i < len(s.b) {
		switch c := s.b[s.i]; {
		case c == '"':
			if !utf8.Valid(v) {
				s.i = start
				return nil, s.badUTF8()
			}
			s.i++
			return v, nil
		case c == '\\':
			r, f := s.escape()
			if f != nil {
				return nil, f
			}
			v = utf8.AppendRune(v, r)
		case c < ' ':
			return nil, s.broken("a control character in a string: write it as an escape")
		default:
			v = append(v, c)
			s.i++
		}
	}
	return nil, s.broken("a string has no closing quote")
}

// escape reads one escape sequence, or two that are a surrogate pair.
func (s *scanner) escape() (rune, *fault) {
	if s.i+1 >= len(s.b) {
		s.i = len(s.b)
		return 0, s.broken("a string has no closing quote")
	}
	switch c := s.b[s.i+1]; c {
	case '"', '\\', '/':
		s.i += 2
		return rune(c), nil
	case 'b', 'f', 'n', 'r', 't':
		s.i += 2
		return rune("\b\f\n\r\t"[strings.IndexByte("bfnrt", c)]), nil
	case 'u':
		r, ok := s.hex()
		if !ok {
			return 0, s.broken("\\u needs four hexadecimal digits")
		}
		if !utf16.IsSurrogate(r) {
			s.i += 6
			return r, nil
		}
		s.i += 6
		low, _ := s.hex()
		if r = utf16.DecodeRune(r, low); r == utf8.RuneError {
			s.i -= 6
			return 0, s.broken("an unpaired surrogate %s", s.b[s.i:s.i+6])
		}
		s.i += 6
		return r, nil
	}
	return 0, s.broken("no such escape: \\%c", s.b[s.i+1])
}

// hex is the value of a \uXXXX at the next byte, without reading it.
func (s *scanner) hex() (rune, bool) {
	if len(s.b)-s.i < 6 || s.b[s.i] != '\\' || s.b[s.i+1] != 'u' {
		return 0, false
	}
	var r rune
	for _, c := range s.b[s.i+2 : s.i+6] {
		switch {
		case c >= '0' && c <= '9':
			r = r<<4 | rune(c-'0')
		case c|0x20 >= 'a' && c|0x20 <= 'f':
			r = r<<4 | rune(c|0x20-'a'+10)
		default:
			return 0, false
		}
	}
	return r, true
}
