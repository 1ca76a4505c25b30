package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/penstock/penstock/cmd/internal/outcome"
	"github.com/penstock/penstock/queue/request"
	"github.com/penstock/penstock/storage"
)

// files are the paths of all files below a folder of the console's, sorted.
func (c *console) files(t *testing.T, below string) (paths []string) {
	t.Helper()
	err := filepath.WalkDir(filepath.Join(c.dir, below), func(path string, d os.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			rel, _ := filepath.Rel(filepath.Join(c.dir, below), path)
			paths = append(paths, rel)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return paths
}

func TestSubmitTakesFoldersAndPatterns(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ args, want string }{
		{"photos", "photos/a.png photos/b.jpg photos/sub/c.png"},
		{"photos/", "photos/a.png photos/b.jpg photos/sub/c.png"},
		{".", "other/a.png photos/a.png photos/b.jpg photos/sub/c.png"},
		{"photos other", "photos/a.png photos/b.jpg photos/sub/c.png other/a.png"},
		{"photos -include *.png", "photos/a.png photos/sub/c.png"},
		{"photos -exclude sub/* -prefix x/", "x/photos/a.png x/photos/b.jpg"},
		{"photos -include *.png -include *.jpg -exclude a*", "photos/b.jpg photos/sub/c.png"},
		{"photos/*.png", "a.png"},
		{"*/a.png -prefix x/", ""}, // two of one name
	} {
		c := setup(t, places)
		for _, f := range []string{"photos/a.png", "photos/b.jpg", "photos/sub/c.png", "photos/.hidden", "photos/.git/d.png", "other/a.png"} {
			c.file(t, f, "7")
		}
		code, stdout, stderr := c.call(t, append([]string{"submit", "-no-wait"}, strings.Fields(test.args)...)...)
		var want strings.Builder
		for key := range strings.FieldsSeq(test.want) {
			want.WriteString("s3://penstock/in/" + key + "\n")
		}
		if stdout != want.String() || (code == exitOK) != (want.String() != "") {
			t.Errorf("%s: exit code %d, standard output\n%s\nwant\n%s\nstandard error %q", test.args, code, stdout, want.String(), stderr)
		}
	}
}

func TestOneBadFileInAFolderKeepsNoOtherFromBeingSubmitted(t *testing.T) {
	t.Parallel()
	c := setup(t, places)
	c.file(t, "photos/a.png", "7")
	c.file(t, "photos/empty.png", "")
	c.file(t, "photos/z.png", "8")
	code, stdout, stderr := c.call(t, "submit", "photos")
	want := "penstock: photos/empty.png: it is empty; there is nothing to run a model on\npenstock: 1 of 3 failed\n"
	if code != exitFailed || strings.Count(stdout, "\n") != 2 || stderr != want {
		t.Errorf("exit code %d, standard output\n%s\nstandard error %q", code, stdout, stderr)
	}
}

func TestResultsAreWrittenToAFolder(t *testing.T) {
	t.Parallel()
	c := setup(t, places)
	for _, f := range []string{"photos/a.png", "photos/a.npy", "photos/sub/bad.png", "b.png", "results/photos/sub/mine.txt"} {
		c.file(t, f, "7")
	}
	code, stdout, stderr := c.call(t, "submit", "-out", "results", "photos", "b.png")
	if code != exitFailed || stdout != "3 results in results, 1 failed\n" || !strings.Contains(stderr, "sub/bad.png: InvalidShape") {
		t.Errorf("exit code %d, standard output %q, standard error %q", code, stdout, stderr)
	}
	want := []string{"b.png.json", "photos/a.npy.npy", "photos/a.png.json", "photos/sub/bad.png.error", "photos/sub/mine.txt"}
	if got := c.files(t, "results"); !slices.Equal(got, want) {
		t.Errorf("the folder has %q, want %q", got, want)
	}
	// The same again, and what failed succeeds: results are no inputs.
	c.store.cured.Store(true)
	code, stdout, _ = c.call(t, "submit", "-out", "results", ".", "-o", "json")
	if code != exitOK || strings.Count(stdout, "\n") != 4 {
		t.Errorf("exit code %d, standard output\n%s", code, stdout)
	}
	var l resultLine
	if err := json.Unmarshal([]byte(strings.SplitN(stdout, "\n", 2)[0]), &l); err != nil || l != (resultLine{
		Name: "b.png", Input: "s3://penstock/in/b.png", State: "succeeded", Result: "s3://penstock/out/b.png.out", File: "b.png.json",
	}) {
		t.Errorf("%v: %+v", err, l)
	}
	if got := c.files(t, "results"); slices.Contains(got, "photos/sub/bad.png.error") || !slices.Contains(got, "photos/sub/bad.png.json") {
		t.Errorf("the folder has %q", got)
	}
}

func TestPlacesOfResultsNeverMeet(t *testing.T) {
	t.Parallel()
	inputs := []string{
		"a", "a.json", "a.json/b", "a.json~/b", "a.out", "a.out.json", "a/b", "a//b", "a/../b", "a/./b", "..", ".", "a/b/", "a/~b", "a/~", "a/~~", "a/~/b",
		"a.error", "a.error/x", "a.json~~/b",
	}
	seen := map[string]string{} // input by path
	for _, input := range inputs {
		for _, o := range []outcome.Outcome{
			{Failed: true},
			{Info: storage.Info{ContentType: "application/json; charset=utf-8"}},
			{Info: storage.Info{ContentType: "image/png"}},
		} {
			at := place(input) + extension(o)
			if other, ok := seen[at]; ok {
				t.Errorf("the results of %q and %q are both at %s", other, input, at)
			}
			seen[at] = input
			if !filepath.IsLocal(at) {
				t.Errorf("the result of %q would be at %s", input, at)
			}
		}
	}
	for at := range seen {
		for folder := filepath.Dir(at); folder != "."; folder = filepath.Dir(folder) {
			if input, ok := seen[folder]; ok {
				t.Errorf("%s is in a folder that is the result of %q", at, input)
			}
		}
	}
}

// A FIFO queue takes nothing without a group.
func TestWhatIsInPlaceIsEnqueuedWithItsGroup(t *testing.T) {
	t.Parallel()
	for queueURL, group := range map[string]string{"http://127.0.0.1:1/1/requests.fifo": "object-", "http://127.0.0.1:1/1/requests": ""} {
		vars := withQueue()
		vars["PENSTOCK_QUEUE_URL"] = queueURL
		c := setup(t, vars)
		if _, err := c.store.Store.Put(t.Context(), storage.Ref{Bucket: "penstock", Key: "in/missed.png"}, []byte("7"), storage.PutOptions{}); err != nil {
			t.Fatal(err)
		}
		c.call(t, "submit", "-timeout", "10ms", "s3://penstock/in/missed.png")
		if c.queue.Len() != 1 {
			t.Fatalf("%d messages in %s:\n%s", c.queue.Len(), queueURL, c.stderr.String())
		}
		if got := c.queue.Snapshot()[0].Message.Group; !strings.HasPrefix(got, group) || group == "" && got != "" {
			t.Errorf("the message to %s is of the group %q, want %q", queueURL, got, group)
		}
	}
}

func TestObjectsElsewhereAreCopiedAndThoseInPlaceEnqueued(t *testing.T) {
	t.Parallel()
	c := setup(t, withQueue())
	put := func(key, body string) {
		t.Helper()
		if _, err := c.store.Store.Put(t.Context(), storage.Ref{Bucket: "penstock", Key: key}, []byte(body), storage.PutOptions{ContentType: "image/png"}); err != nil {
			t.Fatal(err)
		}
	}
	put("other/photos/a.png", "7")
	put("other/photos/sub/b.png", "8")
	put("other/photos/", "") // a folder's marker
	code, stdout, stderr := c.call(t, "submit", "s3://penstock/other/photos/", "-model", "digits")
	if code != exitOK || strings.Count(stdout, "\n") != 2 || !strings.Contains(stdout, "s3://penstock/other/photos/sub/b.png  8") || stderr != "" {
		t.Errorf("exit code %d, standard output\n%s\nstandard error %q", code, stdout, stderr)
	}
	if got := c.store.puts["in/photos/a.png"]; got.ContentType != "image/png" || got.Metadata[request.UploadModel] != "digits" {
		t.Errorf("it was copied with %+v", got)
	}
	if c.queue.Len() != 0 {
		t.Error("what was copied was enqueued as well")
	}

	put("in/missed.png", "7") // without an event
	code, _, stderr = c.call(t, "submit", "-timeout", "10ms", "s3://penstock/in/missed.png")
	if code != exitNoResult || c.queue.Len() != 1 {
		t.Errorf("exit code %d, %d messages, standard error %q", code, c.queue.Len(), stderr)
	}
	requests, err := request.Decode(c.queue.Snapshot()[0].Message.Body)
	if err != nil || requests[0].Input.Key != "in/missed.png" {
		t.Errorf("%v: enqueued was %+v", err, requests)
	}
	done := c.upload(t, "done.png", "7")
	if code, stdout, _ := c.call(t, "submit", done); code != exitOK || !strings.HasPrefix(stdout, done+"  7") || c.queue.Len() != 1 {
		t.Errorf("exit code %d, standard output %q; %d messages", code, stdout, c.queue.Len())
	}
	for args, want := range map[string]string{
		"-model digits s3://penstock/in/missed.png": "where its own metadata chooses",
		"-key x.png s3://penstock/in/missed.png":    "-key and -prefix have no say",
		"s3://penstock/other/photos":                "write s3://penstock/other/photos/",
	} {
		if code, _, stderr := c.call(t, append([]string{"submit"}, strings.Fields(args)...)...); code != exitUsage || !strings.Contains(stderr, want) {
			t.Errorf("%s: exit code %d, standard error %q", args, code, stderr)
		}
	}
}

func TestSubmitGoesOnWhereItWasInterrupted(t *testing.T) {
	t.Parallel()
	c := setup(t, places)
	for i := range 3 {
		c.file(t, fmt.Sprintf("photos/%d.png", i), "7")
	}
	if code, _, _ := c.call(t, "submit", "photos/0.png", "photos/1.png", "-prefix", "photos/", "-no-wait"); code != exitOK {
		t.Fatal(code)
	}
	clear(c.store.puts)
	c.file(t, "photos/1.png", "88") // changed since
	code, stdout, stderr := c.call(t, "submit", "photos", "-skip-uploaded")
	if code != exitOK || strings.Count(stdout, "\n") != 3 || stderr != "" {
		t.Errorf("exit code %d, standard output\n%s\nstandard error %q", code, stdout, stderr)
	}
	if _, again := c.store.puts["in/photos/0.png"]; again || len(c.store.puts) != 2 {
		t.Errorf("it uploaded %v", c.store.puts)
	}
}

func TestAnInterruptionSaysWhatIsLeftAndHowToGoOn(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := setup(t, places)
		c.file(t, "photos/a.png", "7")
		for i := range 5 {
			c.file(t, fmt.Sprintf("photos/slow%d.png", i), "7")
		}
		for i := range 3 {
			c.file(t, fmt.Sprintf("photos/stuck%d.png", i), "7")
		}
		ctx, cancel := context.WithCancelCause(t.Context())
		c.store.stuck = ctx
		time.AfterFunc(300*time.Millisecond, func() { cancel(errInterrupted) })
		code := c.run(ctx, []string{"submit", "photos"})
		want := `penstock: interrupted; 1 of 9 are done
penstock: 5 that are queued or running go on by themselves; wait for them: bin/penstock wait s3://penstock/in/photos/
penstock: 3 files not uploaded (photos/stuck0.png, photos/stuck1.png, photos/stuck2.png); run the same command with -skip-uploaded, which uploads what is missing
`
		if code != exitInterrupted || c.stderr.String() != want {
			t.Errorf("exit code %d, standard error\n%s\nwant\n%s", code, c.stderr.String(), want)
		}
	})
}

