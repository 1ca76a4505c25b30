package main

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/fstest"
	"time"

	"github.com/urfave/cli/v3"

	"github.com/penstock/penstock/cmd/internal/settings"
	"github.com/penstock/penstock/queue/mem"
	"github.com/penstock/penstock/queue/request"
	"github.com/penstock/penstock/storage"
	memstore "github.com/penstock/penstock/storage/mem"
)

var update = flag.Bool("update", false, "write the golden files anew")

// places are the settings that most tests use.
var places = map[string]string{
	"PENSTOCK_INPUT": "s3://penstock/in/", "PENSTOCK_OUTPUT": "s3://penstock/out/", "PENSTOCK_FAILURE": "s3://penstock/failed/",
}

// console is a program with its surroundings in memory, and what it wrote.
type console struct {
	*program
	stdout, stderr bytes.Buffer
	vars           map[string]string // the environment
	store          *worked
	queue, dead    *mem.Queue
}

func setup(t *testing.T, vars map[string]string) *console {
	t.Helper()
	dead := mem.New(mem.Options{Name: "dead"})
	c := &console{vars: maps.Clone(vars), store: newWorked(t), queue: mem.New(mem.Options{DeadLetter: dead}), dead: dead}
	if c.vars == nil {
		c.vars = map[string]string{}
	}
	dir := t.TempDir()
	c.program = &program{
		stdin: strings.NewReader(""), stdout: &c.stdout, stderr: &c.stderr,
		env:    func(name string) (string, bool) { v, ok := c.vars[name]; return v, ok },
		setenv: func(name, value string) error { c.vars[name] = value; return nil },
		dir:    dir, bin: filepath.Join(dir, "bin"), hard: context.Background(),
		open: func(context.Context) (services, error) {
			return services{
				store: c.store, queue: c.queueOf, now: time.Now,
				region: "mem", skew: func() time.Duration { return 0 },
				deadLetterURL: func(context.Context, string) (string, error) { return deadURL, nil },
			}, nil
		},
		images: func(string) (fs.FS, error) { return fstest.MapFS{}, nil },
	}
	return c
}

// deadURL is that of the dead-letter queue.
const deadURL = "http://sqs/000000000000/dead"

// other is another queue that has the same dead-letter queue.
func (c *console) other(t *testing.T) *mem.Queue {
	t.Helper()
	return mem.New(mem.Options{Name: "other", DeadLetter: c.dead, MaxReceiveCount: 1})
}

func (c *console) queueOf(url string) messageQueue {
	if url == deadURL {
		return c.dead
	}
	return c.queue
}

