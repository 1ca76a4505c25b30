package main

import (
	"bytes"
	"fmt"
	"slices"
	"strings"

	"github.com/dustin/go-humanize"

	"github.com/penstock/penstock/cmd/internal/inspection"
	"github.com/penstock/penstock/cmd/penstock/inspect"
)

// reportWriter writes a report on a model as people read it.
type reportWriter struct {
	bytes.Buffer
	ink  ink
	bars bool // draw throughputs, too
}

func (w *reportWriter) line(format string, args ...any) { fmt.Fprintf(w, format+"\n", args...) }

// fact is one line of the head of the report.
func (w *reportWriter) fact(name, format string, args ...any) {
	w.line("  %s  %s", w.ink.faint(fmt.Sprintf("%-11s", name)), fmt.Sprintf(format, args...))
}

// report writes all of it. short makes a path readable.
func (w *reportWriter) report(r *inspect.Report, short func(string) string) {
	w.head(r, short)
	for _, s := range r.Signatures {
		w.signature(s, r)
	}
	for _, reason := range r.LeftOut {
		w.line("\n%s", w.ink.red("left out: "+reason))
	}
	if m := r.Measured; m != nil {
		w.measured(m, r)
	} else {
		w.line("\nNot run: %s.", r.NotMeasured)
	}
}

func (w *reportWriter) head(r *inspect.Report, short func(string) string) {
	title := r.Name
	if r.Version != "" {
		title += ", version " + r.Version
	}
	w.line("%s", w.ink.bold(title))
	for _, fault := range r.Faults {
		w.line("%s", w.ink.red("✗ it can't be served: "+fault))
	}
	w.line("")
	w.fact("from", "%s", short(r.URI))
	if text := versions(r); text != "" {
		w.fact("versions", "%s", text)
	}
	tags := make([]string, len(r.Tags))
	for i, set := range r.Tags {
		tags[i] = "{" + strings.Join(set, ", ") + "}"
	}
	wrote := "an unknown version of TensorFlow"
	if r.TensorFlow != "" {
		wrote = "TensorFlow " + r.TensorFlow
	}
	w.fact("written by", "%s, tags %s", wrote, strings.Join(tags, " "))
	w.fact("size", "%s", size(r.Size))
	w.fact("parameters", "%s", parameters(r.Parameters))
	w.fact("model file", "%s", modelFile(r.ModelFile))
	if r.WarmUpFile > 0 {
		w.fact("warm-up", "%s of requests in assets.extra", humanize.Bytes(uint64(r.WarmUpFile)))
	} else {
		w.fact("warm-up", "no requests in assets.extra; the worker makes some up")
	}
}

// versions lists them, when there are several.
func versions(r *inspect.Report) string {
	if len(r.Versions) < 2 {
		return ""
	}
	var list []string
	for _, v := range r.Versions {
		text := v.Name
		if v.Name == r.Version {
			text += " (this one)"
		}
		if v.Missing != "" {
			text += fmt.Sprintf(" (not whole: it lacks %s)", v.Missing)
		}
		list = append(list, text)
	}
	return strings.Join(list, ", ")
}

func size(s inspect.Size) string {
	parts := []string{"graph " + humanize.Bytes(uint64(s.Graph))}
	for _, p := range []struct {
		name  string
		bytes int64
	}{{"variables", s.Variables}, {"assets", s.Assets}} {
		if p.bytes > 0 {
			parts = append(parts, p.name+" "+humanize.Bytes(uint64(p.bytes)))
		}
	}
	return fmt.Sprintf("%s (%s), %s operations", humanize.Bytes(uint64(s.Total)), strings.Join(parts, ", "), humanize.Comma(int64(s.Operations)))
}

func parameters(p inspect.Parameters) string {
	if p.Variables == 0 {
		return "none in variables; if it has any, they are constants of the graph"
	}
	text := fmt.Sprintf("%s in %s", humanize.Comma(p.Count), plural(p.Variables, "variable"))
	if p.Unknown > 0 {
		text = fmt.Sprintf("at least %s: %d have no known shape", text, p.Unknown)
	}
	return text
}

func plural(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return humanize.Comma(int64(n)) + " " + what + "s"
}

func modelFile(f *inspect.ModelFile) string {
	if f == nil {
		return "no penstock.json: results are plain numbers, images are refused"
	}
	sets := make([]string, len(f.Sets))
	for i, name := range f.Sets {
		if sets[i] = name; name == "labels" && f.Labels > 0 {
			sets[i] = fmt.Sprintf("labels (%d)", f.Labels)
		}
	}
	text := f.Path
	if len(sets) > 0 {
		text += ": " + strings.Join(sets, ", ")
	}
	if len(f.Faults) > 0 {
		text += "; faulty, see above"
	}
	return text
}

func (w *reportWriter) signature(s inspect.Signature, r *inspect.Report) {
	if same := twin(s, r.Signatures); same != "" {
		w.line("\n%s  the same inputs and outputs as %s", w.ink.bold(s.Name), same)
		return
	}
	w.line("\n%s  %s", w.ink.bold(s.Name), batches(s.Batch))
	width := 0
	for _, t := range slices.Concat(s.Inputs, s.Outputs) {
		width = max(width, len(t.Name))
	}
	for _, t := range s.Inputs {
		w.line("  %s  %-*s  %-7s %s", w.ink.faint("in "), width, t.Name, t.DType, shape(t.Shape))
	}
	for _, t := range s.Outputs {
		w.line("  %s  %-*s  %-7s %s", w.ink.faint("out"), width, t.Name, t.DType, shape(t.Shape))
	}
}

// twin is the name of a signature with the same inputs and outputs that is
// described in full; empty when this one is.
func twin(s inspect.Signature, all []inspect.Signature) string {
	equal := func(a, b inspect.Tensor) bool {
		return a.Name == b.Name && a.DType == b.DType && slices.Equal(a.Shape, b.Shape) && (a.Shape == nil) == (b.Shape == nil)
	}
	like := func(o inspect.Signature) bool {
		return slices.EqualFunc(o.Inputs, s.Inputs, equal) && slices.EqualFunc(o.Outputs, s.Outputs, equal)
	}
	i := slices.IndexFunc(all, func(o inspect.Signature) bool { return o.Name == inspection.DefaultSignature && like(o) })
	if i < 0 {
		i = slices.IndexFunc(all, like)
	}
	if i < 0 || all[i].Name == s.Name {
		return ""
	}
	return all[i].Name
}

func batches(b inspect.Batch) string {
	switch b.Kind {
	case inspect.FixedBatch:
		return fmt.Sprintf("runs in batches of exactly %s; fewer are filled up", inspection.Rows(int(b.Rows)))
	case inspect.NoBatch:
		return "runs row by row, not in batches: " + b.Why
	}
	return "runs in batches of any size"
}

func shape(dims []int64) string {
	if dims == nil {
		return "any shape"
	}
	return inspection.FormatShape(dims)
}
