package main

import "io"

// ink marks text on a terminal that shows it, and leaves it alone elsewhere.
type ink bool

// ink is for w: nothing on what is no terminal, or where NO_COLOR is set to
// anything (https://no-color.org).
func (p *program) ink(w io.Writer) ink {
	none, _ := p.env("NO_COLOR")
	term, _ := p.env("TERM")
	return ink(none == "" && term != "dumb" && isTerminal(w))
}

func (i ink) bold(s string) string  { return i.mark("1", s) }
func (i ink) faint(s string) string { return i.mark("2", s) }
func (i ink) red(s string) string   { return i.mark("31", s) }
func (i ink) green(s string) string { return i.mark("32", s) }

func (i ink) mark(code, s string) string {
	if !i || s == "" {
		return s
	}
	return "\x1b[" + code + "m" + s + "\x1b[0m"
}
