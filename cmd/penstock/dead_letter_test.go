package main

import (
	"encoding/json"
	"errors"
	"maps"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/penstock/penstock/queue"
	"github.com/penstock/penstock/queue/request"
	"github.com/penstock/penstock/storage"
)

// withQueue are settings with a queue.
func withQueue() map[string]string {
	vars := maps.Clone(places)
	vars["PENSTOCK_QUEUE_URL"] = "http://sqs/000000000000/penstock"
	return vars
}

// bury puts a letter about an input into the dead-letter queue, with its failure
// object where it has one.
func (c *console) bury(t *testing.T, name, code, id string) {
	t.Helper()
	r := request.Request{Input: storage.Ref{Bucket: "penstock", Key: "in/" + name}}
	body, err := request.Encode(r)
	if err != nil {
		t.Fatal(err)
	}
	if code == request.CodeUnreadable {
		body = name
	} else {
		failure := request.Failure{Error: request.Problem{Code: code, Message: "the worker died of " + name}}.JSON()
		if _, err := c.store.Store.Put(t.Context(), c.store.locations.FailureOf(r), failure, storage.PutOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	err = errors.Join(c.dead.Send(t.Context(), queue.Outgoing{Body: body, Attributes: map[string]string{
		request.LetterReason: "it died of " + name, request.LetterCode: code, request.LetterID: id,
	}})...)
	if err != nil {
		t.Fatal(err)
	}
}

func mailed(t *testing.T) *console {
	c := setup(t, withQueue())
	c.bury(t, "a.png", request.CodePoison, "id-a")
	c.bury(t, "b.png", request.CodeModelError, "id-b")
	c.bury(t, "hello\u009b31m", request.CodeUnreadable, "id-c")
	return c
}

func TestDeadLettersAreListedWithTheirReasonsAndStay(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := mailed(t)
		code, stdout, stderr := c.call(t, "dead-letter", "list")
		want := regexp.MustCompile(`^id    code               age  receives  input                   reason
id-a  Poison             \ds   1         s3://penstock/in/a\.png  it died of a\.png
id-b  ModelError         \ds   1         s3://penstock/in/b\.png  it died of b\.png
id-c  UnreadableMessage  \ds   1                                 it died of hello 31m
$`)
		if code != exitOK || !want.MatchString(stdout) || stderr != "\npenstock: 3 messages: 1 ModelError, 1 Poison, 1 UnreadableMessage\n" {
			t.Errorf("exit code %d, standard output\n%s\nstandard error %q", code, stdout, stderr)
		}
		for _, s := range c.dead.Snapshot() {
			if s.State != "visible" {
				t.Errorf("%s is %s after the look", s.Message.ID, s.State)
			}
		}
		code, stdout, _ = c.call(t, "dead-letter", "list", "-o", "json", "-code", "Poison")
		var l letterJSON
		if err := json.Unmarshal([]byte(stdout), &l); code != exitOK || err != nil || l.ID != "id-a" || l.Receives != 2 || l.Inputs[0] != "s3://penstock/in/a.png" {
			t.Errorf("exit code %d, %v, %+v", code, err, l)
		}
		if code, stdout, stderr := c.call(t, "dead-letter", "list", "-limit", "2"); code != exitOK || strings.Count(stdout, "\n") != 3 || !strings.Contains(stderr, "about 3 in all") {
			t.Errorf("-limit 2: exit code %d, standard output\n%s\nstandard error %q", code, stdout, stderr)
		}
		if code, stdout, stderr := c.call(t, "dead-letter", "list", "-older-than", "1h"); code != exitOK || stdout != "" || stderr != "penstock: no such message is in the dead-letter queue\n" {
			t.Errorf("-older-than 1h: exit code %d, standard output %q, standard error %q", code, stdout, stderr)
		}
	})
}

func TestAnEmptyDeadLetterQueueIsCalledEmpty(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := setup(t, withQueue())
		for _, args := range [][]string{{"list"}, {"drop", "-all", "-yes"}} {
			code, stdout, stderr := c.call(t, append([]string{"dead-letter"}, args...)...)
			if code != exitOK || stdout != "" || stderr != "penstock: the dead-letter queue is empty\n" {
				t.Errorf("%s: exit code %d, standard output %q, standard error %q", args[0], code, stdout, stderr)
			}
		}
	})
}

