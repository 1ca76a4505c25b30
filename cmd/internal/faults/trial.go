//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// trial is one run of a scenario, with what came of it.
type trial struct {
	scenario scenario
	inputs   int
	times    string
	recovery time.Duration
	took     time.Duration
	levels   string // of memory and goroutines, before and after
	found    findings
	err      error // of the rig: it could not judge
}

func (t *trial) passed() bool { return t.err == nil && t.found.none() }

// Flags of all workers. The lease is short, so that what a dead worker held is
// soon back; batches are small, so that there is work to be interrupted.
var flags = []string{
	"-visibility-timeout", "6s", "-max-batch-size", "4", "-max-in-flight", "64", "-memory-limit", "256MiB",
	"-drain-timeout", "5s", "-run-timeout", "1m", "-addr", "127.0.0.1:0", "-log-level", "info",
}

// dice gives the random numbers for one purpose in one scenario, so that a
// scenario is the same whichever others run before it.
func (r *rig) dice(scenario, purpose string) *rand.Rand {
	h := fnv.New64a()
	fmt.Fprint(h, scenario, "/", purpose)
	return rand.New(rand.NewPCG(r.seed, h.Sum64()))
}

// schedule throws the dice for a scenario.
func (r *rig) schedule(sc scenario) []step {
	p := &plan{dice: r.dice(sc.name, "schedule"), short: r.short, workers: sc.workers}
	sc.plan(p)
	return p.steps
}

func bucketOf(sc scenario) string { return "faults-" + sc.name }

// try runs a scenario.
func (r *rig) try(ctx context.Context, sc scenario) *trial {
	t := &trial{scenario: sc}
	began := time.Now()
	f, err := r.prepare(ctx, sc)
	if err == nil {
		t.inputs = len(f.inputs)
		err = t.run(ctx, r, f)
	}
	err = errors.Join(err, f.close())
	if err == nil {
		t.judgeDeaths(f)
		err = f.verify(ctx, sc.copies, &t.found)
	}
	t.err = err
	t.took = time.Since(began)
	return t
}

// prepare uploads the inputs and starts the workers.
func (r *rig) prepare(ctx context.Context, sc scenario) (*field, error) {
	f := &field{bucket: bucketOf(sc), servers: r.servers, ledger: newLedger()}
	f.say = func(format string, args ...any) { r.say(sc.name, format, args...) }
	var err error
	if f.locations, err = locations(f.bucket); err != nil {
		return f, err
	}
	if f.s3Stage, err = stageBefore(r.servers.line.S3, r.seed, f.ledger.observe); err != nil {
		return f, err
	}
	if f.sqsStage, err = stageBefore(r.servers.line.SQS, r.seed, nil); err != nil {
		return f, err
	}
	n := sc.inputs
	if r.short {
		n /= 5
	}
	m := maker{dice: r.dice(sc.name, "inputs"), bucket: f.bucket, digits: r.digits}
	f.inputs = m.make(n, sc.special)
	f.feeder = &feeder{queue: r.servers.queue(f.bucket), dice: r.dice(sc.name, "messages"), left: f.inputs}
	if err := upload(ctx, r.servers.store, f.inputs); err != nil {
		return f, fmt.Errorf("upload the inputs: %w", err)
	}
	dir := filepath.Join(r.dir, sc.name)
	if err := os.Mkdir(dir, 0o755); err != nil {
		return f, err
	}
	f.fleet, err = startFleet(ctx, r.start, r.linker, upstreams{f.s3Stage.Addr(), f.sqsStage.Addr()}, sc.workers, dir, r.worker(f, sc))
	return f, err
}

// worker is the program of a scenario's workers.
func (r *rig) worker(f *field, sc scenario) program {
	line, l := r.servers.line, f.locations
	args := []string{
		"-queue-url", line.Queues[f.bucket], "-input", l.Inputs[0].String(), "-output", l.Output.String(), "-failure", l.Failure.String(),
		"-model", "faulty=" + filepath.Join(r.models, "faulty") + ",digits=" + filepath.Join(r.models, "digits") + ",string_echo=" + filepath.Join(r.models, "string_echo"),
	}
	return program{
		path: filepath.Join(r.binaries, "worker"),
		args: slices.Concat(args, flags, sc.settings),
		env:  append(os.Environ(), "AWS_REGION="+line.Region, "AWS_ACCESS_KEY_ID="+line.AccessKey, "AWS_SECRET_ACCESS_KEY="+line.SecretKey),
	}
}

// settling is how long the work may take once the faults are over: a request
// that met several rests for a minute or two before it is tried again.
const settling = 3 * time.Minute

// run has the workers do some work in peace, to see what they take, then goes
// through the schedule and waits for what was sent.
func (t *trial) run(ctx context.Context, r *rig, f *field) error {
	if err := f.wave(ctx, t.inputs/10); err != nil {
		return err
	}
	if missing, err := f.settled(ctx, settling); err != nil || missing != "" {
		return errors.Join(err, errors.New("before any fault: "+missing))
	}
	before, err := f.levels(ctx)
	if err != nil {
		return err
	}
	if err := f.run(ctx, r.schedule(t.scenario)); err != nil {
		return err
	}
	missing, err := f.settled(ctx, settling)
	if err != nil {
		return err
	}
	if missing != "" {
		t.found.add(&t.found.other, "%s", missing)
	}
	t.times, t.recovery = f.times(), f.recovery()
	if err := f.fleet.allWork(ctx); err != nil { // one may be coming back
		return err
	}
	return t.judgeLevels(ctx, f, before)
}

// times tells how often each fault has struck, or how long it lasted.
func (f *field) times() string {
	count := make(map[string]int)
	var order []string
	for _, e := range f.events {
		name := e.what
		if e.times == 1 && e.lasts > 0 {
			name = e.String()
		}
		if _, ok := count[name]; !ok {
			order = append(order, name)
		}
		count[name] += e.times
	}
	const most = 6
	if len(order) > most {
		return fmt.Sprintf("%d faults of %d kinds", len(f.events), len(order))
	}
	slices.Sort(order)
	for i, name := range order {
		if n := count[name]; n > 1 || !strings.Contains(name, " for ") {
			order[i] = fmt.Sprintf("%d × %s", n, name)
		}
	}
	return strings.Join(order, ", ")
}

// judgeDeaths reports workers that ended in a way that neither the rig nor an
// input is to answer for.
func (t *trial) judgeDeaths(f *field) {
	left := make(map[string]int)
	maps.Copy(left, t.scenario.deaths)
	for _, s := range f.fleet.slots {
		for _, e := range s.ends {
			switch {
			case e.last && e.how == "exit status 0", e.told && !e.last, !e.working && !e.last:
			case left[e.how] > 0:
				left[e.how]--
			default:
				t.found.add(&t.found.other, "%s ended by itself or badly: %s, at %s", s.name, e.how, e.at.Format(time.TimeOnly))
			}
		}
	}
}
