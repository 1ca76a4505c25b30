package main

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"strings"
	"time"

	"github.com/penstock/penstock/storage"
)

// Bounds of what one command has under way.
const (
	parallel = 16   // uploads at a time
	waiting  = 256  // results that are waited for at a time; each is looked for once a second
	window   = 1024 // inputs that are begun and not yet told of
)

// await runs work for each job and prints the results in the order of the jobs,
// and at the end what went wrong.
func await[J any](ctx context.Context, a *awaiting, jobs iter.Seq[J], work func(J) result) error {
	defer a.bar.close()
	if a.folder != nil {
		defer a.folder.close()
	}
	inOrder(until(ctx, jobs), window, func(job J) result {
		r := work(job)
		if r.err == nil && a.folder != nil && !a.uris {
			r.file, r.err = a.folder.write(ctx, a.store, r.path, r.outcome)
		}
		a.bar.didEnd(r.err != nil || r.outcome.Failed)
		return r
	}, func(_ J, r result) { a.bar.print(func() { a.take(ctx, r) }) })
	a.bar.close()
	return a.end(ctx)
}

// until is jobs, as long as ctx is not done.
func until[J any](ctx context.Context, jobs iter.Seq[J]) iter.Seq[J] {
	return func(yield func(J) bool) {
		for job := range jobs {
			if ctx.Err() != nil || !yield(job) {
				return
			}
		}
	}
}

// awaiting is what a verb that waits for many results prints, and what it keeps
// in mind of them: little of each, and of those that went well nothing.
type awaiting struct {
	*program
	store   storage.Reader
	options waitOptions
	folder  *folder // for results; nil when they are printed
	uris    bool    // print the inputs' URIs in place of results
	width   int     // of the column of names
	total   int     // 0 when it is not known
	bar     *bar

	done, failed int   // with a result; with none: a failure, trouble, or not in time
	bad          int64 // records that have an error in their place
	late         int   // of failed, those that are not in time, and go on
	code         int
	problems     []string
	unsaid       int // problems that are not among them
	pending      pending
	unsent       names // of inputs that an interruption kept from their upload
}

// maxProblems bounds what is told of at the end, one line each.
const maxProblems = 10_000

// take prints a result, or keeps in mind why there is none.
func (a *awaiting) take(ctx context.Context, r result) {
	if r.err == nil && !r.outcome.Failed && (a.folder == nil || a.uris) {
		r.err = a.print(ctx, r)
	}
	if a.folder != nil && !a.uris && a.options.format == formatJSON {
		if err := printLine(a.stdout, r.line()); err != nil && r.err == nil {
			r.err = err
		}
	}
	if r.err == nil && !r.outcome.Failed {
		a.done++
		a.bad += r.outcome.Provenance.BadRecords
		return
	}
	code, problem := a.explain(r)
	a.code = max(a.code, code)
	switch {
	case code == exitInterrupted && r.sent:
		a.pending.add(r)
		return
	case code == exitInterrupted:
		a.unsent.add(r.name)
		return
	case code == exitNoResult && r.sent:
		a.pending.add(r)
		a.late++
	}
	a.failed++
	if len(a.problems) == maxProblems {
		a.unsaid++
		return
	}
	a.problems = append(a.problems, problem.Error())
}

func (a *awaiting) print(ctx context.Context, r result) error {
	if a.uris {
		_, err := fmt.Fprintln(a.stdout, r.input)
		return err
	}
	if a.options.format == formatJSON {
		return r.write(ctx, a.stdout, a.store)
	}
	for _, line := range r.lines(a.width, a.ink(a.stdout)) {
		if _, err := fmt.Fprintln(a.stdout, line); err != nil {
			return fmt.Errorf("print the result: %w", err)
		}
	}
	return nil
}

// resultLine is what became of one input, for programs.
type resultLine struct {
	Name   string `json:"name"`
	Input  string `json:"input,omitempty"`
	State  string `json:"state"`            // succeeded, failed, pending (it goes on), or unsubmitted
	Result string `json:"result,omitempty"` // URI of the output or of the failure object
	File   string `json:"file,omitempty"`   // where it was written to, below -out
	Error  string `json:"error,omitempty"`

	Records    int64 `json:"records,omitempty"` // of an input of records, where its result counts them
	BadRecords int64 `json:"badRecords,omitempty"`
}

func (r result) line() resultLine {
	l := resultLine{Name: r.name, File: r.file}
	if r.sent {
		l.Input = r.input.String()
	}
	if r.outcome.Ref.Bucket != "" {
		l.Result = r.outcome.Ref.String()
	}
	switch {
	case r.err != nil && !r.sent:
		l.State = "unsubmitted"
	case r.outcome.Ref.Bucket == "":
		l.State = "pending"
	case r.outcome.Failed:
		l.State = "failed"
		l.Error = r.explained()
	default:
		l.State = "succeeded"
		l.Records, l.BadRecords = r.outcome.Provenance.Records, r.outcome.Provenance.BadRecords
	}
	if r.err != nil {
		l.Error = brief(r.err).Error()
	}
	return l
}

