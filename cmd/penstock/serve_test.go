package main

import (
	"context"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

// serving runs penstock serve until what has been done with its URL, and
// returns the exit code.
func (c *console) serving(t *testing.T, do func(url string), args ...string) int {
	t.Helper()
	ctx, interrupt := context.WithCancelCause(t.Context())
	c.program.stdout = &trigger{&c.stdout, "\n", func() {
		url := regexp.MustCompile(`http://\S+`).FindString(c.stdout.String())
		go func() {
			do(url)
			interrupt(errInterrupted)
		}()
	}}
	return c.run(ctx, append([]string{"serve"}, args...))
}

// ask calls a server and gives what it answers.
func ask(t *testing.T, method, url, body string, headers ...string) (int, string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
	if err != nil {
		t.Error(err)
		return 0, ""
	}
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	res, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Error(err)
		return 0, ""
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		t.Error(err)
	}
	return res.StatusCode, string(b)
}

// serveVars are all that a server is told, and no more.
func serveVars(more ...string) map[string]string {
	vars := map[string]string{
		"PENSTOCK_QUEUE_URL": "http://127.0.0.1:1/123456789012/penstock", "PENSTOCK_LISTEN": "127.0.0.1:0", "PENSTOCK_ENDPOINTS": "digits, other=model",
	}
	maps.Copy(vars, places)
	for i := 0; i < len(more); i += 2 {
		vars[more[i]] = more[i+1]
	}
	return vars
}

func TestServeTakesRequestsUntilItIsInterrupted(t *testing.T) {
	t.Parallel()
	c := setup(t, serveVars())
	code := c.serving(t, func(url string) {
		for _, test := range []struct {
			method, path, body string
			code               int
			says               string
		}{
			{"GET", "/healthz", "", 200, "alive"},
			{"GET", "/readyz", "", 200, "ready"},
			{"POST", "/predict", "x", 202, `"queued"`},
			{"POST", "/endpoints/digits/async-invocations", "x", 202, "InferenceId"},
			{"POST", "/endpoints/other/async-invocations", "x", 202, "InferenceId"},
			{"POST", "/endpoints/none/async-invocations", "x", 400, "Endpoint none of account 123456789012 not found."},
			{"GET", "/openapi.json", "", 200, "3.1"},
			{"GET", "/metrics", "", 200, `penstock_http_requests_total{route="/predict",status="202"} 1`},
		} {
			code, body := ask(t, test.method, url+test.path, test.body)
			if code != test.code || !strings.Contains(body, test.says) {
				t.Errorf("%s: status %d, want %d and %q:\n%s", test.path, code, test.code, test.says, body)
			}
		}
	})
	if code != exitOK {
		t.Errorf("exit code %d:\n%s", code, c.stderr.String())
	}
	if a, err := c.queue.Attributes(t.Context()); a.Visible != 3 || err != nil {
		t.Errorf("%d messages are in the queue, error %v; want 3", a.Visible, err)
	}
	for _, want := range []string{`"msg":"serving"`, `"msg":"call"`, `"msg":"ended"`} {
		if !strings.Contains(c.stderr.String(), want) {
			t.Errorf("the log has no %s:\n%s", want, c.stderr.String())
		}
	}
}

func TestServeAnswersACallThatWaitsBeforeItEnds(t *testing.T) {
	t.Parallel()
	c := setup(t, serveVars())
	answered := make(chan string, 1)
	code := c.serving(t, func(url string) {
		begun := make(chan struct{})
		go func() {
			close(begun)
			_, body := ask(t, "POST", url+"/predict", "x", "Prefer", "wait=300")
			answered <- body
		}()
		<-begun
		for a, _ := c.queue.Attributes(t.Context()); a.Visible == 0; a, _ = c.queue.Attributes(t.Context()) {
			time.Sleep(time.Millisecond) // a real server is at work
		}
	})
	if body := <-answered; code != exitOK || !strings.Contains(body, `"queued"`) {
		t.Errorf("exit code %d, answer %s", code, body)
	}
}

func TestServeAsksCallersWhoTheyAre(t *testing.T) {
	t.Parallel()
	c := setup(t, serveVars("PENSTOCK_TOKEN", "a-token-of-the-environment", "PENSTOCK_LISTEN", ":0"))
	c.file(t, "tokens", "ada a-token-of-the-file\n")
	code := c.serving(t, func(url string) {
		for token, want := range map[string]int{"a-token-of-the-environment": 202, "a-token-of-the-file": 202, "another-token-of-mine": 401} {
			if code, body := ask(t, "POST", url+"/predict", "x", "Authorization", "Bearer "+token); code != want {
				t.Errorf("with %s status %d, want %d:\n%s", token, code, want, body)
			}
		}
		if code, body := ask(t, "POST", url+"/endpoints/digits/invocations", "x"); code != 401 || !strings.Contains(body, `"Message"`) {
			t.Errorf("without a token status %d:\n%s", code, body)
		}
		if code, _ := ask(t, "GET", url+"/healthz", ""); code != 200 {
			t.Errorf("/healthz answers %d without a token", code)
		}
	}, "-token-file", "tokens")
	if code != exitOK {
		t.Errorf("exit code %d:\n%s", code, c.stderr.String())
	}
	if !strings.Contains(c.stderr.String(), `"caller":"ada"`) {
		t.Errorf("the log does not say who called:\n%s", c.stderr.String())
	}
}

