package job

import (
	"fmt"
	"regexp"
	"strings"
)

// pattern is a glob over keys below a source: "*" is anything within a folder,
// "**" anything at all, "?" one character, "[a-c]" one of these, "{a,b}" one of
// the alternatives; a backslash takes a character as it is. One without a slash
// is for the last part of a key, any other for all of it.
type pattern struct {
	re   *regexp.Regexp
	base bool
}

// compile reads a glob.
func compile(glob string) (pattern, error) {
	var b strings.Builder
	braces := 0
	for i := 0; i < len(glob); i++ {
		switch c := glob[i]; {
		case strings.HasPrefix(glob[i:], "**/"):
			b.WriteString("(?:.*/)?")
			i += 2
		case strings.HasPrefix(glob[i:], "**"):
			b.WriteString(".*")
			i++
		case c == '*':
			b.WriteString("[^/]*")
		case c == '?':
			b.WriteString("[^/]")
		case c == '[':
			end := strings.IndexByte(glob[i+1:], ']')
			if end < 1 {
				return pattern{}, fmt.Errorf("the pattern %q has a [ without its ]", glob)
			}
			set := strings.ReplaceAll(glob[i+1:i+1+end], `\`, `\\`)
			if strings.HasPrefix(set, "!") {
				set = "^" + set[1:]
			}
			b.WriteString("[" + set + "]")
			i += end + 1
		case c == '{':
			braces++
			b.WriteString("(?:")
		case c == '}' && braces > 0:
			braces--
			b.WriteString(")")
		case c == ',' && braces > 0:
			b.WriteString("|")
		case c == '\\' && i+1 < len(glob):
			i++
			b.WriteString(regexp.QuoteMeta(glob[i : i+1]))
		default:
			b.WriteString(regexp.QuoteMeta(glob[i : i+1]))
		}
	}
	if braces > 0 {
		return pattern{}, fmt.Errorf("the pattern %q has a { without its }", glob)
	}
	re, err := regexp.Compile(`(?s)\A(?:` + b.String() + `)\z`)
	if err != nil {
		return pattern{}, fmt.Errorf("the pattern %q can't be read: %w", glob, err)
	}
	return pattern{re, !strings.Contains(glob, "/")}, nil
}

func (p pattern) matches(rel string) bool {
	if p.base {
		rel = rel[strings.LastIndexByte(rel, '/')+1:]
	}
	return p.re.MatchString(rel)
}

// Chooser chooses by patterns, among the keys of a job's sources and what else has
// paths with slashes. The zero value chooses all.
type Chooser struct{ include, exclude []pattern }

// NewChooser makes a Chooser of what matches one of include, if there is any,
// and none of exclude.
func NewChooser(include, exclude []string) (c Chooser, err error) {
	for _, list := range []struct {
		globs []string
		to    *[]pattern
	}{{include, &c.include}, {exclude, &c.exclude}} {
		for _, glob := range list.globs {
			p, err := compile(glob)
			if err != nil {
				return c, err
			}
			*list.to = append(*list.to, p)
		}
	}
	return c, nil
}

// Wants says whether rel, a key below its source, is among those that are
// included, if any are named, and not among those that are excluded.
func (c Chooser) Wants(rel string) bool {
	for _, p := range c.exclude {
		if p.matches(rel) {
			return false
		}
	}
	for _, p := range c.include {
		if p.matches(rel) {
			return true
		}
	}
	return len(c.include) == 0
}