// file writes a file into the directory that the program works in.
func (c *console) file(t *testing.T, name, content string) string {
	t.Helper()
	path := filepath.Join(c.dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
	return name
}

// unforked keeps all tests from starting processes while f runs, which starts
// none itself: a child has copies of this process's open files until it runs its
// own program. With one a program that has just been written is busy, a lock
// that was released is held, and a port has two processes.
func unforked(f func()) {
	syscall.ForkLock.RLock()
	defer syscall.ForkLock.RUnlock()
	f()
}

// call runs one command line. What it wrote is that of this call alone.
func (c *console) call(t *testing.T, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	c.stdout.Reset()
	c.stderr.Reset()
	code = c.run(t.Context(), args)
	return code, c.stdout.String(), c.stderr.String()
}

// worked is a store with a worker behind it, which is done with an input as
// soon as it is there. What it makes of it follows from the input's name.
type worked struct {
	*memstore.Store
	locations request.Locations
	mu        sync.Mutex
	puts      map[string]storage.PutOptions // of inputs, by key
	cured     atomic.Bool                   // nothing is bad any more
	stuck     context.Context               // ends uploads of what is stuck
}

func newWorked(t *testing.T) *worked {
	t.Helper()
	locations, err := request.ParseLocations(places["PENSTOCK_INPUT"], places["PENSTOCK_OUTPUT"], places["PENSTOCK_FAILURE"], "")
	if err != nil {
		t.Fatal(err)
	}
	return &worked{Store: memstore.New("penstock"), locations: locations, puts: map[string]storage.PutOptions{}}
}

var errAway = errors.New("the network is down")

func (w *worked) Put(ctx context.Context, ref storage.Ref, body []byte, opts storage.PutOptions) (storage.Info, error) {
	if strings.Contains(ref.Key, "unreachable") {
		return storage.Info{}, errAway
	}
	if strings.Contains(ref.Key, "stuck") {
		<-w.stuck.Done()
		return storage.Info{}, w.stuck.Err()
	}
	info, err := w.Store.Put(ctx, ref, body, opts)
	if err != nil || !w.locations.Inputs[0].Contains(ref) {
		return info, err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.puts[ref.Key] = opts
	found, err := w.Head(ctx, ref)
	if err != nil {
		return info, err
	}
	return info, w.work(ctx, found, string(body))
}

// work commits what the input's name asks for.
func (w *worked) work(ctx context.Context, input storage.Info, content string) error {
	r := request.Request{Input: input.Ref}
	place, body, contentType := w.locations.OutputOf(r), "", "application/json"
	switch name := input.Ref.Key; {
	case strings.Contains(name, "slow"):
		return nil
	case !w.cured.Load() && (strings.Contains(name, "bad") || content == "bad"):
		place = w.locations.FailureOf(r)
		body = string(request.Failure{Error: request.Problem{Code: "InvalidShape", Message: "the shape is [1]", Hint: "give 28 by 28 pixels"}}.JSON())
	case strings.HasSuffix(name, ".npy"):
		body, contentType = "NUMPY", "application/x-npy"
	case strings.HasSuffix(name, ".json"):
		body = `{"predictions": [[0.25, 0.75]]}`
	default:
		body = fmt.Sprintf(`{"predictions":[{"label":%q,"confidence":0.998,"scores":{}}]}`, content)
	}
	return w.commit(ctx, input, place, body, contentType)
}

// commit writes a terminal object as a worker does, unless there is one.
func (w *worked) commit(ctx context.Context, input storage.Info, place storage.Ref, body, contentType string) error {
	p := request.Provenance{Identity: request.Request{Input: input.Ref}.Identify(input), Input: input.Ref, InputETag: input.ETag}
	if strings.HasSuffix(input.Ref.Key, "half.jsonl") {
		p.Records, p.BadRecords = 4, 2
	}
	if there, err := w.Head(ctx, place); err == nil {
		if old, _ := request.ParseProvenance(there.Metadata); old.Identity == p.Identity {
			return nil
		}
	}
	_, err := w.Store.Put(ctx, place, []byte(body), storage.PutOptions{ContentType: contentType, Metadata: p.Metadata(place)})
	return err
}

// verbs are those of a command, the command itself first, which is "".
func verbs(cmd *cli.Command, name string) []string {
	list := []string{name}
	for _, c := range cmd.Commands {
		if !c.Hidden {
			list = append(list, verbs(c, strings.TrimSpace(name+" "+c.Name))...)
		}
	}
	return list
}

func TestHelp(t *testing.T) {
	t.Parallel()
	for _, verb := range verbs(setup(t, nil).command(), "") {
		t.Run("of "+verb, func(t *testing.T) {
			t.Parallel()
			c := setup(t, nil)
			args := strings.Fields(verb + " -h")
			code, got, stderr := c.call(t, args...)
			if code != exitOK || stderr != "" {
				t.Errorf("exit code %d, standard error %q", code, stderr)
			}
			golden := filepath.Join("testdata", "help", "penstock"+strings.TrimRight("-"+strings.ReplaceAll(verb, " ", "-"), "-")+".txt")
			compare(t, golden, got)
			if verb == "" {
				return
			}
			if _, other, _ := c.call(t, append([]string{"help"}, strings.Fields(verb)...)...); other != got {
				t.Errorf("penstock help %s says something else:\n%s", verb, other)
			}
		})
	}
}

// variables are those that a command's flags are mirrored by.
func variables(cmd *cli.Command) (list []string) {
	for _, f := range cmd.Flags {
		if d, ok := f.(cli.DocGenerationFlag); ok {
			list = append(list, d.GetEnvVars()...)
		}
	}
	for _, c := range cmd.Commands {
		list = append(list, variables(c)...)
	}
	return list
}

func TestEverySettingIsKnown(t *testing.T) {
	t.Parallel()
	list := append(variables(setup(t, nil).command()), varToken)
	for _, name := range list {
		if !settings.IsKnown(name) {
			t.Errorf("%s is read, and would be warned of", name)
		}
	}
	if len(list) < 30 {
		t.Errorf("only %d variables are found: %q", len(list), list)
	}
}

func TestWrongCommandLines(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		args string
		want string // standard error
	}{
		{"version", `penstock: "version" is no command; see penstock -h`},
		{"batch list", `penstock: "list" is no command; see penstock batch -h`},
		{"sbumit a.png", `penstock: "sbumit" is no command; did you mean "submit"? See penstock -h`},
		{"-queue", "penstock: there is no flag -queue; see penstock -h"},
		{"submit", "penstock: submit: no file is given; see penstock submit -h"},
		{"submit -colour a.png", "penstock: submit: there is no flag -colour; see penstock submit -h"},
		{"submit a.png -timeout soon", `penstock: submit: -timeout is "soon"; it must be a time such as 30s, 5m or 2h; see penstock submit -h`},
		{"submit a.png -timeout -1s -o xml", "penstock: submit: -timeout is -1s; it must be more than 0\npenstock: submit: -o is \"xml\"; it must be table or json"},
		{"submit a.png -ttl never", `penstock: submit: penstock-ttl is "never"; it must be a number of seconds or a duration such as 90m`},
		{"submit a.png b.png -key c", "penstock: submit: -key names one object, but there are 2 files; use -prefix"},
		{"wait", "penstock: wait: no URI or id is given; see penstock wait -h"},
		{"wait s3://other/a s3://penstock/in/", "penstock: s3://other/a: it lies in no input location (s3://penstock/in/); give the URI of what was uploaded"},
		{"get s3://penstock/in/", "penstock: get: s3://penstock/in/ names no object"},
		{"wait s3://penstock/in/none/", "penstock: s3://penstock/in/none/: there is no input below it"},
		{"get s3://penstock/in/a s3://penstock/in/b", "penstock: get: it prints one object, but 2 URIs are given; use wait -o json, or wait -out"},
		{"get s3://penstock/in/none", "penstock: s3://penstock/in/none: there is no such object, and no result of one"},
		{"demo now", `penstock: demo: it takes no arguments, but "now" is given`},
		{"reconcile all -older-than -1s -o xml", "penstock: reconcile: it takes no arguments, but \"all\" is given; see penstock reconcile -h\n" +
			"penstock: reconcile: -older-than is -1s; it can't be negative\npenstock: reconcile: -o is \"xml\"; it must be table or json\n" +
			"penstock: reconcile: queue-url: no queue is given; it looks like https://sqs.REGION.amazonaws.com/ACCOUNT/NAME"},
		{"clean all", `penstock: clean: it takes no arguments, but "all" is given; see penstock clean -h`},
		{"local -s3-port x", `penstock: local: -s3-port is "x"; it must be a whole number; see penstock local -h`},
		{"local here", `penstock: local: it takes no arguments, but "here" is given; see penstock local -h`},
	} {
		t.Run(test.args, func(t *testing.T) {
			t.Parallel()
			c := setup(t, places)
			code, stdout, stderr := c.call(t, strings.Fields(test.args)...)
			if code != exitUsage || stdout != "" || strings.TrimSpace(stderr) != test.want {
				t.Errorf("exit code %d, standard output %q, standard error\n%s\nwant\n%s", code, stdout, stderr, test.want)
			}
		})
	}
}

func TestThatNothingIsSetIsToldOnce(t *testing.T) {
	t.Parallel()
	for _, verb := range []string{"submit a.png", "status s3://b/k", "doctor", "reconcile", "batch status", "cancel a"} {
		c := setup(t, nil)
		c.file(t, "a.png", "7")
		code, _, stderr := c.call(t, strings.Fields(verb)...)
		if code != exitUsage || !strings.HasPrefix(stderr, "penstock: no settings: ") || strings.Count(stderr, "\n") != 1 {
			t.Errorf("%s: exit code %d, standard error %q", verb, code, stderr)
		}
	}
}

func TestSettingsComeFromFlagsThenTheEnvironmentThenTheFile(t *testing.T) {
	t.Parallel()
	withFile := func(t *testing.T, vars map[string]string) *console {
		c := setup(t, vars)
		err := settings.WriteFile(filepath.Join(c.dir, settings.FileName), "", map[string]string{
			"PENSTOCK_INPUT": "s3://penstock/in/", "PENSTOCK_OUTPUT": "s3://penstock/out/", "PENSTOCK_FAILURE": "s3://penstock/failed/",
			"AWS_REGION": "us-east-1",
		})
		if err != nil {
			t.Fatal(err)
		}
		c.file(t, "a.png", "7")
		return c
	}
	for _, test := range []struct {
		name string
		vars map[string]string
		args string
		want string
	}{
		{"the file", nil, "submit -no-wait a.png", "s3://penstock/in/a.png\n"},
		{"the environment before the file", map[string]string{"PENSTOCK_INPUT": "s3://penstock/env"}, "submit -no-wait a.png", "s3://penstock/env/a.png\n"},
		{"a flag before both", map[string]string{"PENSTOCK_INPUT": "s3://penstock/env"}, "submit -no-wait a.png --input s3://penstock/flag/", "s3://penstock/flag/a.png\n"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			c := withFile(t, test.vars)
			code, stdout, stderr := c.call(t, strings.Fields(test.args)...)
			if code != exitOK || stdout != test.want || stderr != "" {
				t.Errorf("exit code %d, standard output %q, want %q, standard error %q", code, stdout, test.want, stderr)
			}
			if c.vars["AWS_REGION"] != "us-east-1" {
				t.Errorf("AWS_REGION is %q, want that of the file", c.vars["AWS_REGION"])
			}
		})
	}
}

