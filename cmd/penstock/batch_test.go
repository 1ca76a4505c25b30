package main

import (
	"context"
	"encoding/json"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/smithy-go"

	"github.com/penstock/penstock/queue"
	"github.com/penstock/penstock/queue/request"
	"github.com/penstock/penstock/storage"
	"github.com/penstock/penstock/worker/job"
)

// bench is a console with objects below in/batch/, which no worker has seen.
func bench(t *testing.T, keys ...string) *console {
	t.Helper()
	vars := maps.Clone(places)
	vars["PENSTOCK_QUEUE_URL"] = "http://127.0.0.1:1/0/penstock"
	c := setup(t, vars)
	for _, key := range keys {
		// Below the worker that does at once what is uploaded.
		if _, err := c.store.Store.Put(t.Context(), storage.Ref{Bucket: "penstock", Key: "in/batch/" + key}, []byte("x"), storage.PutOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	return c
}

// work does what of jobs is in the queue: whoever is called bad fails.
func (c *console) work(t *testing.T) {
	t.Helper()
	l := c.store.locations
	books := &job.Books{Store: c.store, Locations: l}
	for {
		messages, err := c.queue.Receive(t.Context(), 1, time.Minute, 0)
		if err != nil {
			t.Fatal(err)
		}
		if len(messages) == 0 {
			return
		}
		requests, err := request.Decode(messages[0].Body)
		if err != nil {
			t.Fatal(err)
		}
		first := requests[0].Job
		cancelled, err := books.Cancelled(t.Context(), first.ID)
		if err != nil {
			t.Fatal(err)
		}
		var verdicts []job.Verdict
		for _, r := range requests {
			v := job.Verdict{Item: r.Job.Item, Fate: job.Cancelled}
			ref, body := l.OutputOf(r), []byte(`{"predictions":[1]}`)
			if !cancelled {
				v.Fate = job.Succeeded
			}
			if strings.Contains(r.Input.Key, "bad") && !cancelled {
				v.Fate = job.Failed
				ref, body = l.FailureOf(r), request.Failure{Input: r.Input.String(), Error: request.Problem{Code: "ModelError", Message: "the model refuses it"}}.JSON()
			}
			if !cancelled {
				if _, err := c.store.Put(t.Context(), ref, body, storage.PutOptions{}); err != nil {
					t.Fatal(err)
				}
			}
			verdicts = append(verdicts, v)
		}
		if err := books.Settled(t.Context(), first.ID, job.Part{Number: first.Part, Items: first.Items}, verdicts); err != nil {
			t.Fatal(err)
		}
		c.queue.Delete(t.Context(), messages...)
	}
}

const batchURI = "s3://penstock/in/batch/"

func TestBatchFromSubmitToResults(t *testing.T) {
	t.Parallel()
	c := bench(t, "a.json", "bad.json", "deep/b.json", "notes.md")
	code, stdout, stderr := c.call(t, "batch", "submit", "-id", "one", "-exclude", "*.md", batchURI)
	if code != exitOK || stdout != "one\n" || !strings.Contains(stderr, "3 objects in 1 message") {
		t.Fatalf("submit: exit code %d, %q, %q", code, stdout, stderr)
	}
	if code, stdout, _ := c.call(t, "batch", "status", "one"); code != exitNoResult || !strings.Contains(stdout, "running") {
		t.Errorf("status of a running job: exit code %d\n%s", code, stdout)
	}
	c.work(t)
	code, stdout, stderr = c.call(t, "batch", "watch", "one")
	if code != exitFailed || !strings.Contains(stdout, "succeeded  2\n") || !strings.Contains(stdout, "ModelError: the model refuses it") || stderr != "" {
		t.Errorf("watch: exit code %d, %s%s", code, stdout, stderr)
	}
	code, stdout, _ = c.call(t, "batch", "results", "one", "-dir", "results")
	failed := "failed     s3://penstock/in/batch/bad.json  ModelError: the model refuses it\n"
	if code != exitOK || stdout != failed {
		t.Errorf("results -dir: exit code %d\n%s", code, stdout)
	}
	if _, _, stderr := c.call(t, "batch", "results", "one", "-dir", "results"); stderr != "penstock: wrote 0 files; 4 there already\n" {
		t.Errorf("results -dir again: standard error %q", stderr)
	}
	code, stdout, _ = c.call(t, "batch", "results", "one")
	want := "succeeded  s3://penstock/out/jobs/one/batch/a.json.out  19 B\n" +
		"succeeded  s3://penstock/out/jobs/one/batch/deep/b.json.out  19 B\n" + failed
	if code != exitOK || stdout != want {
		t.Errorf("results: exit code %d\n%s", code, stdout)
	}
	for _, name := range []string{"batch/a.json.out", "batch/deep/b.json.out", "batch/bad.json-error.out", "summary.json"} {
		if b, err := os.ReadFile(filepath.Join(c.dir, "results", name)); err != nil || len(b) == 0 {
			t.Errorf("%s was not written: %v", name, err)
		}
	}
	if code, stdout, _ := c.call(t, "batch", "results", "one", "-failed", "-o", "json"); code != exitOK || !json.Valid([]byte(stdout)) || !strings.Contains(stdout, `"code":"ModelError"`) {
		t.Errorf("results -o json: exit code %d\n%s", code, stdout)
	}
	if code, stdout, _ := c.call(t, "batch", "status"); code != exitOK || !strings.Contains(stdout, "one  failed") {
		t.Errorf("status of all: exit code %d\n%s", code, stdout)
	}
}

// silent is a queue that can't be asked.
type silent struct {
	messageQueue
	err error
}

func (q silent) Attributes(context.Context) (queue.Attributes, error) {
	return queue.Attributes{}, q.err
}

func TestBatchSubmitTellsAtOnceOfAQueueThatIsNotThere(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		err  error
		code int
		want string
	}{
		{fs.ErrNotExist, exitUsage, "there is no queue http://127.0.0.1:1/0/penstock: make it, or correct -batch-queue-url"},
		{errAway, exitTrouble, "the queue http://127.0.0.1:1/0/penstock: the network is down"},
		{&smithy.GenericAPIError{Code: "AccessDenied"}, exitOK, "1 object in 1 message"}, // who may only send may not ask
	} {
		c := bench(t, "a.json")
		open := c.open
		c.open = func(ctx context.Context) (services, error) {
			s, err := open(ctx)
			s.queue = func(string) messageQueue { return silent{c.queue, test.err} }
			return s, err
		}
		if code, _, stderr := c.call(t, "batch", "submit", "-id", "one", batchURI); code != test.code || !strings.Contains(stderr, test.want) {
			t.Errorf("%v: exit code %d, %s", test.err, code, stderr)
		}
	}
}

func TestBatchSubmitTwiceGoesOnAndAnotherJobOfTheNameIsRefused(t *testing.T) {
	t.Parallel()
	c := bench(t, "a")
	c.call(t, "batch", "submit", "-id", "one", batchURI)
	if code, _, stderr := c.call(t, "batch", "submit", "-id", "one", batchURI); code != exitOK || c.queued(t) != 1 {
		t.Errorf("again: exit code %d, %d messages; %s", code, c.queued(t), stderr)
	}
	code, _, stderr := c.call(t, "batch", "submit", "-id", "one", "-model", "other", batchURI)
	if code != exitUsage || !strings.Contains(stderr, `penstock: model: none there, "other" here`) {
		t.Errorf("another: exit code %d, %s", code, stderr)
	}
}

func TestWatchTellsSoonOfTheEndOfASmallJobAndLooksLessOftenAtALongOne(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := bench(t, "a")
		c.call(t, "batch", "submit", "-id", "one", batchURI)
		time.AfterFunc(200*time.Millisecond, func() { c.work(t) })
		began := time.Now()
		code, _, stderr := c.call(t, "batch", "watch", "one")
		if took := time.Since(began); code != exitOK || took > 500*time.Millisecond || strings.Count(stderr, "\n") != 1 {
			t.Errorf("exit code %d after %v, standard error\n%s", code, took, stderr)
		}
		c.call(t, "batch", "submit", "-id", "two", batchURI)
		time.AfterFunc(time.Minute, func() { c.work(t) })
		code, _, stderr = c.call(t, "batch", "watch", "two")
		if lines := strings.Count(stderr, "\n"); code != exitOK || lines < 5 || lines > 7 {
			t.Errorf("exit code %d, %d lines in a minute, want one every ten seconds", code, lines)
		}
	})
}

