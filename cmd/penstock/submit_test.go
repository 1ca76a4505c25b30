package main

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/penstock/penstock/queue/request"
	"github.com/penstock/penstock/storage"
)

func TestSubmitPrintsWhatTheModelMadeOfTheFile(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name string
		args string
		want string // a regular expression
	}{
		{"a label", "submit my.png", `^my\.png  7   99\.8 %  \d+\.\d\d s\n$`},
		{"the object", "submit my.png -o json", `^\{"predictions":\[\{"label":"7","confidence":0\.998,"scores":\{\}\}\]\}\n$`},
		{"short JSON", "submit rows.json", `^rows\.json  \{"predictions":\[\[0\.25,0\.75\]\]\}  \d+\.\d\d s\n$`},
		{"where other things lie", "submit rows.npy", `^rows\.npy  s3://penstock/out/rows\.npy\.out \(5 bytes, application/x-npy\)  \d+\.\d\d s\n$`},
		{"bad records", "submit half.jsonl", `^half\.jsonl  2 of 4 records bad, see s3://penstock/out/half\.jsonl\.out  \d+\.\d\d s\n$`},
		{"bad records in a folder", "submit half.jsonl -out results", `^1 result in results, 2 bad records with an error in their place\n$`},
		{"bad records for programs", "submit half.jsonl -out results -o json", `"state":"succeeded",.*"records":4,"badRecords":2\}\n$`},
		{"a name that would steer a terminal", "submit steer\x1b[31m.npy", `^steer \[31m\.npy  s3://penstock/out/steer \[31m\.npy\.out `},
		{"another thing as it is", "submit -o json rows.npy", "^NUMPY$"},
		{"several in their order", "submit rows.json my.png rows.npy -o json", "^\\{\"predictions\": \\[\\[0.25, 0.75\\]\\]\\}\n\\{.*7.*\\}\nNUMPY$"},
		{"a file elsewhere", "submit sub/eight.png -key x/9.png", `^9\.png  8 `},
		{"standard input", "submit - -key 9.png", `^9\.png  9 `},
		{"no result", "submit -no-wait my.png sub/eight.png -prefix p/", "^s3://penstock/in/p/my\\.png\ns3://penstock/in/p/eight\\.png\n$"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			c := setup(t, places)
			c.stdin = strings.NewReader("9")
			c.file(t, "my.png", "7")
			c.file(t, "rows.json", "{}")
			c.file(t, "rows.npy", "x")
			c.file(t, "steer\x1b[31m.npy", "x")
			c.file(t, "half.jsonl", "[1]\n[]\n[1]\n[]\n")
			c.file(t, "sub/eight.png", "8")
			code, stdout, stderr := c.call(t, strings.Fields(test.args)...)
			if code != exitOK || stderr != "" {
				t.Errorf("exit code %d, standard error %q", code, stderr)
			}
			if !regexp.MustCompile(test.want).MatchString(stdout) {
				t.Errorf("standard output %q does not match %q", stdout, test.want)
			}
		})
	}
}

func TestSubmitTellsOfAFailureOnStandardErrorAndGoesOn(t *testing.T) {
	t.Parallel()
	c := setup(t, places)
	c.file(t, "bad.png", "x")
	c.file(t, "good.png", "7")
	code, stdout, stderr := c.call(t, "submit", "bad.png", "good.png")
	if code != exitFailed || !strings.HasPrefix(stdout, "good.png  7") {
		t.Errorf("exit code %d, standard output %q", code, stdout)
	}
	if want := "penstock: bad.png: InvalidShape: the shape is [1]; give 28 by 28 pixels\npenstock: 1 of 2 failed\n"; stderr != want {
		t.Errorf("standard error %q, want %q", stderr, want)
	}
}