func TestServeTellsAllFaultsOfItsSettingsAtOnce(t *testing.T) {
	t.Parallel()
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	c := setup(t, map[string]string{"PENSTOCK_TOKEN": "short"})
	c.file(t, "keys", "nonsense\n")
	code, stdout, stderr := c.call(t, "serve", "-queue-url", "q", "-input", "nowhere", "-endpoints", "a b,c,c,d=", "-max-body", "much", "-max-wait", "1ms",
		"-log-level", "loud", "-dead-letter-url", "x", "-key-file", "keys", "-token-file", "missing", "-group-by", "x", "-listen", taken.Addr().String())
	if code != exitUsage || stdout != "" {
		t.Errorf("exit code %d, want %d; it printed %q", code, exitUsage, stdout)
	}
	for _, want := range []string{
		"queue-url:", "input:", "output:", "failure:", `"a b" is no endpoint name`, `"c" is there twice`, `"d=" names no model`, "max-body:", "max-wait is", "log-level:",
		"dead-letter-url:", "keys:1:", "token-file: open", "PENSTOCK_TOKEN: the token has less than 16", "group-by:",
	} {
		if !strings.Contains(stderr, want) {
			t.Errorf("it does not say %q:\n%s", want, stderr)
		}
	}
	c = setup(t, serveVars("PENSTOCK_LISTEN", taken.Addr().String()))
	unforked(func() { code, _, stderr = c.call(t, "serve") })
	if code != exitUsage || !strings.Contains(stderr, "is taken by ") || !strings.Contains(stderr, fmt.Sprintf("process %d", os.Getpid())) {
		t.Errorf("a port that is taken: exit code %d\n%s", code, stderr)
	}
}

func TestServeTellsOfMisspeltSettings(t *testing.T) {
	t.Parallel()
	c := setup(t, serveVars())
	c.program.environ = []string{"PENSTOCK_MAX_WIAT=1m", "PENSTOCK_MAX_BATCH_SIZE=7"} // the second is a worker's
	c.file(t, ".penstock/env", "PENSTOCK_STAT=s3://x/y/\nPENSTOCK_URL=http://127.0.0.1:1\n")
	if code := c.serving(t, func(string) {}); code != exitOK {
		t.Errorf("exit code %d:\n%s", code, c.stderr.String())
	}
	if log := c.stderr.String(); strings.Count(log, `"msg":"unknown setting"`) != 2 || !strings.Contains(log, "did you mean PENSTOCK_MAX_WAIT?") || !strings.Contains(log, ".penstock/env: PENSTOCK_STAT is set") {
		t.Errorf("the log is\n%s", log)
	}
	// Where settings are missing, one that was misspelt is the reason.
	vars := serveVars()
	delete(vars, "PENSTOCK_QUEUE_URL")
	c = setup(t, vars)
	c.program.environ = []string{"PENSTOCK_QUEUE_ULR=http://127.0.0.1:1/1/q"}
	if code, _, stderr := c.call(t, "serve"); code != exitUsage || !strings.Contains(stderr, "queue-url: no queue is given") || !strings.Contains(stderr, "did you mean PENSTOCK_QUEUE_URL?") {
		t.Errorf("exit code %d:\n%s", code, stderr)
	}
}

func TestServeOnAllInterfacesNeedsCallersToBeKnown(t *testing.T) {
	t.Parallel()
	code, _, stderr := setup(t, serveVars()).call(t, "serve", "-listen", ":0")
	if code != exitUsage || !strings.Contains(stderr, "-allow-anonymous") {
		t.Errorf("exit code %d:\n%s", code, stderr)
	}
	c := setup(t, serveVars("PENSTOCK_ALLOW_ANONYMOUS", "true"))
	if code := c.serving(t, func(string) {}, "-listen", ":0"); code != exitOK {
		t.Errorf("where it is allowed: exit code %d:\n%s", code, c.stderr.String())
	}
}

func TestLocalServesTheFrontDoor(t *testing.T) {
	t.Parallel()
	c := setup(t, nil)
	c.install(t)
	ctx, interrupt := context.WithCancelCause(t.Context())
	c.program.stdout = &trigger{&c.stdout, "aws s3 cp s3://", func() {
		env, err := os.ReadFile(filepath.Join(c.dir, ".penstock", "env"))
		url := regexp.MustCompile(`(?m)^AWS_ENDPOINT_URL_SAGEMAKER_RUNTIME=(.*)$`).FindStringSubmatch(string(env))
		if err != nil || url == nil || !strings.Contains(string(env), "PENSTOCK_URL="+url[1]) {
			t.Errorf("the settings are\n%s\nerror %v", env, err)
			interrupt(errInterrupted)
			return
		}
		for _, endpoint := range []string{"penstock", "digits"} {
			if code, body := ask(t, "POST", url[1]+"/endpoints/"+endpoint+"/async-invocations", "x"); code != 202 {
				t.Errorf("endpoint %s: status %d\n%s", endpoint, code, body)
			}
		}
		interrupt(errInterrupted)
	}}
	if code := c.run(ctx, strings.Fields("local -s3-port 0 -sqs-port 0 -http-port 0")); code != exitOK {
		t.Errorf("exit code %d, standard error %q", code, c.stderr.String())
	}
}
