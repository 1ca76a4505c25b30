package main

import (
	"fmt"
	"slices"
	"strings"

	"github.com/dustin/go-humanize"

	"github.com/penstock/penstock/cmd/internal/inspection"
	"github.com/penstock/penstock/cmd/penstock/inspect"
)

// measured writes what runs of the model showed.
func (w *reportWriter) measured(m *inspection.Measured, r *inspect.Report) {
	w.line("\n%s", w.ink.bold(fmt.Sprintf("Run with TensorFlow %s on %s", m.TensorFlow, plural(m.Cores, "core"))))
	w.line("")
	if m.LoadSeconds > 0 {
		text := inspection.Duration(m.LoadSeconds)
		if m.WarmUpSeconds > 0 {
			text += fmt.Sprintf(", and %s for the first runs", inspection.Duration(m.WarmUpSeconds))
		}
		w.fact("loads in", "%s", text)
	}
	if text := memory(m.Memory); text != "" {
		w.fact("memory", "%s", text)
	}
	for _, s := range m.Signatures {
		w.runs(s)
	}
	if m.Error != "" {
		text := m.Error
		if len(r.Faults) > 0 { // which say it, and what to do, already
			text, _, _ = strings.Cut(text, ". ")
		}
		w.line("\n%s", w.ink.red("✗ "+text))
	}
	w.advice(m.Signatures)
}

func memory(m inspection.Memory) string {
	if m.Before == 0 {
		return ""
	}
	now := max(m.Loaded, m.WarmedUp)
	text := fmt.Sprintf("%s of it TensorFlow's", humanize.Bytes(uint64(m.Before)))
	if now > 0 {
		text = fmt.Sprintf("%s, %s", humanize.Bytes(uint64(now)), text)
	}
	if m.Peak > now {
		text += fmt.Sprintf("; at most %s", humanize.Bytes(uint64(m.Peak)))
	}
	return text
}

// runs writes the table of one signature.
func (w *reportWriter) runs(s inspection.Signature) {
	if len(s.Runs)+len(s.Skipped) == 0 && s.Error == "" {
		return // it was about to be run when the worker died
	}
	w.line("\n%s  on %s", w.ink.bold(s.Name), s.Input)
	for _, sh := range s.Shapes {
		if slices.Contains(s.Assumed, sh.Input) {
			w.line("  %s was run as %s, which is made up: say what is usual by -shape %s=…, or give a file by -input",
				sh.Input, inspection.FormatShape(sh.Shape), sh.Input)
		}
	}
	if len(s.Runs) > 0 {
		w.line("  %s", w.ink.faint(fmt.Sprintf("%6s  %10s  %10s  %10s  %8s", "rows", "median", "p99", "rows/s", "runs")))
	}
	best := 0.0
	for _, r := range s.Runs {
		best = max(best, r.RowsPerSecond)
	}
	for _, r := range s.Runs {
		text := fmt.Sprintf("%6d  %10s  %10s  %10s  %8s", r.Rows, inspection.Duration(r.MedianSeconds),
			inspection.Duration(r.P99Seconds), inspection.Number(r.RowsPerSecond), humanize.Comma(int64(r.Times)))
		bar := ""
		if w.bars {
			bar = "  " + strings.Repeat("█", int(20*r.RowsPerSecond/best+0.5))
		}
		if s.Recommended != nil && r.Rows == s.Recommended.Rows {
			text, bar = w.ink.bold(text), w.ink.green(bar)
		}
		w.line("  %s%s", text, bar)
	}
	for _, skipped := range s.Skipped {
		w.line("  %6d  not run: %s", skipped.Rows, skipped.Reason)
	}
	if s.Error != "" {
		w.line("  %s", w.ink.red("✗ "+s.Error))
		if s.Input == inspection.MadeUp {
			w.line("    That need not matter: the input was made up. Give a real one by -input FILE.")
		}
	}
	if s.Recommended != nil {
		w.line("  recommended: %s", w.ink.bold(inspection.Rows(s.Recommended.Rows))+", "+s.Recommended.Reason)
	}
}

// workersBatch is the worker's own -max-batch-size.
const workersBatch = 32

// advice says where to set what is recommended.
func (w *reportWriter) advice(list []inspection.Signature) {
	for _, s := range list {
		if s.Recommended == nil || len(s.Runs) < 2 || s.Recommended.Rows == workersBatch {
			continue
		}
		w.line("\nThe worker's batches have up to %d rows: -max-batch-size, or max_batch_size in the model's penstock.json, sets another number.", workersBatch)
		return
	}
}