func TestWhoWatchesAJobOfWhichNothingEndsIsToldOnceWhatToDo(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := bench(t, "a")
		time.AfterFunc(5*time.Minute, func() { c.work(t) })
		code, _, stderr := c.call(t, "batch", "submit", "-id", "one", "-wait", batchURI)
		const told = "penstock: nothing has ended in the last minute: see whether workers are there (bin/penstock doctor); what was lost with a queue, or is among its dead letters, is sent again by: bin/penstock batch resume one\n"
		if code != exitOK || strings.Count(stderr, told) != 1 || strings.Index(stderr, told) > len(stderr)/2 {
			t.Errorf("exit code %d, standard error\n%s", code, stderr)
		}
	})
}

func TestWhoStopsWatchingAJobIsToldThatItGoesOn(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := bench(t, "a")
		ctx, cancel := context.WithCancelCause(t.Context())
		time.AfterFunc(time.Second, func() { cancel(errInterrupted) })
		code := c.run(ctx, []string{"batch", "submit", "-id", "one", "-wait", batchURI})
		if want := "penstock: interrupted; the job goes on by itself; see: bin/penstock batch watch one\n"; code != exitInterrupted || !strings.HasSuffix(c.stderr.String(), want) {
			t.Errorf("exit code %d, standard error\n%s", code, c.stderr.String())
		}
	})
}

