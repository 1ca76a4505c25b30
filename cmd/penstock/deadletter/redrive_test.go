package deadletter

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/penstock/penstock/queue"
	"github.com/penstock/penstock/queue/mem"
	"github.com/penstock/penstock/queue/request"
	"github.com/penstock/penstock/storage"
)

var errCut = errors.New("the line was cut")

// deafSender fails to send what has this body.
type deafSender struct {
	queue.Sender
	to string
}

func (d deafSender) Send(ctx context.Context, messages ...queue.Outgoing) []error {
	errs := make([]error, len(messages))
	for i, m := range messages {
		if m.Body == d.to {
			errs[i] = errCut
			continue
		}
		errs[i] = d.Sender.Send(ctx, m)[0]
	}
	return errs
}

func TestARedrivenLetterIsInTheQueueAndNoLongerHere(t *testing.T) {
	in(t, func(o office) {
		live := mem.New(mem.Options{Name: "live"})
		o.bury(25, request.CodePoison)
		s := o.open()
		for {
			letters, err := s.Next(o.Context())
			if err != nil {
				o.Fatal(err)
			}
			if len(letters) == 0 {
				break
			}
			if err := errors.Join(s.Redrive(o.Context(), live, letters)...); err != nil {
				o.Error(err)
			}
		}
		s.Close(o.Context())
		if o.dead.Len() != 0 || live.Len() != 25 {
			o.Errorf("%d letters are here and %d messages there, want 0 and 25", o.dead.Len(), live.Len())
		}
		for _, m := range live.Snapshot() {
			if a := m.Message.Attributes; a[request.LetterReason] != "why" || a[request.LetterCode] != request.CodePoison || a[request.LetterID] == "" {
				o.Fatalf("the attributes of a redriven message are %v: a worker would not run it afresh", a)
			}
		}
	})
}

func TestWhatComesBackAtOnceIsNotSentRoundAndRound(t *testing.T) {
	in(t, func(o office) {
		o.bury(3, request.CodeUnreadable)
		s := o.open()
		rounds := 0
		for {
			letters, err := s.Next(o.Context())
			if err != nil {
				o.Fatal(err)
			}
			if len(letters) == 0 {
				break
			}
			rounds++
			live := mem.New(mem.Options{Name: "live"})
			if err := errors.Join(s.Redrive(o.Context(), live, letters)...); err != nil {
				o.Fatal(err)
			}
			for _, m := range live.Snapshot() { // a worker buries it again, with what it has of attributes
				o.send(queue.Outgoing{Body: m.Message.Body, Attributes: m.Message.Attributes})
			}
		}
		s.Close(o.Context())
		if rounds != 1 || o.visible() != 3 {
			o.Errorf("%d rounds, %d letters; want 1 and 3", rounds, o.visible())
		}
		another := o.open()
		defer another.Close(o.Context())
		if n := len(o.all(another)); n != 3 {
			o.Errorf("another session shows %d letters, want 3", n)
		}
	})
}

func TestALetterThatCouldNotBeSentStays(t *testing.T) {
	in(t, func(o office) {
		live := mem.New(mem.Options{Name: "live"})
		o.send(queue.Outgoing{Body: "good"})
		o.send(queue.Outgoing{Body: "bad"})
		s := o.open()
		letters := o.all(s)
		errs := s.Redrive(o.Context(), deafSender{live, "bad"}, letters)
		s.Close(o.Context())
		if errs[0] != nil || !errors.Is(errs[1], errCut) {
			o.Errorf("the errors are %v", errs)
		}
		left := o.dead.Snapshot()
		if live.Len() != 1 || len(left) != 1 || left[0].Message.Body != "bad" || left[0].State != mem.Visible {
			o.Errorf("%d messages there, and here %+v", live.Len(), left)
		}
	})
}

// undeletable is a queue that deletes nothing.
type undeletable struct{ *mem.Queue }

func (undeletable) Delete(_ context.Context, messages ...*queue.Message) []error {
	errs := make([]error, len(messages))
	for i := range errs {
		errs[i] = errCut
	}
	return errs
}

func TestALetterThatWasSentButNotDeletedIsToldOfAndGivenBack(t *testing.T) {
	in(t, func(o office) {
		live := mem.New(mem.Options{Name: "live"})
		o.bury(1, request.CodePoison)
		s, err := Open(o.Context(), undeletable{o.dead}, time.Now)
		if err != nil {
			o.Fatal(err)
		}
		errs := s.Redrive(o.Context(), live, o.all(s))
		s.Close(o.Context())
		if _, ok := errors.AsType[*StillThereError](errs[0]); !ok || !errors.Is(errs[0], errCut) {
			o.Errorf("the error is %v", errs[0])
		}
		if live.Len() != 1 || o.visible() != 1 {
			o.Errorf("%d there, %d visible here; want one each", live.Len(), o.visible())
		}
	})
}

func TestWhatTheQueueMovedIsRunAfreshToo(t *testing.T) {
	in(t, func(o office) {
		live := mem.New(mem.Options{Name: "live", DeadLetter: o.dead, MaxReceiveCount: 1})
		if err := errors.Join(live.Send(o.Context(), queue.Outgoing{Body: "x", Attributes: map[string]string{"trace": "t"}})...); err != nil {
			o.Fatal(err)
		}
		for range 2 { // the second one moves it
			if _, err := live.Receive(o.Context(), 1, time.Second, 0); err != nil {
				o.Fatal(err)
			}
			time.Sleep(time.Second)
		}
		s := o.open()
		letters := o.all(s)
		if len(letters) != 1 || !letters[0].ByQueue() || letters[0].Code() != CodeReceivedTooOften || letters[0].Message.Source == "" {
			o.Fatalf("the letters are %+v", letters)
		}
		if err := errors.Join(s.Redrive(o.Context(), live, letters)...); err != nil {
			o.Fatal(err)
		}
		s.Close(o.Context())
		if a := live.Snapshot()[0].Message.Attributes; a[request.LetterReason] == "" || a["trace"] != "t" {
			o.Errorf("the attributes are %v", a)
		}
	})
}

func TestARedrivenRequestDoesNotExpireForTheTimeItLayHere(t *testing.T) {
	t.Parallel()
	accepted := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	r := request.Request{ID: "a", Input: storage.Ref{Bucket: "uploads", Key: "in/a"}, TTL: time.Minute, Enqueued: accepted, Accept: "text/csv"}
	o := (&Session{id: "s"}).again(newLetter(&queue.Message{ID: "m", Body: body(t, r), Attributes: map[string]string{}}))
	got, err := request.Decode(o.Body)
	r.Enqueued = time.Time{}
	if err != nil || len(got) != 1 || got[0] != r {
		t.Errorf("the message asks for %+v, %v; want %+v", got, err, r)
	}
	const event = `{"Records":[]}`
	if o := (&Session{id: "s"}).again(newLetter(&queue.Message{ID: "m", Body: event, Attributes: map[string]string{}})); o.Body != event {
		t.Errorf("an event was sent as %q", o.Body)
	}
}

func TestRedrivingTwiceIsNoRepetitionToTheQueue(t *testing.T) {
	t.Parallel()
	l := newLetter(&queue.Message{ID: "m", Body: "x", Group: "g", Attributes: map[string]string{}})
	s := &Session{id: "s"}
	a, b := s.again(l), s.again(l)
	if a.DedupID == b.DedupID || a.Group != "g" || errors.Join(a.Validate(), b.Validate()) != nil {
		t.Errorf("sent as %+v and %+v", a, b)
	}
}
