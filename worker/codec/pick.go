package codec

import (
	"fmt"
	"slices"

	"github.com/penstock/penstock/worker/jsonpath"
)

// picker takes out of records what a path selects. What it gives is as it
// stands in the record, to the byte; several values are put together in memory
// that the next call takes again. It serves one record at a time.
type picker struct {
	path jsonpath.Path
	what string // it is called: "input filter"
	some bool   // of several members or columns those that are there will do
	buf  []byte

	count  int              // of the last array's elements, or the last line's columns
	fields [][]byte         // selected
	of     int              // of so many columns...
	ranges []jsonpath.Range // ...these are selected
}

// newPicker is nil for the path of all.
func newPicker(path jsonpath.Path, what string) *picker {
	if path.All() {
		return nil
	}
	return &picker{path: path, what: what}
}

// span is where in a text a value stands, without white space around it.
type span struct{ from, to int }

// member is one of an object: its key as it stands there, and its value.
type member struct {
	key   []byte
	value span
}

// json gives what is selected of a JSON text: of the text given, the value that
// stands in the span.
func (p *picker) json(text []byte) ([]byte, span, *fault) {
	at, steps := span{0, len(text)}, p.path.Steps()
	for len(steps) > 0 && steps[0].Single() {
		var f *fault
		if at, f = p.single(text, at, steps[0]); f != nil {
			return nil, span{}, f
		}
		steps = steps[1:]
	}
	if len(steps) == 0 {
		return text, at, nil
	}
	p.buf = p.buf[:0]
	if len(steps[0].Names) > 0 {
		if f := p.object(text, at, steps[0].Names); f != nil {
			return nil, span{}, f
		}
		return p.buf, span{0, len(p.buf)}, nil
	}
	p.buf = append(p.buf, '[')
	if f := p.gather(text, at, steps); f != nil {
		return nil, span{}, f
	}
	p.buf = append(p.buf, ']')
	return p.buf, span{0, len(p.buf)}, nil
}

// single is the value that a step leads to that selects one.
func (p *picker) single(text []byte, at span, step jsonpath.Step) (span, *fault) {
	if len(step.Names) > 0 {
		found, f := p.members(text, at, step.Names)
		if f != nil {
			return span{}, f
		}
		return found[0].value, nil
	}
	spans, f := p.elements(text, at, step)
	if f != nil {
		return span{}, f
	}
	return spans[0], nil
}

// object appends an object of the members of that name.
func (p *picker) object(text []byte, at span, names []string) *fault {
	found, f := p.members(text, at, names)
	if f != nil {
		return f
	}
	for i, m := range found {
		p.buf = append(p.buf, "{,"[min(i, 1)])
		p.buf = append(append(p.buf, m.key...), ':')
		p.buf = append(p.buf, text[m.value.from:m.value.to]...)
	}
	p.buf = append(p.buf, '}')
	return nil
}

// gather appends what steps select of a value to the list that is being
// written.
func (p *picker) gather(text []byte, at span, steps []jsonpath.Step) *fault {
	if len(steps) == 0 {
		p.next()
		p.buf = append(p.buf, text[at.from:at.to]...)
		return nil
	}
	step, rest := steps[0], steps[1:]
	switch s := (&scanner{b: text[:at.to], i: at.from}); {
	case len(step.Names) > 1:
		p.next()
		return p.object(text, at, step.Names)
	case len(step.Names) == 1:
		value, f := p.single(text, at, step)
		if f != nil {
			return f
		}
		return p.gather(text, value, rest)
	case step.Every && s.peek() == '{':
		return p.values(text, s, rest)
	}
	spans, f := p.elements(text, at, step)
	for i := 0; i < len(spans) && f == nil; i++ {
		if len(rest) == 0 {
			f = p.gather(text, spans[i], nil) // all of them, with the commas between
			continue
		}
		s := scanner{b: text[:spans[i].to], i: spans[i].from}
		for more := true; more && f == nil; more = s.take(',') {
			var element span
			if element, f = s.value(); f == nil {
				f = p.gather(text, element, rest)
			}
		}
	}
	return f
}

// values gathers from all values of the object that is next.
func (p *picker) values(text []byte, s *scanner, rest []jsonpath.Step) *fault {
	any := false
	f := s.members(func([]byte) *fault {
		any = true
		value, f := s.value()
		if f != nil {
			return f
		}
		return p.gather(text, value, rest)
	})
	if f == nil {
		f = s.end()
	}
	if f == nil && !any {
		f = p.nothing("the object has no members")
	}
	return f
}

// next writes what goes before an element.
func (p *picker) next() {
	if len(p.buf) > 1 {
		p.buf = append(p.buf, ',')
	}
}

