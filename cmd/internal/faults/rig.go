//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"
)

// rig runs scenarios, one after the other.
type rig struct {
	seed     uint64
	short    bool
	markdown bool
	keep     bool
	parallel int // scenarios at a time
	root     string

	mu  sync.Mutex // of out
	out io.Writer

	binaries, models string
	dir              string // logs and state
	began            time.Time
	start            *spawner
	servers          *servers
	linker           linker
	digits           []golden
}

// say writes a line of a scenario's progress.
func (r *rig) say(scenario, format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	fmt.Fprintf(r.out, "%6.1f s  %-12s  %s\n", time.Since(r.began).Seconds(), scenario, fmt.Sprintf(format, args...))
}

// choose gives the scenarios of the names, or those of the form.
func choose(only string, short bool) ([]scenario, error) {
	if only == "" {
		return slices.DeleteFunc(slices.Clone(scenarios), func(sc scenario) bool { return short && !sc.short }), nil
	}
	var chosen []scenario
	for name := range strings.SplitSeq(only, ",") {
		i := slices.IndexFunc(scenarios, func(sc scenario) bool { return sc.name == strings.TrimSpace(name) })
		if i < 0 {
			return nil, fmt.Errorf("there is no scenario %q: -list shows all", name)
		}
		chosen = append(chosen, scenarios[i])
	}
	return chosen, nil
}

// list prints scenarios and their schedules.
func (r *rig) list(chosen []scenario) {
	for _, sc := range chosen {
		fmt.Fprintf(r.out, "%s: %s\n", sc.name, sc.fault)
		for _, s := range r.schedule(sc) {
			fmt.Fprintf(r.out, "%7.1f s  %s\n", s.at.Seconds(), s)
		}
	}
}

// run runs the scenarios and prints the table. It returns an error when one
// failed.
func (r *rig) run(ctx context.Context, chosen []scenario) (err error) {
	r.began = time.Now()
	var names []string
	for _, sc := range chosen {
		names = append(names, bucketOf(sc))
	}
	if err := r.open(ctx, names); err != nil {
		return errors.Join(err, r.close())
	}
	fmt.Fprintf(r.out, "seed %d, logs in %s\n", r.seed, r.dir)
	trials := make([]*trial, len(chosen))
	var g errgroup.Group
	g.SetLimit(r.parallel)
	for i, sc := range chosen {
		g.Go(func() error {
			r.say(sc.name, "begins: %s", sc.fault)
			trials[i] = r.try(ctx, sc)
			trials[i].report(r)
			return nil
		})
	}
	_ = g.Wait() // the trials hold the errors
	var failed []string
	for _, t := range trials {
		if !t.passed() {
			failed = append(failed, t.scenario.name)
		}
	}
	fmt.Fprintf(r.out, "\nseed %d\n\n", r.seed)
	printTable(r.out, trials, r.markdown)
	for _, t := range trials { // again, where the end of a long log is all that is looked at
		t.explain(func(format string, args ...any) {
			fmt.Fprintf(r.out, "%s: %s\n", t.scenario.name, fmt.Sprintf(format, args...))
		})
	}
	if err := r.close(); err != nil {
		return err
	}
	switch {
	case ctx.Err() != nil:
		return errors.New("interrupted")
	case len(failed) > 0:
		return fmt.Errorf("%s failed; to repeat it: make %s SEED=%d ONLY=%s; logs, buckets and queues are kept in %s",
			strings.Join(failed, ", "), r.form(), r.seed, strings.Join(failed, ","), r.dir)
	}
	if r.keep {
		return nil
	}
	return os.RemoveAll(r.dir)
}

// form is the make target.
func (r *rig) form() string {
	if r.short {
		return "faults-short"
	}
	return "faults"
}

// open starts the servers, with a bucket and a queue of each name.
func (r *rig) open(ctx context.Context, names []string) error {
	// Processes that are made to abort would each leave gigabytes.
	if err := syscall.Setrlimit(syscall.RLIMIT_CORE, &syscall.Rlimit{}); err != nil {
		return fmt.Errorf("forbid core dumps: %w", err)
	}
	root, err := filepath.Abs(r.root)
	if err != nil {
		return err
	}
	r.binaries = filepath.Join(root, "bin")
	testdata := filepath.Join(root, "worker", "model", "testdata")
	r.models = testdata
	for _, name := range []string{"local", "worker"} {
		if _, err := os.Stat(filepath.Join(r.binaries, name)); err != nil {
			return fmt.Errorf("%w: run make build first", err)
		}
	}
	if r.digits, err = readDigits(filepath.Join(testdata, "digits")); err != nil {
		return err
	}
	if r.dir, err = os.MkdirTemp("", "penstock-faults-"); err != nil {
		return err
	}
	r.start, r.linker = newSpawner(), newLinker()
	r.servers, err = startServers(ctx, r.start, r.binaries, r.dir, names)
	return err
}

func (r *rig) close() error {
	var err error
	if r.servers != nil {
		err = r.servers.close()
	}
	if r.start != nil {
		r.start.close()
	}
	return err
}
