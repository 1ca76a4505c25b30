package codec

import (
	"math"
	"strconv"
	"unsafe"
)

// number is a JSON number as it is written, or one of NaN, Infinity and
// -Infinity. Decoding spends most of its time here, so that its digits are read
// once and a value is made of them without looking at the text again, where
// that is exact.
type number struct {
	mantissa uint64 // all digits, without the point; valid unless long
	exponent int    // of ten, for mantissa; valid unless long
	negative bool
	decimal  bool    // has a point or an exponent
	long     bool    // more digits than mantissa holds, or an exponent of five digits and more
	special  float64 // NaN or an infinity; 0 for any other number
}

// number reads a number into n. It gives false, and leaves the next byte
// undefined, when there is none.
func (s *scanner) number(n *number) bool {
	b, i := s.b, s.i
	negative := i < len(b) && b[i] == '-'
	if negative {
		i++
	}
	first := i
	mantissa, i := digits(b, i, 0)
	count := i - first
	if count == 0 || count > 1 && b[first] == '0' {
		s.i = first
		return s.special(n, negative)
	}
	exponent, decimal := 0, i < len(b) && b[i] == '.'
	if decimal {
		point := i + 1
		mantissa, i = digits(b, point, mantissa)
		if exponent = point - i; exponent == 0 {
			return false
		}
		count -= exponent
	}
	*n = number{mantissa: mantissa, exponent: exponent, negative: negative, decimal: decimal}
	n.long = count > 19 // 19 nines are less than 1<<64
	if i < len(b) && b[i]|0x20 == 'e' {
		n.decimal = true
		if i = n.power(b, i+1); i < 0 {
			return false
		}
	}
	s.i = i
	return true
}

// digits appends the decimal digits from b[i] on to v, and gives the index
// behind them.
func digits(b []byte, i int, v uint64) (uint64, int) {
	for ; i < len(b) && b[i]-'0' <= 9; i++ {
		v = v*10 + uint64(b[i]-'0')
	}
	return v, i
}

// power reads the exponent that starts at i and gives the index behind it, -1
// when there is none.
func (n *number) power(b []byte, i int) int {
	sign := 1
	if i < len(b) && (b[i] == '+' || b[i] == '-') {
		if b[i] == '-' {
			sign = -1
		}
		i++
	}
	first, e := i, 0
	for i < len(b) && b[i]-'0' <= 9 {
		if i-first < 4 {
			e = e*10 + int(b[i]-'0')
		} else {
			n.long = true
		}
		i++
	}
	if i == first {
		return -1
	}
	n.exponent += sign * e
	return i
}

// special reads the words that TensorFlow Serving takes for numbers; a minus
// sign is read already.
func (s *scanner) special(n *number, negative bool) bool {
	*n = number{negative: negative, decimal: true}
	switch {
	case s.word("NaN"):
		n.special = math.NaN()
	case s.word("Infinity"), s.word("Inf"):
		n.special = math.Inf(1)
	default:
		return false
	}
	if negative {
		n.special = -n.special
	}
	return true
}

// view is b as a string without a copy, for the time of a call that does not
// keep it.
func view(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }

// powers are the powers of ten that a float64 holds exactly.
var powers = [...]float64{
	1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11,
	1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22,
}

// near is mantissa times 10^exponent with at most two roundings, each by half
// a unit in the last place. ok is false when it has no such value.
func (n *number) near() (v float64, ok bool) {
	if n.long || n.exponent < -22 || n.exponent > 22 {
		return 0, false
	}
	v = float64(n.mantissa)
	if n.exponent < 0 {
		v /= powers[-n.exponent]
	} else {
		v *= powers[n.exponent]
	}
	if n.negative {
		v = -v
	}
	return v, true
}

// float64 is the float64 nearest to the number. ok is false when the number is
// too large, or is a whole one that would not keep its value.
func (n *number) float64(text []byte) (v float64, ok bool) {
	if n.special != 0 {
		return n.special, true
	}
	// Mantissa and power are exact, so that there is one rounding: the right one.
	if v, ok := n.near(); ok && n.mantissa <= 1<<53 {
		return v, true
	}
	v, err := strconv.ParseFloat(view(text), 64)
	return v, err == nil && n.kept(v, text)
}

// float32 is like float64 for the nearest float32.
func (n *number) float32(text []byte) (v float32, ok bool) {
	if n.special != 0 {
		return float32(n.special), true
	}
	if !n.decimal && n.mantissa <= 1<<24 && !n.long {
		v = float32(n.mantissa)
		if n.negative {
			v = -v
		}
		return v, true
	}
	if d, ok := n.near(); ok && n.decimal && roundsSafely(d) {
		return float32(d), true
	}
	d, err := strconv.ParseFloat(view(text), 32)
	return float32(d), err == nil && n.kept(d, text)
}

// roundsSafely says that d and any number within a few units of its last place
// round to the same float32: d is none of the small ones that lose precision,
// not out of range, and not about halfway between two float32s.
func roundsSafely(d float64) bool {
	const (
		smallest = 0x1p-126 // normal float32
		dropped  = 1<<29 - 1
		half     = 1 << 28
		margin   = 4
	)
	bits := math.Float64bits(d)
	distance := int64(bits&dropped) - half
	abs := math.Abs(d)
	return d == 0 || abs >= smallest && abs < math.MaxFloat32 && (distance > margin || distance < -margin)
}

// kept says that a whole number which fits 64 bits is v exactly. Larger ones
// are decimals to TensorFlow Serving, and rounded like them.
func (n *number) kept(v float64, text []byte) bool {
	if n.decimal {
		return true
	}
	if i, ok := n.int(64); ok {
		return v < 1<<63 && int64(v) == i
	}
	u, ok := n.uint(64, text)
	return !ok || v < 1<<64 && uint64(v) == u
}

// int is the number as a signed integer of that many bits.
func (n *number) int(bits int) (int64, bool) {
	limit := uint64(1)<<(bits-1) - 1
	if n.negative {
		limit++
	}
	if n.decimal || n.long || n.mantissa > limit {
		return 0, false
	}
	if n.negative {
		return -int64(n.mantissa), true // right for the least one, too
	}
	return int64(n.mantissa), true
}

// uint is the number as an unsigned integer of that many bits.
func (n *number) uint(bits int, text []byte) (uint64, bool) {
	if n.decimal || n.negative && (n.long || n.mantissa != 0) {
		return 0, false
	}
	if n.long { // 20 digits may still fit
		v, err := strconv.ParseUint(view(text), 10, bits)
		return v, err == nil
	}
	return n.mantissa, n.mantissa <= math.MaxUint64>>(64-bits)
}
