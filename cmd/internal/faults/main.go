//go:build linux

// Command faults is the fault rig: it runs real workers against real servers,
// has one thing after the other go wrong between them, and reads the buckets
// at the end. Every input must have exactly one terminal object with the right
// content, whatever happened. docs/faults.md tells what it does and found.
//
// `make faults` and `make faults-short` run it. It needs Linux.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	code := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// run is the whole program but for the process. It returns 1 when a promise
// was broken, or could not be looked at, and 2 when it was called wrongly.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	r := rig{out: stdout}
	f := flag.NewFlagSet("faults", flag.ContinueOnError)
	f.SetOutput(stderr)
	f.Uint64Var(&r.seed, "seed", uint64(time.Now().Unix()), "what all schedules follow from")
	only := f.String("only", "", "comma-separated `names` of the scenarios to run; default all of the form")
	list := f.Bool("list", false, "print the scenarios and, with -seed, their schedules")
	jobs := f.Bool("jobs", false, "the proof of batch jobs instead: see docs/batch.md")
	f.BoolVar(&r.short, "short", false, "the short form, of a few minutes: fewer inputs, shorter faults")
	f.IntVar(&r.parallel, "parallel", 3, "how many scenarios run at a `time`: mostly they wait")
	f.BoolVar(&r.markdown, "markdown", false, "print the table as Markdown")
	f.BoolVar(&r.keep, "keep", false, "keep logs, buckets and queues also when all went well")
	f.StringVar(&r.root, "root", ".", "the repository's `folder`, with bin/ and lib/ built")
	if err := f.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return 0
		}
		return 2
	}
	chosen, err := choose(*only, r.short)
	if err == nil && f.NArg() > 0 {
		err = fmt.Errorf("unexpected argument %q: see -h", f.Arg(0))
	}
	if err != nil {
		fmt.Fprintln(stderr, "faults:", err)
		return 2
	}
	if *list {
		r.list(chosen)
		return 0
	}
	prove := func(ctx context.Context) error { return r.run(ctx, chosen) }
	if *jobs {
		prove = r.proveJobs
	}
	if err := prove(ctx); err != nil {
		fmt.Fprintln(stderr, "faults:", err)
		return 1
	}
	return 0
}
