package main

import (
	"fmt"
	"io"
	"strings"
	"time"
)

// steps tells a person what has been done, and how long it took.
type steps struct {
	w     io.Writer
	ink   ink
	began time.Time // of the step under way
}

func (p *program) steps() *steps {
	s := &steps{w: p.stdout, ink: p.ink(p.stdout), began: time.Now()}
	fmt.Fprintf(s.w, "%s\n\n", s.ink.bold("Penstock on this machine: an upload, an event, a queue, a worker, a result."))
	return s
}

// done ends a step and begins the next.
func (s *steps) done(what string) {
	now := time.Now()
	fmt.Fprintf(s.w, "%s %-32s %s\n", s.ink.green("✓"), what, s.ink.faint(fmt.Sprintf("%.1f s", now.Sub(s.began).Seconds())))
	s.began = now
}

// table shows what the model made of the digits.
func (p *program) table(inputs []digit, results []result) {
	w, ink := p.stdout, p.ink(p.stdout)
	fmt.Fprintf(w, "\n%s\n", ink.bold(fmt.Sprintf("  %-18s %-10s %10s %10s %10s", "input", "label", "confidence", "queued", "in all")))
	right := 0
	for i, r := range results {
		list, ok := r.predictions()
		if r.err != nil || r.outcome.Failed || !ok {
			fmt.Fprintf(w, "  %-18s %s\n", r.name, ink.red("failed"))
			continue
		}
		label, mark := list[0].label, ""
		if label == inputs[i].label {
			right++
		} else {
			mark = " ✗ not " + inputs[i].label
		}
		// Padded by hand: colours have no width, and "✗" is not three wide.
		gap := strings.Repeat(" ", max(10-len([]rune(label+mark)), 0))
		fmt.Fprintf(w, "  %-18s %s%s%s %10s %10s %10s\n", r.name, label, ink.red(mark), gap,
			percent(list[0].confidence), millis(r.outcome.Provenance.Queued), millis(r.took))
	}
	fmt.Fprintf(w, "\n%s\n\n", ink.bold(fmt.Sprintf("%d of %d right", right, len(results))))
}

func millis(d time.Duration) string {
	return fmt.Sprintf("%d ms", d.Round(time.Millisecond).Milliseconds())
}