func TestASubmitOfAJobThatHasEndedSaysSo(t *testing.T) {
	t.Parallel()
	c := bench(t, "a")
	c.call(t, "batch", "submit", "-id", "one", batchURI)
	c.work(t)
	code, stdout, stderr := c.call(t, "batch", "submit", "-id", "one", "-wait", batchURI)
	if code != exitOK || !strings.Contains(stdout, "succeeded  1\n") || stderr != "penstock: job one has ended before; its results stay\n" {
		t.Errorf("exit code %d, %s%s", code, stdout, stderr)
	}
}

func TestBatchCancelAndResume(t *testing.T) {
	t.Parallel()
	synctest.Test(t, batchCancelAndResume) // a resume waits until no worker believes in the cancel
}

func batchCancelAndResume(t *testing.T) {
	c := bench(t, "a", "b")
	c.call(t, "batch", "submit", "-id", "one", "-references-per-message", "1", batchURI)
	if code, _, stderr := c.call(t, "batch", "cancel", "one"); code != exitOK {
		t.Fatalf("cancel: exit code %d, %s", code, stderr)
	}
	c.work(t)
	code, stdout, _ := c.call(t, "batch", "status", "one", "-o", "json")
	var s job.Standing
	if err := json.Unmarshal([]byte(stdout), &s); err != nil || code != exitFailed || s.State != job.StateCancelled || s.Cancelled != 2 {
		t.Errorf("status: exit code %d, %s", code, stdout)
	}
	if code, _, stderr := c.call(t, "batch", "cancel", "one"); code != exitOK || !strings.Contains(stderr, "has ended before") {
		t.Errorf("cancel of an ended job: exit code %d, %s", code, stderr)
	}
	if code, _, stderr := c.call(t, "batch", "resume", "one"); code != exitOK || !strings.Contains(stderr, "sent 2 items again") {
		t.Fatalf("resume: exit code %d, %s", code, stderr)
	}
	c.work(t)
	if code, stdout, _ := c.call(t, "batch", "watch", "one"); code != exitOK || !strings.Contains(stdout, "succeeded  2\n") {
		t.Errorf("watch: exit code %d, %s", code, stdout)
	}
	for _, more := range []struct{ flag, want string }{{"-failed=false", "by -failed\n"}, {"-failed", "and nothing has failed\n"}} {
		if code, _, stderr := c.call(t, "batch", "resume", "one", more.flag); code != exitOK || !strings.HasSuffix(stderr, more.want) {
			t.Errorf("resume %s of what has ended well: exit code %d, %s", more.flag, code, stderr)
		}
	}
}

func TestBatchResumeDoesNotSayThatNothingHasFailedWhereAFileHas(t *testing.T) {
	t.Parallel()
	c := bench(t, "rows.jsonl")
	c.call(t, "batch", "submit", "-id", "one", "-split-type", "Line", batchURI)
	c.work(t) // its part ends well, and leaves nothing to be put together
	if code, stdout, _ := c.call(t, "batch", "status", "one"); code != exitFailed || !strings.Contains(stdout, "1 failed") {
		t.Fatalf("status: exit code %d\n%s", code, stdout)
	}
	if code, _, stderr := c.call(t, "batch", "resume", "one", "-failed"); code != exitOK || !strings.Contains(stderr, "nothing of it is left to run; see: ") {
		t.Errorf("resume: exit code %d, %s", code, stderr)
	}
}

