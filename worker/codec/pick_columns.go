package codec

import (
	"bytes"

	"github.com/penstock/penstock/worker/jsonpath"
)

// columns gives the selected ones of a row's.
func (p *picker) columns(all [][]byte) ([][]byte, *fault) {
	if len(all) != p.of {
		ranges, err := p.path.Steps()[0].Ranges(len(all))
		if err != nil {
			return nil, p.noColumn(err)
		}
		p.of, p.ranges = len(all), ranges
	}
	p.fields = p.fields[:0]
	for _, r := range p.ranges {
		p.fields = append(p.fields, all[r.From:r.To]...)
	}
	return p.fields, nil
}

func (p *picker) noColumn(why error) *fault { return p.nothing("of the columns %w", why) }

// column is which of a row's columns the i-th selected one is.
func (p *picker) column(i int) int {
	for _, r := range p.ranges {
		if n := r.To - r.From; i >= n {
			i -= n
			continue
		}
		return r.From + i
	}
	return i
}

// line gives what is selected of a line of CSV, its fields as they stand there.
func (p *picker) line(line []byte) ([]byte, *fault) {
	for {
		ranges, err := p.rangesOf(p.count)
		found := newFinder(ranges)
		for at, more := 0, true; more; {
			var end int
			end, more = fieldEnd(line, at)
			found.next(span{at, end})
			at = end + 1
		}
		switch {
		case found.n != p.count: // as the line before had
			p.count = found.n
			continue
		case err != nil:
			return nil, p.noColumn(err)
		}
		p.buf = p.buf[:0]
		for i, s := range found.spans {
			if i > 0 {
				p.buf = append(p.buf, ',')
			}
			p.buf = append(p.buf, line[s.from:s.to]...)
		}
		return p.buf, nil
	}
}

// rangesOf are the columns that are selected of n. Where some will do, one that
// is not there is a column behind all.
func (p *picker) rangesOf(n int) ([]jsonpath.Range, error) {
	step := p.path.Steps()[0]
	ranges, err := step.Ranges(n)
	if err == nil || !p.some {
		return ranges, err
	}
	ranges = nil
	for _, part := range step.Parts {
		if r, err := (jsonpath.Step{Parts: []jsonpath.Part{part}}).Ranges(n); err == nil {
			ranges = append(ranges, r...)
		} else if !part.Slice {
			ranges = append(ranges, jsonpath.Range{From: n + 1, To: n + 1})
		}
	}
	return ranges, nil
}

// fieldEnd is where the field ends that begins at a byte of a record that is CSV,
// and whether another follows.
func fieldEnd(record []byte, at int) (end int, more bool) {
	from := at
	if at < len(record) && record[at] == '"' {
		_, behind, _ := unquote(record[at+1:])
		from = len(record) - len(behind) // the comma, or the end
	}
	if i := bytes.IndexByte(record[from:], ','); i >= 0 {
		return from + i, true
	}
	return len(record), false
}
