package codec

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/penstock/penstock/worker/model"
)

const npyMagic = "\x93NUMPY"

// npyHeader is what an .npy file says of its array.
type npyHeader struct {
	descr   string  // for example "<f4"
	fortran bool    // the first index varies fastest
	shape   []int64 // no negative sizes; their product, zeros left out, is below 1<<62
	data    []byte  // all that follows the header
}

// decodeNPY reads NumPy's format, versions 1.0 to 3.0.
func decodeNPY(_ context.Context, body []byte, src Source, m model.Model) (*Input, error) {
	h, err := parseNPY(body)
	if err != nil {
		return nil, err
	}
	sig, info, err := soleInput("an .npy file", src, m)
	if err != nil {
		return nil, err
	}
	t, err := h.tensor(info)
	if err != nil {
		return nil, err
	}
	return newInput(sig, []model.Tensor{asRow(t, info, sig)}, false)
}

// asRow makes one row of an array of a row's shape: it can't be meant
// otherwise.
func asRow(t model.Tensor, info model.TensorInfo, sig *model.Signature) model.Tensor {
	if _, batched := sig.Batch(); batched && !info.UnknownRank && len(t.Shape) == len(info.Shape)-1 {
		if row := append([]int64{1}, t.Shape...); fits(info, row, batched) {
			t.Shape = row
		}
	}
	return t
}

// brokenNPY is the error of a file that is no .npy.
func brokenNPY(format string, args ...any) *Error {
	return &Error{
		Code:    CodeMalformed,
		Message: "broken .npy file: " + fmt.Sprintf(format, args...),
		Hint:    "write it with numpy.save",
	}
}

func parseNPY(body []byte) (*npyHeader, error) {
	const fixed = len(npyMagic) + 2 // and the version
	if len(body) < fixed || !bytes.HasPrefix(body, []byte(npyMagic)) {
		return nil, brokenNPY(`it doesn't begin with "\x93NUMPY" and a version`)
	}
	major, rest := body[len(npyMagic)], body[fixed:]
	width := 4
	switch major {
	case 1:
		width = 2
	case 2, 3:
	default:
		return nil, &Error{Code: CodeUnsupportedType, Message: fmt.Sprintf("the .npy file is of version %d; 1, 2 and 3 can be read", major)}
	}
	if len(rest) < width {
		return nil, brokenNPY("it ends within the header")
	}
	var size [4]byte
	copy(size[:], rest[:width])
	rest = rest[width:]
	n := int64(binary.LittleEndian.Uint32(size[:]))
	if n > int64(len(rest)) {
		return nil, brokenNPY("the header should have %d bytes, but only %d follow", n, len(rest))
	}
	h := &npyHeader{data: rest[n:]}
	return h, h.parse(string(rest[:n]))
}

// parse reads the header: a Python dict of three known keys.
func (h *npyHeader) parse(text string) error {
	p := &literal{rest: text}
	seen := map[string]bool{}
	p.expect("{")
	for !p.failed && !p.accept("}") {
		key := p.quoted()
		p.expect(":")
		switch key {
		case "descr":
			if h.descr = p.quoted(); p.failed {
				return &Error{Code: CodeInvalidDType, Message: fmt.Sprintf("the array's dtype is none of numbers, booleans or strings: %.60q", text)}
			}
		case "fortran_order":
			h.fortran = p.accept("True")
			if !h.fortran {
				p.expect("False")
			}
		case "shape":
			h.shape = p.tuple()
		default:
			p.failed = true
		}
		seen[key] = true
		if !p.accept(",") {
			p.expect("}")
			break
		}
	}
	if p.failed || len(seen) != 3 || strings.TrimRight(p.rest, " \n") != "" {
		return brokenNPY("can't make sense of the header %.120q", text)
	}
	return h.checkShape()
}

// maxOfNothing is how many elements the dimensions of an array without elements
// may make, the zeros left out. No bytes stand behind them: ten digits would be
// as many rows to be run, or what a model makes of so many times nothing.
const maxOfNothing = 1 << 16

func (h *npyHeader) checkShape() error {
	if len(h.shape) > maxDepth {
		return brokenNPY("the array has %d dimensions; the most is %d", len(h.shape), maxDepth)
	}
	product := int64(1)
	for _, d := range h.shape {
		if d > 0 && product > math.MaxInt64/2/d {
			return brokenNPY("the array's size overflows: %v", h.shape)
		}
		product *= max(d, 1)
	}
	if slices.Contains(h.shape, 0) && product > maxOfNothing {
		return brokenNPY("an array of shape %v has no elements", h.shape)
	}
	return nil
}

// literal reads the little of Python's syntax that a header is made of.
type literal struct {
	rest   string
	failed bool
}

// accept reads token, if it comes next.
func (p *literal) accept(token string) bool {
	rest, ok := strings.CutPrefix(strings.TrimLeft(p.rest, " \n"), token)
	if ok {
		p.rest = rest
	}
	return ok
}

func (p *literal) expect(token string) {
	if !p.accept(token) {
		p.failed = true
	}
}

// quoted reads a string. None that matters has escapes.
func (p *literal) quoted() string {
	quote := "'"
	if !p.accept(quote) {
		quote = `"`
		p.expect(quote)
	}
	s, rest, ok := strings.Cut(p.rest, quote)
	if !ok {
		p.failed = true
		return ""
	}
	p.rest = rest
	return s
}

// tuple reads a tuple of sizes.
func (p *literal) tuple() []int64 {
	shape := []int64{}
	p.expect("(")
	for !p.failed && !p.accept(")") {
		shape = append(shape, p.size())
		p.accept("L") // Python 2 wrote its long integers so
		if !p.accept(",") {
			p.expect(")")
			break
		}
	}
	return shape
}

func (p *literal) size() int64 {
	p.rest = strings.TrimLeft(p.rest, " \n")
	var n int64
	i := 0
	for ; i < len(p.rest) && i < 18 && p.rest[i] >= '0' && p.rest[i] <= '9'; i++ {
		n = n*10 + int64(p.rest[i]-'0')
	}
	if i == 0 {
		p.failed = true
	}
	p.rest = p.rest[i:]
	return n
}