func TestBatchStatusSaysWhatToDoWhenNothingEnds(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := bench(t, "a")
		c.call(t, "batch", "submit", "-id", "one", batchURI)
		const advice = "batch resume one"
		if _, stdout, _ := c.call(t, "batch", "status", "one"); strings.Contains(stdout, advice) {
			t.Errorf("of a job that has just begun:\n%s", stdout)
		}
		time.Sleep(2 * time.Minute)
		if _, stdout, _ := c.call(t, "batch", "status", "one"); !strings.Contains(stdout, advice) {
			t.Errorf("of one of which nothing ends:\n%s", stdout)
		}
	})
}

func TestBatchSubmitTakesALocalManifest(t *testing.T) {
	t.Parallel()
	c := bench(t, "a", "b", "c d")
	c.file(t, "list.csv", "penstock,in/batch/a\npenstock,in/batch/c+d\n")
	if code, _, stderr := c.call(t, "batch", "submit", "-id", "one", "-manifest", "list.csv"); code != exitOK || !strings.Contains(stderr, "2 objects") {
		t.Fatalf("exit code %d, %s", code, stderr)
	}
	c.work(t)
	_, stdout, _ := c.call(t, "batch", "results", "one")
	if want := []string{"in/batch/a", "in/batch/c d"}; !strings.Contains(stdout, "/batch/a.out") || !strings.Contains(stdout, "/batch/c d.out") {
		t.Errorf("there are no results of %q:\n%s", want, stdout)
	}
	c.file(t, "nonsense.txt", "in/batch/a\n")
	if code, _, stderr := c.call(t, "batch", "submit", "-id", "two", "-manifest", "nonsense.txt"); code != exitUsage || !strings.HasSuffix(stderr, "is a copy of nonsense.txt\n") {
		t.Errorf("of a manifest that is none: exit code %d, %s", code, stderr)
	}
	if _, stdout, stderr := c.call(t, "batch", "results", "one", "-failed"); stdout != "" || !strings.Contains(stderr, "no object has failed") {
		t.Errorf("of the failed, where there are none: %q, %q", stdout, stderr)
	}
}

func TestBatchSubmitTakesWhatScriptsForBatchTransformSay(t *testing.T) {
	t.Parallel()
	c := bench(t, "a", "b")
	code, _, stderr := c.call(t, "batch", "submit", "-id", "one", "-split-type", "None", "-batch-strategy", "SingleRecord", "-assemble-with", "None",
		"-compression-type", "Gzip", "-max-payload-in-mb", "6", "-input-filter", "$", "-output-filter", "$", "-join-source", "None", batchURI)
	if code != exitOK || !strings.Contains(stderr, "-max-payload-in-mb is without effect: a record may have 16 MiB") {
		t.Fatalf("exit code %d, %s", code, stderr)
	}
	c.work(t)
	if code, stdout, _ := c.call(t, "batch", "watch", "one"); code != exitOK || !strings.Contains(stdout, "succeeded  2\n") {
		t.Errorf("watch: exit code %d, %s", code, stdout)
	}
}

// AWS's page and JSONPath differ in where a slice ends.
func TestBatchSubmitSaysWhereASliceEnds(t *testing.T) {
	t.Parallel()
	for filter, told := range map[string]bool{"$[1:4]": true, "$.x[:-1]": true, "$[1:]": false, "$[0,-1]": false} {
		c := bench(t, "a")
		code, _, stderr := c.call(t, "batch", "submit", "-dry-run", "-split-type", "Line", "-input-filter", filter, batchURI)
		if said := strings.Contains(stderr, "-input-filter "+filter+": a slice ends before its second number"); code != exitOK || said != told {
			t.Errorf("%s: exit code %d, %s", filter, code, stderr)
		}
	}
}

