package jsonpath_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/penstock/penstock/worker/jsonpath"
)

// shown writes a path's steps in one way, whatever they were written like.
func shown(p jsonpath.Path) string {
	var b strings.Builder
	for _, s := range p.Steps() {
		switch {
		case s.Every:
			b.WriteString("*")
		case s.Names != nil:
			fmt.Fprintf(&b, "%q", s.Names)
		default:
			for _, part := range s.Parts {
				b.WriteString(part.String())
			}
		}
		b.WriteString(" ")
	}
	return strings.TrimSpace(b.String())
}

func TestPathsAreReadAsAWSDocumentsThem(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		// "Supported JSONPath Operators", and the examples below it.
		"$":                            "",
		"$.id":                         `["id"]`,
		"$.id.*":                       `["id"] *`,
		"$['id','SageMakerOutput']":    `["id" "SageMakerOutput"]`,
		"$[1]":                         "[1]",
		"$[1,3,5]":                     "[1][3][5]",
		"$[-1]":                        "[-1]",
		"$[2:5]":                       "[2:5]",
		"$[:5]":                        "[:5]",
		"$[2:]":                        "[2:]",
		"$.field1.['child1','child2']": `["field1"] ["child1" "child2"]`,
		"$.features":                   `["features"]`,
		"$[0,-1]":                      "[0][-1]",
		"$[0,5:]":                      "[0][5:]", // of the API's DataProcessing
		// And what scripts have.
		"$['features']":         `["features"]`,
		`$["a"]['b']`:           `["a"] ["b"]`,
		"$[6, -1]":              "[6][-1]",
		"$[ 'id' , 'x' ]":       `["id" "x"]`,
		"$[ 1 : -1 ]":           "[1:-1]",
		"$[:]":                  "[:]",
		"$[0:-1]":               "[:-1]",
		"$[*].x":                `* ["x"]`,
		"$.*[0]":                "* [0]",
		"$.account_id":          `["account_id"]`,
		"$.größe-1":             `["größe-1"]`,
		`$['it\'s','a\\b."c"']`: `["it's" "a\\b.\"c\""]`,
		"$['']":                 `[""]`,
	} {
		p, err := jsonpath.Parse(text)
		if err != nil || shown(p) != want || p.String() != text {
			t.Errorf("%s is read as %s (%v), want %s", text, shown(p), err, want)
		}
	}
}

