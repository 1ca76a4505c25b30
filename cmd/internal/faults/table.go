//go:build linux

package main

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"
)

var columns = []string{"fault", "times", "inputs", "lost", "wrong", "doubled", "recovered in"}

func (t *trial) cells() []string {
	count := func(list []string) string { return fmt.Sprint(len(list)) }
	recovered := "at once"
	switch {
	case t.err != nil || len(t.found.lost) > 0:
		recovered = "not"
	case t.recovery > 0:
		recovered = fmt.Sprintf("%.1f s", t.recovery.Seconds())
	}
	return []string{
		t.scenario.fault, t.times, fmt.Sprint(t.inputs),
		count(t.found.lost), count(t.found.wrong), count(t.found.doubled), recovered,
	}
}

// printTable writes a row for each trial, for a terminal or as Markdown.
func printTable(w io.Writer, trials []*trial, markdown bool) {
	if markdown {
		row := func(cells []string) { fmt.Fprintf(w, "| %s |\n", strings.Join(cells, " | ")) }
		row(columns)
		row([]string{"---", "---", "--:", "--:", "--:", "--:", "--:"})
		for _, t := range trials {
			row(t.cells())
		}
		return
	}
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(tw, strings.Join(columns, "\t"))
	for _, t := range trials {
		fmt.Fprintln(tw, strings.Join(t.cells(), "\t"))
	}
	_ = tw.Flush() // a terminal that is gone
}

// maxShown is how many findings of a kind are printed.
const maxShown = 10

// report says how a trial went.
func (t *trial) report(r *rig) {
	say := func(format string, args ...any) { r.say(t.scenario.name, format, args...) }
	if t.passed() {
		say("ok: %d inputs, %s, recovered in %v; took %v", t.inputs, t.levels, t.recovery.Round(100*time.Millisecond), t.took.Round(time.Second))
		return
	}
	say("FAILED after %v", t.took.Round(time.Second))
	t.explain(say)
}

// explain says what was found, and what the rig itself met.
func (t *trial) explain(say func(format string, args ...any)) {
	if t.err != nil {
		say("the rig: %v", t.err)
	}
	for _, kind := range []struct {
		name string
		list []string
	}{{"lost", t.found.lost}, {"wrong", t.found.wrong}, {"doubled", t.found.doubled}, {"besides", t.found.other}} {
		for i, what := range kind.list {
			if i == maxShown {
				say("%s: and %d more", kind.name, len(kind.list)-i)
				break
			}
			say("%s: %s", kind.name, what)
		}
	}
}