func TestSubmitWaitsNoLongerThanItIsTold(t *testing.T) {
	t.Parallel()
	c := setup(t, places)
	c.file(t, "slow.png", "7")
	code, stdout, stderr := c.call(t, "submit", "slow.png", "-timeout", "10ms")
	want := "penstock: slow.png: no result after 10ms: it is queued or running; wait on: bin/penstock wait s3://penstock/in/slow.png\n"
	if code != exitNoResult || stdout != "" || stderr != want {
		t.Errorf("exit code %d, standard output %q, standard error %q", code, stdout, stderr)
	}
}

func TestWhatIsNotThereInTimeIsNotCalledFailed(t *testing.T) {
	t.Parallel()
	c := setup(t, places)
	c.file(t, "slow1.png", "7")
	c.file(t, "slow2.png", "7")
	code, _, stderr := c.call(t, "submit", "slow1.png", "slow2.png", "-timeout", "10ms")
	if code != exitNoResult || strings.Contains(stderr, "failed") || !strings.Contains(stderr, "penstock: 2 have no result yet and go on") {
		t.Errorf("exit code %d, standard error %q", code, stderr)
	}
	if _, stdout, _ := c.call(t, "wait", "s3://penstock/in/slow1.png", "-timeout", "10ms", "-out", "results"); strings.Contains(stdout, "failed") {
		t.Errorf("with -out: %q", stdout)
	}
}

func TestSubmitReportsAllUnusableFilesAndUploadsNone(t *testing.T) {
	t.Parallel()
	c := setup(t, places)
	c.file(t, "good.png", "7")
	c.file(t, "sub/good.png", "8")
	c.file(t, "empty.png", "")
	c.file(t, "dir/x", "x")
	c.file(t, "hidden/.x", "x")
	code, stdout, stderr := c.call(t, "submit", "good.png", "sub/good.png", "empty.png", "dir", "nope.png", "-", "hidden", "*.npy", "s3://penstock/in/nope", "s3://penstock/nope/")
	want := `penstock: sub/good.png: good.png would be uploaded to the same key, in/good.png; submit one of them with -key or -prefix
penstock: empty.png: it is empty; there is nothing to run a model on
penstock: nope.png: there is no such file
penstock: -: standard input has no name; give one by -key
penstock: hidden: there is no file in this folder that is wanted (hidden ones are not)
penstock: *.npy: no file matches it
penstock: s3://penstock/in/nope: there is no such object
penstock: s3://penstock/nope/: there is no object below it that is wanted
`
	if code != exitUsage || stdout != "" || stderr != want {
		t.Errorf("exit code %d, standard output %q, standard error\n%s\nwant\n%s", code, stdout, stderr, want)
	}
	if len(c.store.puts) != 0 {
		t.Errorf("it uploaded %v", c.store.puts)
	}
}

func TestSubmitRefusesKeysThatAreNoInputs(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ key, why string }{
		{"requests/a", "keys below requests/ and jobs/ are kept"},
		{".penstock/a", "are Penstock's own"},
		{"a/.penstock/b", "are Penstock's own"},
		{"a/", "must name an object"},
		{strings.Repeat("x", 1100), "S3 takes 1024"},
	} {
		c := setup(t, places)
		c.file(t, "a.png", "7")
		if code, _, stderr := c.call(t, "submit", "a.png", "-key", test.key); code != exitUsage || !strings.Contains(stderr, test.why) {
			t.Errorf("-key %.20s: exit code %d, standard error %q", test.key, code, stderr)
		}
	}
}

func TestSubmitSetsTheContentTypeAndWhatTheFlagsChoose(t *testing.T) {
	t.Parallel()
	c := setup(t, places)
	for file, want := range map[string]string{
		"a.png": "image/png", "b.JPG": "image/jpeg", "c.json": "application/json", "d.npy": "application/x-npy", "e.txt": "application/octet-stream",
	} {
		c.file(t, file, "7")
		code, _, stderr := c.call(t, strings.Fields("submit -model digits -signature serve -accept application/json;raw=true -ttl 90m "+file)...)
		if code != exitOK {
			t.Fatalf("exit code %d, standard error %q", code, stderr)
		}
		got := c.store.puts["in/"+file]
		if got.ContentType != want {
			t.Errorf("the content type of %s is %q, want %q", file, got.ContentType, want)
		}
		for name, want := range map[string]string{
			request.UploadModel: "digits", request.UploadSignature: "serve", request.UploadAccept: "application/json;raw=true", request.UploadTTL: "90m",
		} {
			if got.Metadata[name] != want {
				t.Errorf("the metadata %s of %s is %q, want %q", name, file, got.Metadata[name], want)
			}
		}
	}
}