// What another look holds is not called gone.
func TestHiddenDeadLettersAreToldOf(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := mailed(t)
		held, err := c.dead.Receive(t.Context(), queue.MaxBatch, 30*time.Second, 0)
		if err != nil || len(held) != 3 {
			t.Fatalf("%d messages, %v", len(held), err)
		}
		const hidden = "penstock: about 3 messages can't be seen: another look at the queue goes on, or was killed; try again in half a minute\n"
		for _, test := range []struct{ args, stdout, stderr string }{
			{"list", "", hidden + "penstock: no message of the dead-letter queue can be seen now\n"},
			{"redrive -all", "0 messages redriven\n", hidden},
			{"drop -all -yes", "", hidden + "penstock: no message of the dead-letter queue can be seen now\n"},
			{"show id-a", "", hidden + "penstock: id-a: no message of that id is in the dead-letter queue; "},
		} {
			_, stdout, stderr := c.call(t, append([]string{"dead-letter"}, strings.Fields(test.args)...)...)
			if stdout != test.stdout || !strings.HasPrefix(stderr, test.stderr) {
				t.Errorf("%s: standard output %q, standard error %q", test.args, stdout, stderr)
			}
		}
		time.Sleep(time.Minute)
		if _, stdout, stderr := c.call(t, "dead-letter", "list"); strings.Count(stdout, "\n") != 4 || strings.Contains(stderr, "can't be seen") {
			t.Errorf("later: %s%s", stdout, stderr)
		}
	})
}

// gone is a pipe that nobody reads any more.
type gone struct{}

func (gone) Write([]byte) (int, error) { return 0, syscall.EPIPE }

// As in penstock dead-letter list -o json | head -1.
func TestAReaderThatGoesAwayHidesNoDeadLetters(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := mailed(t)
		c.program.stdout = gone{}
		if code, _, stderr := c.call(t, "dead-letter", "list", "-o", "json"); code != exitTrouble || stderr != "" {
			t.Errorf("exit code %d, standard error %q", code, stderr)
		}
		if a, err := c.dead.Attributes(t.Context()); err != nil || a.Visible != 3 {
			t.Errorf("%+v are left, and %v; want 3 visible ones", a, err)
		}
	})
}

func TestOnATerminalALettersReasonStandsBelowIt(t *testing.T) {
	t.Parallel()
	l := letterList{table: table{head: []string{"id", "code", "age", "receives", "input", "reason"}}}
	l.table.add("id-a", "Poison", "3s", "1", "s3://penstock/in/a.png", "the worker's process ended 4 times while it ran this input")
	l.table.add("id-bb", "UnreadableMessage", "10s", "2", "", "no JSON")
	var w strings.Builder
	if err := l.write(&w, false, 40); err != nil {
		t.Fatal(err)
	}
	want := `id     code               age  receives
id-a   Poison             3s   1
    s3://penstock/in/a.png
    the worker's process ended 4 times
    while it ran this input
id-bb  UnreadableMessage  10s  2
    no JSON
`
	if w.String() != want {
		t.Errorf("it is\n%s\nwant\n%s", w.String(), want)
	}
}

func TestADeadLetterIsShownWhole(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := mailed(t)
		c.upload(t, "slow-a.png", "7")
		code, stdout, stderr := c.call(t, "dead-letter", "show", "id-a")
		for _, want := range []string{"Poison", "it died of a.png", "s3://penstock/in/a.png", "it is not there any more", `"message": "the worker died of a.png"`, `"version": 1`} {
			if code != exitOK || stderr != "" || !strings.Contains(stdout, want) {
				t.Errorf("exit code %d, standard error %q; standard output does not say %q:\n%s", code, stderr, want, stdout)
			}
		}
		code, stdout, _ = c.call(t, "dead-letter", "show", "-o", "json", "id-c")
		var w letterWhole
		if err := json.Unmarshal([]byte(stdout), &w); code != exitOK || err != nil || w.Body != "hello\u009b31m" || !strings.Contains(w.Unreadable, "JSON") || len(w.Looks) != 0 {
			t.Errorf("exit code %d, %v, %+v", code, err, w)
		}
		if code, stdout, _ := c.call(t, "dead-letter", "show", "id-c"); code != exitOK || strings.Contains(stdout, "\u009b") {
			t.Errorf("exit code %d; what is foreign is printed as it is: %q", code, stdout)
		}
		if code, stdout, stderr := c.call(t, "dead-letter", "show", "id-z"); code != exitUsage || stdout != "" || !strings.Contains(stderr, "id-z: no message of that id") {
			t.Errorf("exit code %d, standard output %q, standard error %q", code, stdout, stderr)
		}
	})
}