func TestWaitTakesFoldersAndLists(t *testing.T) {
	t.Parallel()
	c := setup(t, places)
	a, b := c.upload(t, "x/a.png", "7"), c.upload(t, "x/b.png", "8")
	c.upload(t, "y.png", "9")
	code, stdout, stderr := c.call(t, "wait", "s3://penstock/in/x/")
	if code != exitOK || stderr != "" || strings.Count(stdout, "\n") != 2 {
		t.Errorf("exit code %d, standard output\n%s\nstandard error %q", code, stdout, stderr)
	}
	c.stdin = strings.NewReader(b + "\n\n  " + a + "\nnonsense\x1b\n")
	code, stdout, stderr = c.call(t, "wait", "-o", "json", "-")
	if code != exitUsage || !strings.Contains(strings.Split(stdout, "\n")[0], `"8"`) || strings.Count(stdout, "\n") != 2 || !strings.Contains(stderr, "penstock: nonsense : ") {
		t.Errorf("exit code %d, standard output\n%s\nstandard error %q", code, stdout, stderr)
	}
}

func TestAnyNumberOfJobsIsWorkedOnInOrderAndInAWindow(t *testing.T) {
	t.Parallel()
	const n, window = 5000, 16
	var begun, most atomic.Int64
	next := 0
	jobs := func(yield func(int) bool) {
		for i := range n {
			if !yield(i) {
				return
			}
		}
	}
	inOrder(jobs, window, func(i int) int {
		most.Store(max(most.Load(), begun.Add(1)))
		if i%97 == 0 {
			time.Sleep(time.Millisecond) // the others wait for their turn
		}
		return i
	}, func(job, r int) {
		if job != next || r != next {
			t.Fatalf("%d came in the place of %d", r, next)
		}
		next++
		begun.Add(-1)
	})
	if next != n || most.Load() > window {
		t.Errorf("%d of %d were done, at most %d at a time", next, n, most.Load())
	}
}