func TestMissingSettingsSayWhatToDo(t *testing.T) {
	t.Parallel()
	c := setup(t, nil)
	c.file(t, "a.png", "7")
	code, _, stderr := c.call(t, "submit", "a.png")
	if code != exitUsage || !strings.Contains(stderr, "start local mode here (bin/penstock local)") || strings.Count(stderr, "\n") != 1 {
		t.Errorf("exit code %d, standard error %q", code, stderr)
	}
}

func TestAllFaultsOfTheSettingsAreReportedAtOnce(t *testing.T) {
	t.Parallel()
	c := setup(t, map[string]string{"PENSTOCK_INPUT": "in", "PENSTOCK_OUTPUT": "s3://x"})
	c.file(t, "a.png", "7")
	code, _, stderr := c.call(t, "submit", "a.png")
	for _, want := range []string{"penstock: input: ", "penstock: output: ", "penstock: failure: "} {
		if code != exitUsage || !strings.Contains(stderr, want) {
			t.Errorf("exit code %d, standard error does not say %q:\n%s", code, want, stderr)
		}
	}
}

func TestABrokenSettingsFileIsReported(t *testing.T) {
	t.Parallel()
	c := setup(t, places)
	c.file(t, "a.png", "7")
	c.file(t, settings.FileName, "nonsense\n")
	if code, _, stderr := c.call(t, "submit", "a.png"); code != exitUsage || !strings.Contains(stderr, `env:1: "nonsense" is not NAME=VALUE`) {
		t.Errorf("exit code %d, standard error %q", code, stderr)
	}
}