func TestSubmitDoesNotTakeAnOlderResultForTheNewOne(t *testing.T) {
	t.Parallel()
	for name, older := range map[string]storage.Info{
		"of other bytes":              {ETag: "older"},
		"of the same bytes, uploaded": {ETag: "8f14e45fceea167a5a36dedd4bea2543", Modified: time.Now().Add(-time.Hour)}, // the MD5 of "7"
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := setup(t, places)
			c.file(t, "my.slow.png", "7")
			ref := storage.Ref{Bucket: "penstock", Key: "in/my.slow.png"}
			out := c.store.locations.OutputOf(request.Request{Input: ref})
			p := request.Provenance{Identity: request.Request{Input: ref}.Identify(older), Input: ref}
			if _, err := c.store.Store.Put(t.Context(), out, []byte("{}"), storage.PutOptions{Metadata: p.Metadata(out)}); err != nil {
				t.Fatal(err)
			}
			if code, stdout, _ := c.call(t, "submit", "my.slow.png", "-timeout", "50ms"); code != exitNoResult || stdout != "" {
				t.Errorf("exit code %d, standard output %q", code, stdout)
			}
		})
	}
}

func TestSubmitTellsOfAnUploadThatDidNotWork(t *testing.T) {
	t.Parallel()
	c := setup(t, places)
	c.file(t, "unreachable.png", "7")
	c.file(t, "good.png", "7")
	code, stdout, stderr := c.call(t, "submit", "unreachable.png", "good.png")
	if code != exitTrouble || !strings.HasPrefix(stdout, "good.png") || stderr != "penstock: unreachable.png: upload: the network is down\npenstock: 1 of 2 failed\n" {
		t.Errorf("exit code %d, standard output %q, standard error %q", code, stdout, stderr)
	}
}

func TestAnInterruptedSubmitSaysSo(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := setup(t, places)
		c.file(t, "slow.png", "7")
		ctx, cancel := context.WithCancelCause(t.Context())
		time.AfterFunc(500*time.Millisecond, func() { cancel(errInterrupted) })
		code := c.run(ctx, []string{"submit", "slow.png"})
		if code != exitInterrupted || c.stderr.String() != "penstock: interrupted\npenstock: what is queued or running goes on by itself; wait for it: bin/penstock wait s3://penstock/in/slow.png\n" {
			t.Errorf("exit code %d, standard error %q", code, c.stderr.String())
		}
	})
}

func TestSubmitManyFilesPrintsThemInOrder(t *testing.T) {
	t.Parallel()
	c := setup(t, places)
	args, want := []string{"submit", "-no-wait"}, ""
	for i := range 3 * parallel {
		name := c.file(t, fmt.Sprintf("%03d.png", i), "7")
		args, want = append(args, name), want+"s3://penstock/in/"+name+"\n"
	}
	if code, stdout, stderr := c.call(t, args...); code != exitOK || stdout != want {
		t.Errorf("exit code %d, standard output\n%s\nstandard error %q", code, stdout, stderr)
	}
}

func TestAdviceFollowsFromTheFault(t *testing.T) {
	t.Parallel()
	c := setup(t, nil)
	if got := c.advice(storage.ErrForbidden, submitNeeds); !strings.Contains(got, "s3:ListBucket") {
		t.Errorf("advice is %q", got)
	}
	if got := c.advice(errors.New("else"), submitNeeds); got != "" {
		t.Errorf("advice is %q, want none", got)
	}
}
