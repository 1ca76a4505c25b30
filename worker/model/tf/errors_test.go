package tf

import (
	"strings"
	"testing"
)

func TestFirstSentenceDropsTheTrailOfNodes(t *testing.T) {
	t.Parallel()
	for message, want := range map[string]string{
		"indices[0] = 9 is not in [0, 3)\n\t [[{{function_node __inference_f_257}}{{node GatherV2}}]]":                               "indices[0] = 9 is not in [0, 3)",
		"{{function_node __wrapped__DecodeJpeg}} jpeg failed":                                                                        "jpeg failed",
		"Input is empty. [[{{node DecodePng}}]]":                                                                                     "Input is empty.",
		"2 root error(s) found.\n  (0) INVALID_ARGUMENT: bad rank\n\t [[{{node a}}]]\n  (1) OTHER: no":                               "bad rank",
		"Graph execution error:\n\nDetected at node 'a' defined at (most recent call last):\nassertion failed: [x must be positive]": "assertion failed: [x must be positive]",
		"":       "TensorFlow gave no message",
		"\n\t ":  "TensorFlow gave no message",
		"a\xffb": "a\uFFFDb",
	} {
		if got := firstSentence(message); got != want {
			t.Errorf("firstSentence(%q) = %q, want %q", message, got, want)
		}
	}
	if got := firstSentence(strings.Repeat("é", maxMessage)); len(got) > maxMessage+len("…")+len("\uFFFD") {
		t.Errorf("a long message has %d bytes", len(got))
	}
}

func TestOnlyFaultsOfTheInputArePermanent(t *testing.T) {
	t.Parallel()
	permanent := map[string]bool{
		"INVALID_ARGUMENT": true, "NOT_FOUND": true, "FAILED_PRECONDITION": true, "OUT_OF_RANGE": true, "UNIMPLEMENTED": true,
	}
	for code := range 20 {
		e := newError(code, "text")
		if e.Permanent != permanent[e.Code] {
			t.Errorf("code %d, %s: permanent is %v", code, e.Code, e.Permanent)
		}
	}
	if e := newError(99, "text"); e.Code != "UNKNOWN" || e.Permanent {
		t.Errorf("an unheard-of code became %+v", e)
	}
}