func TestDeadLettersAreRedrivenAsTheyAreChosen(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		for _, test := range []struct {
			args string
			code int
			want []string // ids of what is in the queue
		}{
			{"-all", exitOK, []string{"id-a", "id-b", "id-c"}},
			{"-all -code Poison", exitOK, []string{"id-a"}},
			{"id-b id-a", exitOK, []string{"id-a", "id-b"}},
			{"id-b id-z", exitUsage, []string{"id-b"}},
			{"-all -older-than 1h", exitOK, nil},
		} {
			c := mailed(t)
			code, stdout, stderr := c.call(t, append([]string{"dead-letter", "redrive"}, strings.Fields(test.args)...)...)
			var got []string
			for _, s := range c.queue.Snapshot() {
				got = append(got, s.Message.Attributes[request.LetterID])
			}
			if code != test.code || strings.Join(got, " ") != strings.Join(test.want, " ") || c.dead.Len() != 3-len(test.want) || stdout != plural(len(test.want), "message")+" redriven\n" {
				t.Errorf("%s: exit code %d, %v were redriven, %d are left; standard output %q, standard error %q", test.args, code, got, c.dead.Len(), stdout, stderr)
			}
		}
	})
}

func TestALetterOfAnotherQueueIsLeftAlone(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := setup(t, withQueue())
		other := c.other(t)
		if err := errors.Join(other.Send(t.Context(), queue.Outgoing{Body: "x"})...); err != nil {
			t.Fatal(err)
		}
		for range 2 {
			messages, err := other.Receive(t.Context(), 1, time.Minute, 0)
			if err != nil {
				t.Fatal(err)
			}
			other.ChangeVisibility(t.Context(), 0, messages...)
		}
		code, _, stderr := c.call(t, "dead-letter", "redrive", "-all")
		if code != exitFailed || c.dead.Len() != 1 || c.queue.Len() != 0 || !strings.Contains(stderr, "it was moved here from arn:aws:sqs:mem:000000000000:other") {
			t.Errorf("exit code %d, %d left, standard error %q", code, c.dead.Len(), stderr)
		}
	})
}

func TestDeadLettersAreDroppedOnlyOnPurpose(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		for _, test := range []struct {
			args string
			code int
			left int
		}{
			{"-all", exitUsage, 3},
			{"-yes", exitUsage, 3},
			{"-yes -all id-a", exitUsage, 3},
			{"-yes -all -code UnreadableMessage", exitOK, 2},
			{"-yes id-a id-b", exitOK, 1},
			{"-yes id-z", exitUsage, 3},
			{"-yes -all", exitOK, 0},
		} {
			c := mailed(t)
			c.stdin = strings.NewReader("y\n") // but no terminal
			code, _, stderr := c.call(t, append([]string{"dead-letter", "drop"}, strings.Fields(test.args)...)...)
			if code != test.code || c.dead.Len() != test.left || c.queue.Len() != 0 {
				t.Errorf("%s: exit code %d, %d are left; standard error %q", test.args, code, c.dead.Len(), stderr)
			}
		}
	})
}

func TestDeadLetterVerbsSayWhatTheyNeed(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		for _, test := range []struct{ args, want string }{
			{"dead-letter", "penstock dead-letter: look at"}, // help, on standard output
			{"dead-letter peek", `penstock: "peek" is no command; see penstock dead-letter -h`},
			{"dead-letter list id-a", `penstock: dead-letter list: it takes no arguments, but "id-a" is given; penstock dead-letter show prints one message`},
			{"dead-letter list -limit 0", "penstock: dead-letter list: -limit is 0; it must be at least 1"},
			{"dead-letter show", "penstock: dead-letter show: it takes the id of one message, but 0 are given; penstock dead-letter list prints them"},
			{"dead-letter redrive", "penstock: dead-letter redrive: name messages by their ids, or all by -all; penstock dead-letter list prints them"},
			{"dead-letter redrive -all -queue-url nope", `penstock: dead-letter redrive: queue-url: "nope" is not the URL of a queue; it looks like https://sqs.REGION.amazonaws.com/ACCOUNT/NAME`},
			{"dead-letter list -queue-url nope -older-than -1s -o xml", "penstock: dead-letter list: -older-than is -1s; it can't be negative\npenstock: dead-letter list: -o is \"xml\"; it must be table or json\n" +
				"penstock: dead-letter list: queue-url: \"nope\" is not the URL of a queue; it looks like https://sqs.REGION.amazonaws.com/ACCOUNT/NAME"},
		} {
			c := mailed(t)
			_, stdout, stderr := c.call(t, strings.Fields(test.args)...)
			if got := stdout + stderr; !strings.HasPrefix(got, test.want) {
				t.Errorf("%s:\n%s\nwant\n%s", test.args, got, test.want)
			}
		}
		c := setup(t, nil)
		if code, _, stderr := c.call(t, "dead-letter", "list"); code != exitUsage || !strings.Contains(stderr, "start local mode here") {
			t.Errorf("exit code %d, standard error %q", code, stderr)
		}
	})
}