// broken is a store whose downloads break off again and again.
type broken struct {
	storage.Reader
	after int
}

type brokenBody struct {
	storage.Object
	left int
}

func (b *brokenBody) Read(p []byte) (int, error) {
	if b.left == 0 {
		return 0, errors.New("connection reset")
	}
	n, err := b.Body.Read(p[:min(len(p), b.left)])
	b.left -= n
	return n, err
}

func (b *brokenBody) Close() error { return b.Body.Close() }

func (b broken) Get(ctx context.Context, ref storage.Ref, opts storage.GetOptions) (*storage.Object, error) {
	o, err := b.Reader.Get(ctx, ref, opts)
	if err != nil {
		return nil, err
	}
	return &storage.Object{Info: o.Info, Body: &brokenBody{*o, b.after}}, nil
}

func TestADownloadGoesOnWhereItBroke(t *testing.T) {
	t.Parallel()
	c := setup(t, places)
	ref := storage.Ref{Bucket: "penstock", Key: "out/x"}
	body := strings.Repeat("0123456789", 1000)
	info, err := c.store.Store.Put(t.Context(), ref, []byte(body), storage.PutOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for after, want := range map[int]bool{2501: true, 2499: false} {
		var got strings.Builder
		err := download(t.Context(), broken{c.store, after}, outcome.Outcome{Info: info}, &got)
		if (err == nil) != want || want && got.String() != body {
			t.Errorf("broken every %d bytes: %v, %d bytes", after, err, got.Len())
		}
	}
}

func TestTheBarLeavesNothingOfItselfBehind(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var w strings.Builder
		b := &bar{total: 3, columns: 40, line: progress{w: &w, on: true}}
		b.start()
		time.Sleep(barDelay + barPause/2)
		b.print(func() { w.WriteString("a result\n") })
		time.Sleep(2 * barPause)
		b.close()
		b.close()
		got := w.String()
		if !strings.Contains(got, "0 of 3 done") || !strings.Contains(got, "\r\x1b[Ka result\n") || !strings.HasSuffix(got, "\r\x1b[K") {
			t.Errorf("it wrote %q", got)
		}
	})
}

func TestTheBarTellsHowFarItIs(t *testing.T) {
	t.Parallel()
	for want, b := range map[string]*bar{
		"██████░░░░░░░░░░░░░░░░░░  25 of 100 done  2 failed  50 uploaded (1.0 MB of 2.0 MB)  2.5/s  30s left": {total: 100, ended: 25, failed: 2, uploaded: 50, sent: 1e6, bytes: 2e6},
		"████████████░░░░░░░░░░░░  500 MB of 1.0 GB uploaded  10s":                                            {total: 1, sent: 5e8, bytes: 1e9},
		"waiting for the result  10s": {total: 1, uploaded: 1, bytes: 5},
		"7 done  0.7/s":               {ended: 7},
	} {
		if got := b.text(10 * time.Second); got != want {
			t.Errorf("the bar is %q, want %q", got, want)
		}
	}
}