func TestWhatIsNoPathIsRefusedWithThePlace(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]struct {
		at  int
		why string
	}{
		"id":                             {0, "begin with $"},
		" $":                             {0, "begin with $"},
		"$ ":                             {1, "expected a dot or a bracket"},
		"$id":                            {1, "expected a dot or a bracket"},
		"$.":                             {2, "expected a name"},
		"$.a.":                           {4, "expected a name"},
		"$.a b":                          {3, "expected a dot or a bracket"},
		"$..id":                          {2, "descent"},
		"$[":                             {2, "expected a name in quotes, an index, a slice or *"},
		"$[]":                            {2, "expected a name in quotes, an index, a slice or *"},
		"$[id]":                          {2, "expected a name in quotes"},
		"$[1":                            {3, "not closed"},
		"$[1,":                           {4, "expected an index"},
		"$[1,]":                          {4, "expected an index"},
		"$[1,'a']":                       {4, "expected an index"},
		"$['a',1]":                       {6, "expected a name in quotes"},
		"$['a'":                          {5, "not closed"},
		"$['a]":                          {2, "the quote is not closed"},
		`$['a\n']`:                       {5, "a backslash must stand before"},
		`$['a\`:                          {5, "a backslash must stand before"},
		"$[1:5:2]":                       {5, "a slice with a step"},
		"$[-]":                           {3, "expected a number"},
		"$[1234567890]":                  {2, "too large"},
		"$[1.5]":                         {3, "expected a comma or a closing bracket"},
		"$[?(@.x)]":                      {2, "expressions are not supported"},
		"$[(@.length-1)]":                {2, "expressions are not supported"},
		"$[*,1]":                         {3, "expected a closing bracket"},
		"$[0,0]":                         {4, "there twice"},
		"$['a','a']":                     {6, "there twice"},
		"$['a','b'].c":                   {10, "nothing can follow several names"},
		"$['a','b'][0]":                  {10, "nothing can follow several names"},
		"$.\xff":                         {2, "UTF-8"},
		"$['a\n']":                       {4, "printable"},
		"$." + strings.Repeat("a", 1100): {1024, "longer than"},
	} {
		_, err := jsonpath.Parse(text)
		e, ok := errors.AsType[*jsonpath.SyntaxError](err)
		if !ok || e.At != want.at || !strings.Contains(e.Why, want.why) || !strings.Contains(err.Error(), jsonpath.Allowed) {
			t.Errorf("%s: the error is %v, want byte %d: %s", text, err, want.at, want.why)
		}
	}
}

func TestElementsAreCounted(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		path string
		n    int
		want string // or of the error
	}{
		{"$[0]", 5, "[{0 1}]"},
		{"$[-1]", 5, "[{4 5}]"},
		{"$[-5]", 5, "[{0 1}]"},
		{"$[5]", 5, "there is no [5] of 5"},
		{"$[-6]", 5, "there is no [-6] of 5"},
		{"$[1:4]", 5, "[{1 4}]"},
		{"$[1:]", 5, "[{1 5}]"},
		{"$[:-1]", 5, "[{0 4}]"},
		{"$[-2:]", 5, "[{3 5}]"},
		{"$[-9:2]", 5, "[{0 2}]"},
		{"$[3:9]", 5, "[{3 5}]"},
		{"$[5:]", 5, "there is no [5:] of 5"},
		{"$[3:3]", 5, "there is no [3:3] of 5"},
		{"$[4,0,2:4]", 5, "[{4 5} {0 1} {2 4}]"},
		{"$[0,-5]", 5, "[0] of 5 is selected twice"},
		{"$[1:,3]", 5, "[3] of 5 is selected twice"},
		{"$[*]", 5, "[{0 5}]"},
		{"$[*]", 0, "there are none"},
		{"$[:]", 0, "there is no [:] of 0"},
	} {
		p, err := jsonpath.Parse(c.path)
		if err != nil {
			t.Fatal(err)
		}
		ranges, err := p.Steps()[0].Ranges(c.n)
		if got := fmt.Sprint(ranges); got != c.want && (err == nil || err.Error() != c.want) {
			t.Errorf("%s of %d is %s (%v), want %s", c.path, c.n, got, err, c.want)
		}
	}
}

func TestPathsOfColumns(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]bool{"": true, "$": true, "$[1:]": true, "$[0,-1]": true, "$.*": true, "$.x": false, "$['x']": false, "$[0][0]": false} {
		if p, err := jsonpath.Parse(text); err != nil || p.OfColumns() != want {
			t.Errorf("%s: %v (%v)", text, p.OfColumns(), err)
		}
	}
}

// FuzzParse holds: whatever a text is, it is a path that can be written and read
// again, or an error with a place in the text; and of no path is more selected
// than is there.
func FuzzParse(f *testing.F) {
	for _, text := range []string{"$", "$.id.*", "$['id','SageMakerOutput']", "$[0,5:]", "$.a.['b','c']", `$["\""]`, "$[1:-1][*].x", "$[?(@)]", "$..a", "$['\xff']"} {
		f.Add(text, 5)
	}
	f.Fuzz(func(t *testing.T, text string, n int) {
		p, err := jsonpath.Parse(text)
		if err != nil {
			e, ok := errors.AsType[*jsonpath.SyntaxError](err)
			if !ok || e.At < 0 || e.At > len(text) || e.Why == "" || !utf8.ValidString(err.Error()) {
				t.Errorf("%q: the error is %#v", text, err)
			}
			return
		}
		if text != "" && p.String() != text {
			t.Errorf("%q is %q", text, p)
		}
		if again, err := jsonpath.Parse(canonical(p)); err != nil || shown(again) != shown(p) {
			t.Errorf("%q, written as %s, is %s (%v), want %s", text, canonical(p), shown(again), err, shown(p))
		}
		n = min(max(n, 0), 1<<16)
		for i, s := range p.Steps() {
			if len(s.Names) > 1 && i < len(p.Steps())-1 {
				t.Errorf("%q: something follows %q", text, s.Names)
			}
			if s.Names != nil {
				continue
			}
			ranges, err := s.Ranges(n)
			if (err == nil) != (len(ranges) > 0) || s.Single() && err == nil && (len(ranges) > 1 || ranges[0].To-ranges[0].From != 1) {
				t.Errorf("%q of %d: %v, %v", text, n, ranges, err)
			}
			slices.SortFunc(ranges, func(a, b jsonpath.Range) int { return a.From - b.From })
			behind := 0
			for _, r := range ranges {
				if r.From < behind || r.To <= r.From || r.To > n {
					t.Errorf("%q of %d: %v", text, n, ranges)
				}
				behind = r.To
			}
		}
	})
}

// canonical writes a path with brackets only.
func canonical(p jsonpath.Path) string {
	var b strings.Builder
	b.WriteByte('$')
	for _, s := range p.Steps() {
		var parts []string
		for _, name := range s.Names {
			parts = append(parts, "'"+strings.NewReplacer(`\`, `\\`, "'", `\'`).Replace(name)+"'")
		}
		for _, part := range s.Parts {
			parts = append(parts, strings.Trim(part.String(), "[]"))
		}
		if s.Every {
			parts = append(parts, "*")
		}
		b.WriteString("[" + strings.Join(parts, ",") + "]")
	}
	return b.String()
}