func TestABatchDryRunTellsThePriceAndSendsNothing(t *testing.T) {
	t.Parallel()
	c := bench(t, "a", "b")
	before := slices.Clone(c.keys(t))
	code, stdout, stderr := c.call(t, "batch", "submit", "-dry-run", batchURI)
	if code != exitOK || !strings.Contains(stdout, "objects   2 (0 left out)") || !strings.Contains(stdout, "about $0.00") {
		t.Errorf("exit code %d, %s%s", code, stdout, stderr)
	}
	if c.queued(t) != 0 || !slices.Equal(before, c.keys(t)) {
		t.Errorf("something was written: %q", c.keys(t))
	}
}

func (c *console) keys(t *testing.T) []string {
	t.Helper()
	var keys []string
	for info, err := range c.store.List(t.Context(), storage.Ref{Bucket: "penstock"}, "") {
		if err != nil {
			t.Fatal(err)
		}
		keys = append(keys, info.Ref.Key)
	}
	return keys
}

func TestBatchSaysWhatIsWrongWithACommand(t *testing.T) {
	t.Parallel()
	c := bench(t, "a")
	c.file(t, "list.txt", batchURI+"a\n")
	for _, args := range []struct{ line, want string }{
		{"submit", "a job needs an input"},
		{"submit s3://penstock/other/", "s3://penstock/other/ lies in no input location (s3://penstock/in/)"},
		{"submit -split-type RecordIO " + batchURI, "RecordIO is not supported"},
		{"submit -batch-strategy OneByOne " + batchURI, `the batch strategy is "OneByOne"; it must be MultiRecord or SingleRecord`},
		{"submit -join-source Input " + batchURI, "the join source Input goes with the split type Line"},
		{"submit -join-source Input -split-type TFRecord " + batchURI, "records of TFRecord can't be joined"},
		{"submit -join-source Output " + batchURI, `the join source is "Output"; it must be None or Input`},
		{"submit -compression-type Bzip2 " + batchURI, `the compression type is "Bzip2"; it must be None or Gzip`},
		{"submit -max-payload-in-mb 101 " + batchURI, "the largest payload is 101 MB; it must be 0 to 100"},
		{"submit -input-filter $.x " + batchURI, "the filter $.x can't be applied to whole objects: it goes with the split type Line"},
		{"submit -output-filter $[0] " + batchURI, "the filter $[0] can't be applied to whole objects"},
		{"submit -split-type TFRecord -input-filter $.x " + batchURI, "the input filter $.x can't be applied to records of TFRecord"},
		{"submit -split-type Line -input-filter $[0 " + batchURI, `the input filter: the path "$[0" is wrong at its end, byte 3: the bracket is not closed; a path is made of $, .name`},
		{"submit -split-type Line -output-filter $..x " + batchURI, `the output filter: the path "$..x" is wrong at byte 2, ".": descent into all levels`},
		{"submit -split-type Line -content-type text/csv -input-filter $.x " + batchURI, "the input filter $.x finds nothing in text/csv: a record has columns only"},
		{"submit -split-type Line -accept text/csv -output-filter $.y " + batchURI, "the output filter $.y finds nothing in results of CSV: a line has columns only"},
		{"submit -assemble-with Line " + batchURI, "-assemble-with Line goes with"},
		{"submit -id a/b " + batchURI, `the job id "a/b"`},
		{"submit -id a/b -manifest list.txt", `the job id "a/b"`},
		{"submit -include [ " + batchURI, "a [ without its ]"},
		{"submit -dry-run s3://penstock/in/none/", "the job's input is no use: no object is there"},
		{"submit -exclude * " + batchURI, "no object is to be run on (1 were seen and left out)"},
		{"submit s3://penstock/in/nothing", "a prefix must end in a slash"},
		{"submit -manifest no.csv", "no.csv: there is no such file"},
		{"submit -batch-queue-url http://127.0.0.1/0/jobs.fifo " + batchURI, "is a FIFO queue"},
		{"status nothing", "there is no job nothing"},
		{"watch", "no job is given"},
		{"cancel a b", "one job at a time"},
		{"results one -bad-records -failed", "-bad-records goes with"},
	} {
		code, _, stderr := c.call(t, append([]string{"batch"}, strings.Fields(args.line)...)...)
		if code != exitUsage || !strings.Contains(stderr, args.want) {
			t.Errorf("batch %s: exit code %d; it does not say %q:\n%s", args.line, code, args.want, stderr)
		}
	}
	if c.queued(t) != 0 || strings.Contains(strings.Join(c.keys(t), " "), "/jobs/") {
		t.Error("a job was begun")
	}
}
