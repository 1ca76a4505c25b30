package worker

import (
	"context"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/penstock/penstock/queue"
	qmem "github.com/penstock/penstock/queue/mem"
	"github.com/penstock/penstock/queue/request"
	"github.com/penstock/penstock/worker/model"
	"github.com/penstock/penstock/worker/model/fake"
)

var errSoft = &model.Error{Code: "RESOURCE_EXHAUSTED", Message: "no memory for this"}

// letters are the messages in the dead-letter queue.
func (p *plant) letters() (all []queue.Message) {
	for _, s := range p.dead.Snapshot() {
		all = append(all, s.Message)
	}
	return all
}

// redrive moves the dead letters back, as SQS's own redrive does.
func (p *plant) redrive() {
	p.t.Helper()
	for len(p.dead.Snapshot()) > 0 {
		messages, err := p.dead.Receive(p.t.Context(), 10, time.Minute, 0)
		if err != nil {
			p.t.Fatal(err)
		}
		for _, m := range messages {
			p.send(m.Body, flat(m.Attributes)...)
		}
		p.dead.Delete(p.t.Context(), messages...)
	}
}

func TestAMessageThatIsNoRequestGoesToTheDeadLettersWithItsReason(t *testing.T) {
	in(t, func(t *testing.T, p *plant) {
		w := p.start()
		p.send("hello\nworld", "trace", "t1")
		p.settled()
		letters := p.letters()
		if len(letters) != 1 {
			t.Fatalf("%d dead letters, want 1", len(letters))
		}
		m := letters[0]
		if m.Body != "hello\nworld" || m.Attributes["trace"] != "t1" {
			t.Errorf("the letter is not the message: %+v", m)
		}
		if m.Attributes[attrCode] != request.CodeUnreadable || !strings.Contains(m.Attributes[attrReason], "JSON") || m.Attributes[attrID] == "" {
			t.Errorf("the letter's attributes are %v", m.Attributes)
		}
		if w.counter("penstock_unreadable_messages_total") != 1 || w.counter("penstock_dead_letters_total") != 1 {
			t.Error("it was not counted")
		}
		if len(p.list("")) != 0 {
			t.Errorf("something was written: %q", p.list(""))
		}
	})
}

func TestWithoutDeadLettersAnUnreadableMessageIsLeftToTheQueue(t *testing.T) {
	in(t, func(t *testing.T, p *plant) {
		p.queue = qmem.New(qmem.Options{DeadLetter: p.dead, MaxReceiveCount: 5})
		p.start(with(func(c *Config) { c.DeadLetters = nil }))
		p.send("hello")
		time.Sleep(3 * time.Second)
		if p.queue.Len() != 1 {
			t.Fatal("the message was acknowledged")
		}
		p.settled() // by the queue's own redrive
		if n := p.dead.Len(); n != 1 {
			t.Errorf("%d dead letters, want 1", n)
		}
	})
}

func TestTheGoodRecordsOfABadMessageAreDone(t *testing.T) {
	in(t, func(t *testing.T, p *plant) {
		p.start()
		a, b := record(p.upload("a", row(1))), record(p.upload("b", row(2)))
		bad := strings.Replace(record(p.upload("c", row(3))), `"2.1"`, `"3.0"`, 1)
		body := `{"Records":[` + strings.Join([]string{a, bad, b}, ",") + `]}`
		p.send(body)
		p.settled()
		p.wantOutput("a", 1)
		p.wantOutput("b", 2)
		letters := p.letters()
		if len(letters) != 1 || letters[0].Body != body || !strings.Contains(letters[0].Attributes[attrReason], "item 2 of 3") {
			t.Fatalf("the dead letters are %+v", letters)
		}
	})
}

func TestABadRecordIsNotForgottenWhenAGoodOneIsRetried(t *testing.T) {
	in(t, func(t *testing.T, p *plant) {
		p.start(runs(fake.FailTimes(1, errSoft)), with(func(c *Config) { c.MaxBatchSize = 1 }))
		a, b := record(p.upload("a", row(1))), record(p.upload("b", row(2)))
		p.send(`{"Records":[` + strings.Join([]string{a, b, `{"eventName":"ObjectCreated:Put","eventVersion":"9.0"}`}, ",") + `]}`)
		p.settled()
		p.wantOutput("a", 1)
		p.wantOutput("b", 2)
		if n := p.dead.Len(); n != 1 {
			t.Errorf("%d dead letters, want 1 for the record that can't be read", n)
		}
	})
}

func TestADeadLetterQueueOutOfReachLosesNothing(t *testing.T) {
	in(t, func(t *testing.T, p *plant) {
		until := time.Now().Add(time.Hour)
		w := p.start(runs(fake.FailWhen(first(666), errSoft)), with(func(c *Config) {
			c.DeadLetters.(*deadShim).fail = func() error {
				if time.Now().Before(until) {
					return errCut
				}
				return nil
			}
		}))
		p.send("hello")
		p.submit("x", row(666))
		p.settled()
		p.wantFailure("x", request.CodeModelError)
		codes := make(map[string]int)
		for _, m := range p.letters() {
			codes[m.Attributes[attrCode]]++
		}
		if codes[request.CodeUnreadable] != 1 || codes[request.CodeModelError] != 1 {
			t.Errorf("the dead letters are %v, want one of each: %v", codes, w.outcomes())
		}
	})
}

