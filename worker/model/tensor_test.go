package model

import "testing"

func TestTypesGoByTheirNumPyOrTensorFlowName(t *testing.T) {
	t.Parallel()
	for d, want := range map[DType]string{
		Float32: "float32", String: "string", 8: "complex64", 12: "quint8", 14: "bfloat16", 19: "float16",
		20: "resource", 21: "variant", 25: "float8_e4m3fn", 29: "int4", 101: "float32_ref", 120: "resource_ref",
		0: "type 0", 77: "type 77", 100: "type 100", 250: "type 250",
	} {
		if got := d.String(); got != want {
			t.Errorf("type %d is %q, want %q", int32(d), got, want)
		}
	}
	for d := range refused {
		if d.Known() {
			t.Errorf("%v is both refused and known", d)
		}
	}
}
