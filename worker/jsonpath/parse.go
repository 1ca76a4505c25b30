package jsonpath

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// MaxBytes is the longest path. SageMaker takes 63 characters.
const MaxBytes = 1024

// Allowed says what a path may be made of.
const Allowed = "$, .name, ['name'], ['a','b'], [0], [-1], [0,4], [1:4], [:-1] and *"

// SyntaxError says why a text is no path.
type SyntaxError struct {
	Path string
	At   int    // the byte where it goes wrong, from 0
	Why  string // for example "the bracket is not closed"
}

func (e *SyntaxError) Error() string {
	where := fmt.Sprintf("at its end, byte %d", e.At)
	if e.At < len(e.Path) {
		_, size := utf8.DecodeRuneInString(e.Path[e.At:])
		where = fmt.Sprintf("at byte %d, %q", e.At, e.Path[e.At:e.At+size])
	}
	return fmt.Sprintf("the path %q is wrong %s: %s; a path is made of %s", e.Path, where, e.Why, Allowed)
}

// Parse reads a path. An empty text is that of $. The error is a *SyntaxError.
func Parse(text string) (Path, error) {
	if text == "" {
		return Path{}, nil
	}
	r := reader{text: text}
	if err := r.path(); err != nil {
		return Path{}, err
	}
	return Path{text: text, steps: r.steps}, nil
}

// reader reads one path.
type reader struct {
	text  string
	i     int // the next byte
	steps []Step
}

func (r *reader) wrong(at int, format string, args ...any) error {
	return &SyntaxError{Path: r.text, At: at, Why: fmt.Sprintf(format, args...)}
}

// peek is the next byte, 0 at the end.
func (r *reader) peek() byte {
	if r.i == len(r.text) {
		return 0
	}
	return r.text[r.i]
}

// take reads c, if it comes next.
func (r *reader) take(c byte) bool {
	if r.peek() != c {
		return false
	}
	r.i++
	return true
}

func (r *reader) path() error {
	for i, c := range r.text {
		if c == utf8.RuneError || c < ' ' || c == 0x7f {
			return r.wrong(i, "it is no text of printable UTF-8")
		}
	}
	if len(r.text) > MaxBytes {
		return r.wrong(MaxBytes, "it is longer than %d bytes", MaxBytes)
	}
	if !r.take('$') {
		return r.wrong(0, "it must begin with $")
	}
	for r.i < len(r.text) {
		at := r.i
		step, err := r.step()
		if err != nil {
			return err
		}
		if n := len(r.steps); n > 0 && len(r.steps[n-1].Names) > 1 {
			return r.wrong(at, "nothing can follow several names")
		}
		r.steps = append(r.steps, step)
	}
	return nil
}

// step reads a step: behind a dot, in brackets, or both.
func (r *reader) step() (Step, error) {
	dot := r.take('.')
	switch c := r.peek(); {
	case c == '[':
		r.i++
		return r.brackets()
	case !dot:
		return Step{}, r.wrong(r.i, "expected a dot or a bracket")
	case c == '.':
		return Step{}, r.wrong(r.i, "descent into all levels, .., is not supported")
	case c == '*':
		r.i++
		return Step{Every: true}, nil
	}
	name := r.text[r.i:]
	if end := strings.IndexAny(name, ".[]*'\"$@?(),: \\"); end >= 0 {
		name = name[:end]
	}
	if name == "" {
		return Step{}, r.wrong(r.i, "expected a name; one with other signs than letters, digits, - and _ stands in brackets and quotes")
	}
	r.i += len(name)
	return Step{Names: []string{name}}, nil
}

// brackets reads a step from behind its opening bracket.
func (r *reader) brackets() (Step, error) {
	var s Step
	for {
		r.spaces()
		at := r.i
		switch c := r.peek(); {
		case c == '*' && s.Names == nil && s.Parts == nil:
			r.i++
			s.Every = true
		case (c == '\'' || c == '"') && s.Parts == nil:
			name, err := r.quoted(c)
			if err != nil {
				return s, err
			}
			if slices.Contains(s.Names, name) {
				return s, r.wrong(at, "the name is there twice")
			}
			s.Names = append(s.Names, name)
		case (c == '-' || c == ':' || isDigit(c)) && s.Names == nil:
			part, err := r.part()
			if err != nil {
				return s, err
			}
			if slices.Contains(s.Parts, part) {
				return s, r.wrong(at, "the index is there twice")
			}
			s.Parts = append(s.Parts, part)
		case c == '?' || c == '(' || c == '@':
			return s, r.wrong(at, "expressions are not supported")
		case s.Names != nil:
			return s, r.wrong(at, "expected a name in quotes")
		case s.Parts != nil:
			return s, r.wrong(at, "expected an index or a slice")
		default:
			return s, r.wrong(at, "expected a name in quotes, an index, a slice or *")
		}
		r.spaces()
		switch {
		case r.take(']'):
			return s, nil
		case !s.Every && r.take(','):
			continue
		case r.i == len(r.text):
			return s, r.wrong(r.i, "the bracket is not closed")
		case r.peek() == ':':
			return s, r.wrong(r.i, "a slice with a step is not supported")
		case s.Every:
			return s, r.wrong(r.i, "expected a closing bracket")
		}
		return s, r.wrong(r.i, "expected a comma or a closing bracket")
	}
}

func (r *reader) spaces() {
	for r.take(' ') {
	}
}

// quoted reads a name in quotes, in which a backslash stands before a quote or
// a backslash.
func (r *reader) quoted(quote byte) (string, error) {
	began := r.i
	var name []byte
	for r.i++; r.i < len(r.text); r.i++ {
		c := r.text[r.i]
		switch c {
		case quote:
			r.i++
			return string(name), nil
		case '\\':
			if r.i++; !strings.ContainsRune(`\'"`, rune(r.peek())) {
				return "", r.wrong(r.i, "a backslash must stand before a quote or a backslash")
			}
			c = r.peek()
		}
		name = append(name, c)
	}
	return "", r.wrong(began, "the quote is not closed")
}

// part reads an index or a slice.
func (r *reader) part() (p Part, err error) {
	if r.peek() != ':' {
		if p.From, err = r.number(); err != nil {
			return p, err
		}
		r.spaces()
	}
	if p.Slice = r.take(':'); !p.Slice {
		return p, nil
	}
	r.spaces()
	if c := r.peek(); c != '-' && !isDigit(c) {
		p.Open = true
		return p, nil
	}
	p.To, err = r.number()
	return p, err
}

// mostDigits bounds indexes. No record has as many elements.
const mostDigits = 9

func (r *reader) number() (int, error) {
	began := r.i
	r.take('-')
	digits := r.i
	for isDigit(r.peek()) {
		r.i++
	}
	switch n := r.i - digits; {
	case n == 0:
		return 0, r.wrong(r.i, "expected a number")
	case n > mostDigits:
		return 0, r.wrong(began, "the number is too large")
	}
	return strconv.Atoi(r.text[began:r.i])
}

func isDigit(c byte) bool { return c >= '0' && c <= '9' }