func TestARedrivenRequestRunsAfreshAndReplacesItsFailure(t *testing.T) {
	in(t, func(t *testing.T, p *plant) {
		p.start(runs(fake.FailTimes(3, errSoft)))
		p.submit("x", row(1))
		p.settled()
		f := p.wantFailure("x", request.CodeModelError)
		if f.Attempts != 3 || !f.Error.Retryable {
			t.Errorf("the failure says %+v", f)
		}
		letters := p.letters()
		if len(letters) != 1 || letters[0].Attributes[attrID] != f.InferenceID || letters[0].Attributes[attrReason] == "" {
			t.Fatalf("the dead letters are %+v", letters)
		}
		p.redrive()
		p.settled()
		info := p.wantOutput("x", 1)
		if prov, _ := request.ParseProvenance(info.Metadata); prov.Attempts != 1 {
			t.Errorf("a redriven request counts %d attempts, want 1: it runs afresh", prov.Attempts)
		}
	})
}

func TestARedrivenRequestThatFailsAgainHasTheNewFailure(t *testing.T) {
	in(t, func(t *testing.T, p *plant) {
		p.start(runs(fake.FailTimes(3, errSoft), fake.FailTimes(1, errPermanent)))
		p.submit("x", row(1))
		p.settled()
		old := p.wantFailure("x", request.CodeModelError)
		p.redrive()
		p.settled()
		if f := p.wantFailure("x", request.CodeModelError); f.Time.Equal(old.Time) || f.Error.Retryable {
			t.Errorf("the failure is still the old one: %+v", f)
		}
	})
}

func TestReasonsFitIntoAttributes(t *testing.T) {
	t.Parallel()
	for _, s := range []string{"", "plain", "tab\tand\x00nul\ufffe", strings.Repeat("é", 3000), "broken\xff"} {
		o := queue.Outgoing{Body: "x", Attributes: map[string]string{attrReason: request.LetterText(s)}}
		if err := o.Validate(); err != nil || len(o.Attributes[attrReason]) > 1100 {
			t.Errorf("%.20q: %v", s, err)
		}
	}
}

func TestALetterHasRoomForItsReasonBesideTenAttributes(t *testing.T) {
	in(t, func(t *testing.T, p *plant) {
		p.start()
		var attributes []string
		for _, c := range "abcdefghij" {
			attributes = append(attributes, string(c), "x")
		}
		p.send("hello", attributes...)
		p.settled()
		letters := p.letters()
		if len(letters) != 1 || letters[0].Attributes[attrReason] == "" {
			t.Errorf("the dead letters are %+v", letters)
		}
	})
}

func TestALetterThatIsTooLargeForItsAttributesIsSentAllTheSame(t *testing.T) {
	in(t, func(t *testing.T, p *plant) {
		p.start()
		p.send(strings.Repeat("x", queue.MaxMessageBytes))
		p.settled()
		if letters := p.letters(); len(letters) != 1 {
			t.Fatalf("%d dead letters, want 1", len(letters))
		}
	})
}

// A FIFO queue drops what has the deduplication id of something it has had.
func TestLettersOfOneMessageAreNoCopiesOfEachOther(t *testing.T) {
	in(t, func(t *testing.T, p *plant) {
		letters := &sentLetters{}
		p.start(runs(fake.FailWhen(func([]model.Tensor) bool { return true }, errSoft)), with(func(c *Config) {
			c.MaxAttempts, c.DeadLetters = 1, letters
		}))
		p.send(event(p.upload("a", row(1)), p.upload("b", row(2))))
		p.settled()
		ids := make(map[string]bool)
		for _, m := range letters.sent {
			ids[m.DedupID] = true
			if len(m.DedupID) > 128 {
				t.Errorf("the deduplication id %s has more than SQS's 128 characters", m.DedupID)
			}
		}
		if len(letters.sent) != 2 || len(ids) != 2 {
			t.Errorf("%d letters have the ids %v, want two", len(letters.sent), ids)
		}
	})
}

// sentLetters remembers what is sent.
type sentLetters struct {
	mu   sync.Mutex
	sent []queue.Outgoing
}

func (s *sentLetters) Send(_ context.Context, messages ...queue.Outgoing) []error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sent = append(s.sent, messages...)
	return make([]error, len(messages))
}

// A message of several requests that is redriven and comes back is split, and
// its requests are redriven all the same.
func TestARequestOfARedrivenMessageReplacesItsFailureAlsoWhenItIsSentAlone(t *testing.T) {
	in(t, func(t *testing.T, p *plant) {
		w := p.start(runs(fake.FailWhen(first(2), errPermanent)))
		body := event(p.upload("a", row(1)), p.upload("b", row(2)))
		p.send(body)
		p.settled()
		p.wantFailure("b", request.CodeModelError)
		if err := w.stop(); err != nil {
			t.Fatal(err)
		}
		p.send(body, attrReason, "a person looked at it")
		if m, err := p.queue.Receive(t.Context(), 1, time.Second, 0); err != nil || len(m) != 1 {
			t.Fatal(m, err)
		}
		p.start()
		p.settled()
		p.wantOutput("a", 1)
		p.wantOutput("b", 2)
	})
}
