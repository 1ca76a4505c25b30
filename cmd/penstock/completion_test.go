package main

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/penstock/penstock/cmd/penstock/deadletter"
	"github.com/penstock/penstock/storage"
)

func TestCompletionsFollowFromTheWords(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := setup(t, withQueue())
		c.upload(t, "a.png", "7")
		for i := range 300 {
			c.upload(t, fmt.Sprintf("photos/%d.png", i), "7")
		}
		c.upload(t, "photos/sub/x.png", "7")
		c.upload(t, "plan.json", "7")
		c.accept(t, "order 17")
		c.accept(t, "other")
		if _, err := c.store.Store.Put(t.Context(), storage.Ref{Bucket: "penstock", Key: ".penstock/jobs/rows-7/job.json"}, []byte("{}"), storage.PutOptions{}); err != nil {
			t.Fatal(err)
		}
		for _, test := range []struct {
			words string // with | between them
			want  string // candidates, with blanks between them
		}{
			{"su", "submit"},
			{"dead-letter|re", "redrive"},
			{"dead-letter|redrive|-co", "-code"},
			{"submit|--ti", "--timeout"},
			{"submit|-o|", "table json"},
			{"submit|-o|j", "json"},
			{"submit|-o|json|", ":files"},
			{"submit|-prefix|", ""},
			{"submit|-out|", ":folders"},
			{"submit|-no-wait|a", ":files"}, // it takes no value
			{"submit|-out=x|", ":files"},
			{"submit|s3:", "s3://penstock/in/ :more"},
			{"wait|s3://pen", "s3://penstock/in/ :more"},
			{"wait|s3://penstock/in/", "s3://penstock/in/a.png s3://penstock/in/photos/ s3://penstock/in/plan.json :more"},
			{"status|s3://penstock/in/p", "s3://penstock/in/photos/ s3://penstock/in/plan.json :more"},
			{"get|s3://penstock/in/photos/s", "s3://penstock/in/photos/sub/ :more"},
			{"get|s3://penstock/in/photos/29", "s3://penstock/in/photos/29.png " + series("s3://penstock/in/photos/29%d.png", 10)},
			{"get|s3://elsewhere/", ""},
			{"cancel|or", "order 17"},
			{"wait|o", "order 17 other"},
			{"cancel|s3:", ""},
			{"batch|status|", "rows-7"},
			{"completion|", "bash zsh fish"},
			{"clean|", ""},
			{"dead-letter|list|-code|Rec", deadletter.CodeReceivedTooOften},
			{"nonsense|", ""},
		} {
			code, stdout, stderr := c.call(t, append([]string{completeVerb}, strings.Split(test.words, "|")...)...)
			var got []string
			for line := range strings.Lines(stdout) {
				candidate, _, _ := strings.Cut(strings.TrimSuffix(line, "\n"), "\t")
				got = append(got, candidate)
			}
			if test.words == "nonsense|" {
				got = nil // whatever it offers
			}
			if strings.Join(got, " ") != test.want || code != exitOK || stderr != "" {
				t.Errorf("%s: exit code %d, %q, want %q; standard error %q", test.words, code, got, test.want, stderr)
			}
		}
	})
}

func series(format string, n int) string {
	var all []string
	for i := range n {
		all = append(all, fmt.Sprintf(format, i))
	}
	return strings.Join(all, " ")
}

func TestCompletionWithoutSettingsOrStoreIsSilent(t *testing.T) {
	t.Parallel()
	for _, vars := range []map[string]string{nil, {"PENSTOCK_INPUT": "nonsense"}} {
		c := setup(t, vars)
		if code, stdout, stderr := c.call(t, completeVerb, "wait", "s3://"); code != exitOK || stdout != "" || stderr != "" {
			t.Errorf("exit code %d, standard output %q, standard error %q", code, stdout, stderr)
		}
	}
}

func TestEveryShellHasAScript(t *testing.T) {
	t.Parallel()
	c := setup(t, nil)
	for _, shell := range []string{"bash", "zsh", "fish"} {
		if code, stdout, _ := c.call(t, "completion", shell); code != exitOK || !strings.Contains(stdout, completeVerb) {
			t.Errorf("%s: exit code %d, script %q", shell, code, stdout)
		}
	}
	for _, args := range [][]string{{"completion"}, {"completion", "tcsh"}, {"completion", "../x"}} {
		if code, _, stderr := c.call(t, args...); code != exitUsage || !strings.Contains(stderr, "bash, zsh or fish") {
			t.Errorf("%v: exit code %d, standard error %q", args, code, stderr)
		}
	}
}
