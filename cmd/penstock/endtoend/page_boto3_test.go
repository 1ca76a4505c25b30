//go:build linux && servers

package endtoend

import (
	"regexp"
	"testing"
)

// isThree finds the verdict in JSON, in what Python prints of it, and in a line
// of penstock's.
var isThree = regexp.MustCompile(`['"]label['"]: ?['"]3['"]|\s3\s+\d+\.\d %`)

func TestThePageForThoseFromChaliceWorksByHTTPAndBoto3(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	m.reader(python(t, "PENSTOCK_TEST_PYTHON"))
	m.start()
	defer m.ends()
	for _, number := range []string{"2", "3"} {
		for _, b := range section(t, number) {
			if said := m.follow(b); !isThree.MatchString(said) {
				t.Errorf("%s\nprinted %q, want that it is a 3", b.code, said)
			}
		}
	}
}
