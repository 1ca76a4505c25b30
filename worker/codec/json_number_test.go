package codec

import (
	"fmt"
	"math"
	"math/rand/v2"
	"strconv"
	"testing"
)

// parsed reads text as a number of both float types.
func parsed(t *testing.T, text string) (f32 float32, ok32 bool, f64 float64, ok64 bool) {
	t.Helper()
	s := scanner{b: []byte(text)}
	var n number
	if !s.number(&n) || s.i != len(text) {
		t.Fatalf("%s is no number", text)
	}
	f32, ok32 = n.float32([]byte(text))
	f64, ok64 = n.float64([]byte(text))
	return f32, ok32, f64, ok64
}

// checkRounding compares with strconv, which rounds correctly.
func checkRounding(t *testing.T, text string) {
	t.Helper()
	f32, ok32, f64, ok64 := parsed(t, text)
	want32, err32 := strconv.ParseFloat(text, 32)
	want64, err64 := strconv.ParseFloat(text, 64)
	if ok32 != (err32 == nil) || ok32 && math.Float32bits(f32) != math.Float32bits(float32(want32)) {
		t.Errorf("float32 of %s is %v, %v; want %v, %v", text, f32, ok32, want32, err32)
	}
	if ok64 != (err64 == nil) || ok64 && math.Float64bits(f64) != math.Float64bits(want64) {
		t.Errorf("float64 of %s is %v, %v; want %v, %v", text, f64, ok64, want64, err64)
	}
}

func TestFloatsAreRoundedCorrectly(t *testing.T) {
	for _, text := range []string{
		"0.0", "1.0", "0.1", "0.3", "123456789.0", "9007199254740993.0", "9007199254740992.5",
		"1.00000005960464477539062",    // just below halfway between 1 and the next float32
		"1.000000059604644775390625",   // halfway: to even
		"1.0000000596046447753906251",  // just above
		"1.00000017881393432617187499", // just below the next halfway
		"1.000000178813934326171875",   // halfway
		"16777217.0", "16777219.0",     // halfway between float32s
		"3.4028235677973366e38", // halfway between the greatest float32 and infinity
		"3.4028235677973365e38", "3.5e38", "1e39",
		"1.7976931348623157e308", "1.7976931348623159e308", "1e309", "1e99999", "1e-99999",
		"1.1754943508222875e-38", "1.1754942e-38", "1e-45", "7.006492321624085e-46", "7.006492321624086e-46",
		"4.9406564584124654e-324", "2.4703282292062327e-324", "2.4703282292062328e-324",
		"0.000000000000000000000000000000000000000000000000000001", "1234567890123456789012345678901234567890.0",
		"0.1234567890123456789", "12345678901234567890e-10", "9999999999999999999e22", "1e22", "1e23", "1e-22", "1e-23",
		"1e+00000000000000000000001", "1e-00000000000000000000001",
	} {
		checkRounding(t, text)
		checkRounding(t, "-"+text)
	}
	r := rand.New(rand.NewPCG(3, 4))
	for range 50_000 {
		f := math.Float32frombits(r.Uint32())
		if f != f || math.IsInf(float64(f), 0) {
			continue
		}
		switch r.IntN(4) {
		case 0:
			checkRounding(t, strconv.FormatFloat(float64(f), 'e', -1, 32))
		case 1:
			checkRounding(t, strconv.FormatFloat(float64(f), 'e', 16, 64))
		case 2: // close to halfway between two float32s, with any number of digits
			next := float64(math.Nextafter32(f, 0))
			checkRounding(t, strconv.FormatFloat((float64(f)+next)/2, 'e', 6+r.IntN(30), 64))
		case 3:
			checkRounding(t, fmt.Sprintf("%d.%d", r.IntN(1000), r.Uint64()))
		}
	}
}

func TestWholeNumbersAreKeptOrRefused(t *testing.T) {
	for _, c := range []struct {
		text       string
		ok32, ok64 bool
	}{
		{"16777216", true, true},
		{"16777217", false, true},
		{"16777218", true, true},
		{"9007199254740992", true, true},
		{"9007199254740993", false, false},
		{"9007199254740994", false, true},
		{"9223372036854775807", false, false},
		{"9223372036854775808", true, true},
		{"-9223372036854775808", true, true},
		{"18446744073709551615", false, false},
		{"18446744073709551616", true, true}, // beyond 64 bits: a decimal
		{"18446744073709551617", true, true},
		{"-9223372036854775809", true, true},
	} {
		f32, ok32, f64, ok64 := parsed(t, c.text)
		if ok32 != c.ok32 || ok64 != c.ok64 {
			t.Errorf("%s: float32 %v %v, float64 %v %v; want %v and %v", c.text, f32, ok32, f64, ok64, c.ok32, c.ok64)
		}
	}
}