// members finds those of an object. All of it is read: what follows them may be
// broken.
func (p *picker) members(text []byte, at span, names []string) ([]member, *fault) {
	s := &scanner{b: text[:at.to], i: at.from}
	if s.peek() != '{' {
		return nil, p.unfit(s, "has no members")
	}
	found := make([]member, len(names))
	f := s.members(func(key []byte) *fault {
		m := member{key: s.key}
		var f *fault
		if m.value, f = s.value(); f != nil {
			return f
		}
		i := slices.IndexFunc(names, func(name string) bool { return name == view(key) })
		if i < 0 {
			return nil
		}
		if found[i].key != nil {
			return &fault{code: CodeMalformed, text: fmt.Sprintf(": the %s %v selects a key that is there twice", p.what, p.path), hint: "a key may be there once in an object; SageMakerOutput is that of results"}
		}
		found[i] = m
		return nil
	})
	if f == nil {
		f = s.end()
	}
	if f != nil {
		return nil, f
	}
	missing := slices.IndexFunc(found, func(m member) bool { return m.key == nil })
	if missing >= 0 && p.some {
		found = slices.DeleteFunc(found, func(m member) bool { return m.key == nil })
	}
	if missing >= 0 && (!p.some || len(found) == 0) {
		return nil, p.nothing("there is no member %q", names[missing])
	}
	return found, nil
}

// elements finds those of an array: of each part of the step the first and what
// follows it up to the last. All of it is read, and twice where it has another
// number of elements than the one before.
func (p *picker) elements(text []byte, at span, step jsonpath.Step) ([]span, *fault) {
	for {
		ranges, err := step.Ranges(p.count)
		spans, n, f := p.locate(text, at, ranges)
		switch {
		case f != nil:
			return nil, f
		case n != p.count:
			p.count = n
		case err != nil:
			return nil, p.nothing("%w", err)
		default:
			return spans, nil
		}
	}
}

// locate finds ranges of an array's elements, as far as they are there, and
// counts all of them.
func (p *picker) locate(text []byte, at span, ranges []jsonpath.Range) (spans []span, n int, f *fault) {
	s := &scanner{b: text[:at.to], i: at.from}
	if s.peek() != '[' {
		return nil, 0, p.unfit(s, "has no elements")
	}
	found := newFinder(ranges)
	_, f = s.elements(func(int64) *fault {
		value, f := s.value()
		found.next(value)
		return f
	})
	if f == nil {
		f = s.end()
	}
	return found.spans, found.n, f
}

// finder notes where ranges of elements stand, as they are read one by one.
type finder struct {
	ranges []jsonpath.Range
	order  []int  // of those not found yet: which comes first. They are apart from each other
	spans  []span // of each range, from its first element to its last
	n      int    // elements so far
}

func newFinder(ranges []jsonpath.Range) *finder {
	f := &finder{ranges: ranges, order: make([]int, len(ranges)), spans: make([]span, len(ranges))}
	for i := range f.order {
		f.order[i] = i
	}
	slices.SortFunc(f.order, func(a, b int) int { return ranges[a].From - ranges[b].From })
	return f
}

func (f *finder) next(element span) {
	if len(f.order) > 0 {
		r := f.order[0]
		if f.n == f.ranges[r].From {
			f.spans[r].from = element.from
		}
		if f.n == f.ranges[r].To-1 {
			f.spans[r].to = element.to
			f.order = f.order[1:]
		}
	}
	f.n++
}

// value reads any value, and tells where it stands.
func (s *scanner) value() (span, *fault) {
	s.peek()
	from := s.i
	f := s.skip(1)
	return span{from, s.i}, f
}

// end is the fault of a text that goes on.
func (s *scanner) end() *fault {
	if s.peek() != 0 || s.i < len(s.b) {
		return s.unexpected("the end of the line")
	}
	return nil
}

// nothing is the fault of a record in which the path finds nothing.
func (p *picker) nothing(format string, why ...any) *fault {
	return &fault{
		code: CodeNothingSelected,
		text: fmt.Sprintf(": the %s %v finds nothing: %v", p.what, p.path, fmt.Errorf(format, why...)),
		hint: "correct the record, or submit another job with a filter that fits",
	}
}

// unfit is the fault of a record where the value that is next is none that has
// what the path asks for.
func (p *picker) unfit(s *scanner, lacks string) *fault {
	at := s.i
	if f := s.skip(1); f != nil {
		return f
	}
	if f := s.end(); f != nil {
		return f
	}
	s.i = at
	return p.nothing("%s %s", s.kind(), lacks)
}