// end tells what went wrong and how to go on.
func (a *awaiting) end(ctx context.Context) error {
	for _, problem := range a.problems {
		a.say(errors.New(problem))
	}
	if a.unsaid > 0 {
		a.say(fmt.Errorf("and %d more", a.unsaid))
	}
	if errors.Is(context.Cause(ctx), errInterrupted) {
		return &exit{exitInterrupted, errors.New(a.interrupted())}
	}
	ends := a.done + a.failed
	switch {
	case a.folder != nil && !a.uris && a.options.format != formatJSON:
		line := fmt.Sprintf("%s in %s", plural(a.done, "result"), a.short(a.folder.root.Name()))
		if failed := a.failed - a.late; failed > 0 {
			line += fmt.Sprintf(", %d failed", failed)
		}
		if a.bad > 0 {
			line += fmt.Sprintf(", %s with an error in their place", plural(int(a.bad), "bad record"))
		}
		fmt.Fprintln(a.stdout, line)
	case ends > 1 && a.failed > a.late:
		a.say(fmt.Errorf("%d of %d failed", a.failed-a.late, ends))
	}
	if how := a.pending.goOn(a.self()); a.pending.count > 1 {
		a.say(fmt.Errorf("%d have no result yet and go on; wait for them: %s", a.pending.count, how))
	}
	if a.code != exitOK {
		return &exit{code: a.code}
	}
	return nil
}

// interrupted says what is left, and how to go on.
func (a *awaiting) interrupted() string {
	began := a.done + a.failed + a.pending.count + a.unsent.count
	lines := []string{"interrupted"}
	if a.total > 1 {
		lines[0] += fmt.Sprintf("; %d of %d are done", a.done+a.failed, a.total)
	}
	if n := a.pending.count; n > 0 {
		what := fmt.Sprintf("%d that are queued or running go on by themselves; wait for them: ", n)
		if n == 1 {
			what = "what is queued or running goes on by itself; wait for it: "
		}
		lines = append(lines, what+a.pending.goOn(a.self()))
	}
	if n := a.unsent.count + max(a.total-began, 0); n > 0 && a.options.uploads {
		what := a.unsent.String()
		if what != "" && n > a.unsent.count && !strings.HasSuffix(what, "…") {
			what += ", …"
		}
		if what != "" {
			what = " (" + what + ")"
		}
		lines = append(lines, fmt.Sprintf("%s not uploaded%s; run the same command with -skip-uploaded, which uploads what is missing", plural(n, "file"), what))
	}
	return strings.Join(lines, "\n")
}

// names are some of many.
type names struct {
	count int
	some  []string
}

const someNames = 3

func (n *names) add(name string) {
	n.count++
	if len(n.some) < someNames {
		n.some = append(n.some, name)
	}
}

func (n *names) String() string {
	s := strings.Join(n.some, ", ")
	if n.count > len(n.some) {
		s += ", …"
	}
	return s
}

// pending are inputs whose results are still to come.
type pending struct {
	names
	common string // what all their URIs begin with, to a slash
}

func (p *pending) add(r result) {
	uri := r.input.String()
	if r.input.Bucket == "" {
		uri = r.name // a request's id
	}
	if p.count == 0 {
		p.common = uri
	}
	for !strings.HasPrefix(uri, p.common) {
		p.common = p.common[:len(p.common)-1]
	}
	p.names.add(uri)
}

// goOn is the command that waits for them: by name, or when there are many, for
// all in the folder that they have in common.
func (p *pending) goOn(self string) string {
	if p.count <= len(p.some) || strings.Count(p.common, "/") < 3 || !strings.HasPrefix(p.common, "s3://") {
		return self + " wait " + quoteAll(p.some)
	}
	return self + " wait " + quoteAll([]string{p.common[:strings.LastIndex(p.common, "/")+1]})
}

// quoteAll writes words as a shell takes them.
func quoteAll(words []string) string {
	quoted := make([]string, len(words))
	for i, w := range words {
		quoted[i] = w
		if strings.ContainsFunc(w, func(c rune) bool {
			return (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && !strings.ContainsRune("/:._-,=+@%", c)
		}) {
			quoted[i] = "'" + strings.ReplaceAll(w, "'", `'\''`) + "'"
		}
	}
	return strings.Join(quoted, " ")
}

// newAwaiting begins to wait for total results, 0 when it is not known how many.
func (p *program) newAwaiting(store storage.Reader, options waitOptions, total, width int, bytes int64) (*awaiting, error) {
	a := &awaiting{program: p, store: store, options: options, total: total, width: width}
	if options.out != "" {
		f, err := openFolder(inDir(p.dir, options.out))
		if err != nil {
			return nil, usage("-out %s: %w", options.out, reason(err))
		}
		a.folder = f
	}
	a.bar = p.bar(total, bytes)
	return a, nil
}

// taking is how long something took.
func (r result) taking(since time.Time) result {
	r.took = time.Since(since)
	return r
}
