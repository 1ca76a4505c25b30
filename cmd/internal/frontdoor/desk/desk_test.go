package desk

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/penstock/penstock/cmd/internal/frontdoor/pipetest"
	"github.com/penstock/penstock/queue/request"
	"github.com/penstock/penstock/worker/codec"
)

func TestAFailuresStatusSaysWhoMustAct(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		problem request.Problem
		want    int
	}{
		{request.Problem{Code: codec.CodeMalformed, Stage: request.StageDecode}, 422},
		{request.Problem{Code: codec.CodeUnsupportedType, Stage: request.StageDecode}, 422},
		{request.Problem{Code: codec.CodeNotAcceptable, Stage: request.StageEncode}, 422},
		{request.Problem{Code: codec.CodeBadOutput, Stage: request.StageEncode}, 500},
		{request.Problem{Code: request.CodeNotFound, Stage: request.StageFetch}, 422},
		{request.Problem{Code: request.CodeUnknownModel, Stage: request.StageAccept}, 422},
		{request.Problem{Code: request.CodeModelError, Stage: request.StagePredict}, 422},
		{request.Problem{Code: request.CodeModelError, Stage: request.StagePredict, Retryable: true}, 500},
		{request.Problem{Code: request.CodePoison, Stage: request.StagePredict}, 500},
		{request.Problem{Code: request.CodeInternal, Stage: request.StageDecode}, 500},
		{request.Problem{Code: request.CodeOutputTaken, Stage: request.StageStore}, 409},
		{request.Problem{Code: request.CodeCancelled, Stage: request.StageAccept}, 410},
		{request.Problem{Code: request.CodeExpired, Stage: request.StageAccept, Retryable: true}, 504},
		{request.Problem{Code: request.CodeTimeout, Stage: request.StagePredict, Retryable: true}, 504},
	} {
		if got := StatusOf(test.problem); got != test.want {
			t.Errorf("%s (%s, retryable %t) is %d, want %d", test.problem.Code, test.problem.Stage, test.problem.Retryable, got, test.want)
		}
	}
}

func post(ctx context.Context, body string) *http.Request {
	return httptest.NewRequestWithContext(ctx, http.MethodPost, "/", strings.NewReader(body))
}

func TestBodiesInMemoryNeverExceedTheLimit(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := &Bodies{Max: 10, All: 25, Patience: time.Minute}
		admit := func(r *http.Request) (*Call, error) {
			c := new(Call)
			return c, b.Admit(httptest.NewRecorder(), r, c)
		}
		first, err := admit(post(t.Context(), "0123456789"))
		if err != nil {
			t.Fatal(err)
		}
		unknown := post(t.Context(), "x")
		unknown.ContentLength = -1 // it may be as long as any
		if _, err := admit(unknown); err != nil {
			t.Fatal(err)
		}
		if _, err := admit(post(t.Context(), "")); err != nil {
			t.Errorf("a call without a body: %v", err)
		}
		began := time.Now()
		if _, err := admit(post(t.Context(), "0123456789")); !errors.Is(err, ErrNoRoom) || time.Since(began) != time.Minute {
			t.Errorf("after %v the error is %v, want ErrNoRoom after a minute", time.Since(began), err)
		}
		time.AfterFunc(time.Second, first.BodyDone)
		waiting, err := admit(post(t.Context(), "0123456789"))
		if err != nil {
			t.Errorf("no room after a body was done: %v", err)
		}
		for range 3 { // more than once is once
			first.BodyDone()
			waiting.BodyDone()
		}
		for range 2 {
			if _, err := admit(post(t.Context(), "0123456")); err != nil {
				t.Errorf("no room for what was given back: %v", err)
			}
		}
		if _, err := admit(post(t.Context(), "xx")); !errors.Is(err, ErrNoRoom) {
			t.Errorf("more was given back than was taken: %v", err)
		}
	})
}

func TestABodyIsReadUpToItsLimit(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		body string
		long bool // its length is not told
		ok   bool
	}{{"12345", false, true}, {"123456", false, false}, {"12345", true, true}, {"123456", true, false}, {"", false, true}} {
		r := post(t.Context(), test.body)
		if test.long {
			r.ContentLength = -1
		}
		body, err := ReadBody(r, 5)
		_, tooLarge := errors.AsType[*BodyTooLargeError](err)
		if tooLarge == test.ok || test.ok && string(body) != test.body {
			t.Errorf("%q: read %q, error %v", test.body, body, err)
		}
		if rest, _ := io.ReadAll(r.Body); len(rest) != 0 {
			t.Errorf("%q: %q was left unread, and a client may wait until it is", test.body, rest)
		}
	}
	asked := post(t.Context(), "123456")
	asked.Header.Set("Expect", "100-continue")
	if _, err := ReadBody(asked, 5); err == nil {
		t.Error("it was read")
	}
	if rest, _ := io.ReadAll(asked.Body); len(rest) != 6 {
		t.Error("a client that waits to be asked for its body was asked in vain")
	}
}

func TestABodyWhoseLengthIsToldIsInMemoryOnce(t *testing.T) {
	r := post(t.Context(), strings.Repeat("x", 6<<20))
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	body, err := ReadBody(r, 6<<20)
	runtime.ReadMemStats(&after)
	if taken := after.TotalAlloc - before.TotalAlloc; err != nil || taken > uint64(len(body))*11/10 {
		t.Errorf("a body of %d bytes took %d: %v", len(body), taken, err)
	}
}

func TestABodyThatDoesNotArriveIsGivenUpAndAnswered(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		bodies := &Bodies{Max: 100, All: 100, Patience: time.Minute}
		handler := func(w http.ResponseWriter, r *http.Request) {
			c := new(Call)
			r = r.WithContext(With(r.Context(), c))
			defer c.BodyDone()
			if err := bodies.Admit(w, r, c); err != nil {
				t.Error(err)
			}
			if _, err := ReadBody(r, 100); err != nil {
				http.Error(w, err.Error(), http.StatusBadRequest)
				return
			}
			c.BodyDone()
			select { // longer than a body may take
			case <-r.Context().Done():
				t.Error("the call was given up though its body had arrived")
			case <-time.After(2 * bodies.Patience):
			}
		}
		for body, want := range map[string]struct {
			status string
			after  time.Duration
		}{"abc": {"400", bodies.Patience}, "abcdefghij": {"200", 2 * bodies.Patience}} {
			conn := pipetest.Dial(t, handler)
			_ = conn.SetDeadline(time.Now().Add(time.Hour)) // the test must end
			began := time.Now()
			if _, err := io.WriteString(conn, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n"+body); err != nil {
				t.Fatal(err)
			}
			line, err := bufio.NewReader(conn).ReadString('\n')
			if took := time.Since(began); !strings.Contains(line, want.status) || took != want.after {
				t.Errorf("%d of 10 bytes: answer %q after %v, error %v; want %s after %v", len(body), line, took, err, want.status, want.after)
			}
		}
	})
}
