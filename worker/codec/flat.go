package codec

import (
	"fmt"
	"math"
	"slices"

	"github.com/penstock/penstock/worker/model"
)

// flatRow ends a row that was given to c as n elements in row-major order,
// without the nesting that JSON has. The first row settles the shape; whatever
// follows must be equal.
func (c *column) flatRow(n int) *fault {
	if c.rows == 0 {
		shape, f := rowShape(c.info, int64(n))
		if f != nil {
			return f
		}
		c.shape, c.ranked, c.flat = shape, true, n
	}
	if n != c.flat {
		return &fault{
			code: CodeInvalidShape,
			text: fmt.Sprintf(" has %d values, but those before it have %d", n, c.flat),
			hint: "rows must be equally long: pad or cut them",
		}
	}
	c.rows++
	return nil
}

// rowShape is the shape of a row of n elements: the signature's, where one
// size that it leaves open follows from n. Of an input that declares no shape,
// one element is a single value and more are a list.
func rowShape(info model.TensorInfo, n int64) ([]int64, *fault) {
	switch {
	case info.UnknownRank && n == 1:
		return []int64{}, nil
	case info.UnknownRank:
		return []int64{n}, nil
	}
	shape := slices.Clone(info.Shape[min(1, len(info.Shape)):])
	free, known := -1, int64(1)
	for i, d := range shape {
		switch {
		case d < 0 && free >= 0:
			return nil, &fault{
				code: CodeInvalidShape,
				text: fmt.Sprintf(": a row is a flat list of values, which doesn't tell the shape of input %v", info),
				hint: "send JSON or .npy",
			}
		case d < 0:
			free = i
		case d > 0 && known > n/d: // the product is more than n, if it isn't 0
			known = n + 1
		default:
			known *= d
		}
	}
	switch {
	case free >= 0 && known > 0 && n%known == 0:
		shape[free] = n / known
		return shape, nil
	case free < 0 && known == n:
		return shape, nil
	}
	return nil, &fault{
		code: CodeInvalidShape,
		text: fmt.Sprintf(" has %d values, but that is no row of input %v", n, info),
		hint: "the first dimension counts the rows; a row has as many values as the others make",
	}
}

// surplus is by how many elements a row may be too long and is read to its end
// all the same, so that its fault tells its shape. Beyond that it would only take
// memory: much more than its text, if it is made of little.
const surplus = 1 << 16

// mostOfRow is how many elements a row of an input has, or may have.
func mostOfRow(info model.TensorInfo) int {
	most := int64(math.MaxInt / 4)
	if info.DType == model.String {
		most = maxPieces
	}
	if info.UnknownRank {
		return int(most)
	}
	n := int64(1)
	for _, d := range info.Shape[min(1, len(info.Shape)):] {
		if d < 0 || d > 0 && n > most/d {
			return int(most)
		}
		n *= d
	}
	return int(n)
}

// elements is how many c holds.
func (c *column) elements() int {
	if c.size == 0 {
		return len(c.bytes)
	}
	return len(c.data) / c.size
}

// overfull is the fault of a row that has many more elements than c.row.
func (c *column) overfull() *fault {
	if c.info.DType == model.String && c.row == maxPieces {
		return tooManyPieces("strings")
	}
	return &fault{
		code: CodeInvalidShape,
		text: fmt.Sprintf(" has many more values than a row of input %v", c.info),
		hint: "the first dimension counts the rows; a row has as many values as the others make",
	}
}
