// Package jsonpath reads the paths of SageMaker's Batch Transform, which say
// what part of a record is wanted. They are a small part of JSONPath:
//
//	$                      all of it; each path begins so
//	.name  ['name']        a member
//	['a','b']              several members, as an object of these; at the end of a path
//	[0]  [-1]              an element, counted from 0, or from the end
//	[0,4]  [1:4]  [:-1]    several, as an array: a slice ends before its second number
//	*  [*]                 all elements, or the values of all members, as an array
//
// The source is "Associate Prediction Results with Input Records" in the
// SageMaker Developer Guide, and for a list that has a slice in it ($[0,5:]) the
// API's DataProcessing. That page calls the end of a slice inclusive, in one
// place; json-path, to which it refers for the operators, RFC 9535, and scripts
// that drop a last column by [0:-1], have it exclusive, and so has this package.
//
// What a path names has to be there. An element that is selected is selected
// once, so that what is selected is never larger than what it is selected from.
//
// The package only reads paths and counts elements. What they are applied to,
// JSON and CSV as they stand in a file, is worker/codec's to read, which has the
// only reader of either. A library of JSONPath would bring what is refused here
// (descent, filters, scripts), give an array of the values where an object of
// several members is wanted, and most have the record decoded and written anew,
// so that its numbers were no longer as their author wrote them.
package jsonpath

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Path is a path that was read. The zero Path is that of $.
type Path struct {
	text  string
	steps []Step
}

// Step leads from a value into it. One of its members is set.
type Step struct {
	Names []string // members of an object; several only in a path's last step
	Parts []Part   // elements of an array
	Every bool     // all of either
}

// Part is an element of an array, or a slice of it. Numbers below 0 count from
// the end.
type Part struct {
	From  int
	To    int  // of a slice: behind its last element
	Slice bool // or else the element From
	Open  bool // the slice goes to the end
}

// Range is consecutive elements of an array, from From to before To. It has at
// least one.
type Range struct{ From, To int }

// String is the path as it was written.
func (p Path) String() string {
	if p.text == "" {
		return "$"
	}
	return p.text
}

// All says that the path selects all of a value, as it is.
func (p Path) All() bool { return len(p.steps) == 0 }

// Steps are the path's, in order. They are not to be changed.
func (p Path) Steps() []Step { return p.steps }

// OfColumns says whether the path can be applied to a row of columns, which is
// an array of values that have nothing in them.
func (p Path) OfColumns() bool {
	return p.All() || len(p.steps) == 1 && len(p.steps[0].Names) == 0
}

// Ends says whether the path has a slice with an end, of which SageMaker's
// documentation and JSONPath say different things.
func (p Path) Ends() bool {
	return slices.ContainsFunc(p.steps, func(s Step) bool {
		return slices.ContainsFunc(s.Parts, func(part Part) bool { return part.Slice && !part.Open })
	})
}

// Single says that the step selects one value, and not an array or an object
// of several.
func (s Step) Single() bool {
	return len(s.Names) == 1 || len(s.Parts) == 1 && !s.Parts[0].Slice
}

// Ranges are the elements that the step selects of an array of n, in the order
// of its parts. The error says what is not there, or is selected twice.
func (s Step) Ranges(n int) ([]Range, error) {
	if s.Every {
		if n == 0 {
			return nil, errors.New("there are none")
		}
		return []Range{{0, n}}, nil
	}
	list := make([]Range, len(s.Parts))
	for i, p := range s.Parts {
		r, ok := p.of(n)
		if !ok {
			return nil, fmt.Errorf("there is no %v of %d", p, n)
		}
		list[i] = r
	}
	if len(list) > 1 {
		sorted := slices.Clone(list)
		slices.SortFunc(sorted, func(a, b Range) int { return a.From - b.From })
		for i, r := range sorted[1:] {
			if r.From < sorted[i].To {
				return nil, fmt.Errorf("[%d] of %d is selected twice", r.From, n)
			}
		}
	}
	return list, nil
}

// of is what p selects of n elements, if it is anything.
func (p Part) of(n int) (Range, bool) {
	at := func(i int) int {
		if i < 0 {
			return n + i
		}
		return i
	}
	if !p.Slice {
		i := at(p.From)
		return Range{i, i + 1}, i >= 0 && i < n
	}
	r := Range{max(at(p.From), 0), n}
	if !p.Open {
		r.To = min(at(p.To), n)
	}
	return r, r.From < r.To
}

// String is the part as it stands in a path.
func (p Part) String() string {
	var b strings.Builder
	b.WriteByte('[')
	if !p.Slice || p.From != 0 {
		fmt.Fprint(&b, p.From)
	}
	if p.Slice {
		b.WriteByte(':')
		if !p.Open {
			fmt.Fprint(&b, p.To)
		}
	}
	b.WriteByte(']')
	return b.String()
}
