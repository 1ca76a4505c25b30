package main

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/penstock/penstock/queue/request"
	"github.com/penstock/penstock/storage"
)

// upload puts an input into the store, which is worked on at once.
func (c *console) upload(t *testing.T, name, content string) string {
	t.Helper()
	ref := storage.Ref{Bucket: "penstock", Key: "in/" + name}
	if _, err := c.store.Put(t.Context(), ref, []byte(content), storage.PutOptions{}); err != nil {
		t.Fatal(err)
	}
	return ref.String()
}

func TestWaitPrintsResultsInTheOrderOfTheURIs(t *testing.T) {
	t.Parallel()
	c := setup(t, places)
	b, a := c.upload(t, "b.png", "8"), c.upload(t, "a.png", "7")
	code, stdout, stderr := c.call(t, "wait", "-o", "json", b, a)
	if code != exitOK || stderr != "" {
		t.Errorf("exit code %d, standard error %q", code, stderr)
	}
	if lines := strings.Split(stdout, "\n"); len(lines) != 3 || !strings.Contains(lines[0], `"8"`) || !strings.Contains(lines[1], `"7"`) {
		t.Errorf("standard output %q", stdout)
	}
}

func TestWaitEndsWhenTheResultComes(t *testing.T) {
	t.Parallel()
	c := setup(t, places)
	uri := c.upload(t, "slow.png", "7")
	committed := make(chan error, 1)
	time.AfterFunc(50*time.Millisecond, func() { committed <- c.store.finish(t.Context(), uri) })
	if code, stdout, stderr := c.call(t, "wait", uri); code != exitOK || !strings.HasPrefix(stdout, uri+"  slow") {
		t.Errorf("exit code %d, standard output %q, standard error %q", code, stdout, stderr)
	}
	if err := <-committed; err != nil {
		t.Error(err)
	}
}

// finish commits the result of a slow input.
func (w *worked) finish(ctx context.Context, uri string) error {
	ref, err := storage.ParseRef(uri)
	if err != nil {
		return err
	}
	info, err := w.Head(ctx, ref)
	if err != nil {
		return err
	}
	return w.commit(ctx, info, w.locations.OutputOf(request.Request{Input: ref}), `{"predictions":[{"label":"slow","confidence":1}]}`, "application/json")
}

func TestWaitTellsOfAFailure(t *testing.T) {
	t.Parallel()
	c := setup(t, places)
	uri := c.upload(t, "bad.png", "7")
	if code, stdout, stderr := c.call(t, "wait", uri); code != exitFailed || stdout != "" || !strings.HasPrefix(stderr, "penstock: "+uri+": InvalidShape: ") {
		t.Errorf("exit code %d, standard output %q, standard error %q", code, stdout, stderr)
	}
}

func TestWaitFindsTheResultOfAnInputThatIsGone(t *testing.T) {
	t.Parallel()
	c := setup(t, places)
	uri := c.upload(t, "a.png", "7")
	ref, _ := storage.ParseRef(uri)
	if err := c.store.Delete(t.Context(), ref, storage.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	if code, stdout, stderr := c.call(t, "wait", uri); code != exitOK || !strings.HasPrefix(stdout, uri+"  7") {
		t.Errorf("exit code %d, standard output %q, standard error %q", code, stdout, stderr)
	}
}

func TestGetPrintsTheTerminalObjectAsItIs(t *testing.T) {
	t.Parallel()
	c := setup(t, places)
	for _, test := range []struct {
		name           string
		code           int
		stdout, stderr string // their beginnings
	}{
		{"a.npy", exitOK, "NUMPY", ""},
		{"a.png", exitOK, `{"predictions":[{"label":"7"`, ""},
		{"bad.png", exitFailed, "{\n  \"error\": {\n    \"code\": \"InvalidShape\"", "penstock: s3://penstock/in/bad.png: InvalidShape: the shape is [1]; give 28 by 28 pixels"},
		{"slow.png", exitNoResult, "", "penstock: s3://penstock/in/slow.png: no result yet: it is queued or running; wait for it: bin/penstock wait s3://penstock/in/slow.png"},
	} {
		uri := c.upload(t, test.name, "7")
		code, stdout, stderr := c.call(t, "get", uri)
		if code != test.code || !strings.HasPrefix(stdout, test.stdout) || !strings.HasPrefix(stderr, test.stderr) || (stdout == "") != (test.stdout == "") || (stderr == "") != (test.stderr == "") {
			t.Errorf("%s: exit code %d, standard output %q, standard error %q", test.name, code, stdout, stderr)
		}
	}
}

func TestGetStreamsALargeObject(t *testing.T) {
	t.Parallel()
	c := setup(t, places)
	large := strings.Repeat("0123456789", maxShown/5)
	uri := c.upload(t, "a.png", large) // the label is the content
	code, stdout, _ := c.call(t, "get", uri)
	if code != exitOK || !strings.Contains(stdout, large) {
		t.Errorf("exit code %d, %d bytes", code, len(stdout))
	}
}
