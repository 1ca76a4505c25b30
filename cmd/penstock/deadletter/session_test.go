package deadletter

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"testing"
	"testing/synctest"
	"time"

	"github.com/penstock/penstock/queue"
	"github.com/penstock/penstock/queue/mem"
	"github.com/penstock/penstock/queue/request"
	"github.com/penstock/penstock/storage"
)

// office is a dead-letter queue in memory.
type office struct {
	*testing.T
	dead *mem.Queue
}

// in runs a test on a fake clock.
func in(t *testing.T, f func(o office)) {
	synctest.Test(t, func(t *testing.T) { f(office{t, mem.New(mem.Options{Name: "dead"})}) })
}

// bury puts n letters into the queue as a worker does.
func (o office) bury(n int, code string) {
	o.Helper()
	for i := range n {
		o.send(queue.Outgoing{Body: body(o.T, request.Request{Input: storage.Ref{Bucket: "uploads", Key: fmt.Sprint("in/", i)}}), Attributes: map[string]string{
			request.LetterReason: "why", request.LetterCode: code, request.LetterID: fmt.Sprint(code, i),
		}})
	}
}

func body(t *testing.T, r request.Request) string {
	t.Helper()
	b, err := request.Encode(r)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func (o office) send(m queue.Outgoing) {
	o.Helper()
	if err := errors.Join(o.dead.Send(o.Context(), m)...); err != nil {
		o.Fatal(err)
	}
}

func (o office) open() *Session {
	o.Helper()
	s, err := Open(o.Context(), o.dead, time.Now)
	if err != nil {
		o.Fatal(err)
	}
	return s
}

// all reads a session to its end.
func (o office) all(s *Session) (letters []Letter) {
	o.Helper()
	for {
		next, err := s.Next(o.Context())
		if err != nil {
			o.Fatal(err)
		}
		if len(next) == 0 {
			return letters
		}
		letters = append(letters, next...)
	}
}

func (o office) visible() int {
	a, err := o.dead.Attributes(o.Context())
	if err != nil {
		o.Fatal(err)
	}
	return a.Visible
}

func TestASessionShowsEachLetterOnceAndGivesAllBackAtItsEnd(t *testing.T) {
	in(t, func(o office) {
		o.bury(23, request.CodePoison)
		s := o.open()
		if n := s.Count(); n != 23 {
			o.Errorf("the count is %d, want 23", n)
		}
		seen := map[string]bool{}
		for _, l := range o.all(s) {
			seen[l.ID()] = true
		}
		if len(seen) != 23 || o.visible() != 0 {
			o.Errorf("%d letters were seen, and %d are visible, want 23 and none", len(seen), o.visible())
		}
		s.Close(o.Context())
		if n := o.visible(); n != 23 {
			o.Errorf("%d letters are visible after the session, want 23", n)
		}
	})
}

func TestLettersStayHiddenWhileTheSessionLasts(t *testing.T) {
	in(t, func(o office) {
		o.bury(12, request.CodePoison)
		s := o.open()
		defer s.Close(o.Context())
		o.all(s)
		for range 10 {
			time.Sleep(time.Minute) // a person ponders
			if n := o.visible(); n != 0 {
				o.Fatalf("%d letters became visible", n)
			}
		}
		if more, err := s.Next(o.Context()); err != nil || len(more) != 0 {
			o.Errorf("Next gave %d letters again, and %v", len(more), err)
		}
	})
}

func TestAKilledSessionHidesNothingForLong(t *testing.T) {
	in(t, func(o office) {
		o.bury(3, request.CodePoison)
		s := o.open()
		o.all(s)
		s.stop() // as a kill does: nobody extends, nobody gives back
		s.wg.Wait()
		time.Sleep(hidden)
		if n := o.visible(); n != 3 {
			o.Errorf("%d letters are visible half a minute later, want 3", n)
		}
	})
}

func TestAnInterruptionGivesAllBack(t *testing.T) {
	in(t, func(o office) {
		o.bury(30, request.CodePoison)
		ctx, cancel := context.WithCancelCause(o.Context())
		s, err := Open(ctx, o.dead, time.Now)
		if err != nil {
			o.Fatal(err)
		}
		if _, err := s.Next(ctx); err != nil {
			o.Fatal(err)
		}
		enough := errors.New("enough")
		cancel(enough)
		if _, err := s.Next(ctx); !errors.Is(err, enough) {
			o.Errorf("Next gave %v, want the cause of the interruption", err)
		}
		s.Close(ctx)
		if n := o.visible(); n != 30 {
			o.Errorf("%d letters are visible, want 30", n)
		}
	})
}

func TestWhatComesAfterTheBeginningIsLeftAlone(t *testing.T) {
	in(t, func(o office) {
		o.bury(2, request.CodePoison)
		s := o.open()
		time.Sleep(recent + time.Second)
		o.bury(2, request.CodeModelError)
		for _, l := range o.all(s) {
			if l.Code() != request.CodePoison {
				o.Errorf("a letter of %s was shown", l.Code())
			}
		}
		s.Close(o.Context())
		if n := o.visible(); n != 4 {
			o.Errorf("%d letters are visible after the session, want 4", n)
		}
	})
}

func TestAQueueThatLooksWouldEmptyIsNotLookedAt(t *testing.T) {
	in(t, func(o office) {
		chained := mem.New(mem.Options{Name: "chained", DeadLetter: o.dead, MaxReceiveCount: 2})
		if _, err := Open(o.Context(), chained, time.Now); !errors.Is(err, ErrOwnRedrive) {
			o.Errorf("Open gave %v, want ErrOwnRedrive", err)
		}
	})
}

// absent is a queue that is not there.
type absent struct{ *mem.Queue }

func (absent) Attributes(context.Context) (queue.Attributes, error) {
	return queue.Attributes{}, fs.ErrNotExist
}

func TestAMissingQueueIsToldOf(t *testing.T) {
	in(t, func(o office) {
		if _, err := Open(o.Context(), absent{o.dead}, time.Now); !errors.Is(err, fs.ErrNotExist) {
			o.Errorf("Open gave %v, want fs.ErrNotExist", err)
		}
	})
}

func TestLettersAreChosenByTheirIDsCodesAndAges(t *testing.T) {
	t.Parallel()
	now := time.Now()
	r := request.Request{ID: "mine", Input: storage.Ref{Bucket: "uploads", Key: "in/a"}}
	byWorker := newLetter(&queue.Message{
		ID: "m1", Body: body(t, r), Sent: now.Add(-time.Hour),
		Attributes: map[string]string{request.LetterReason: "why", request.LetterCode: request.CodePoison, request.LetterID: "mine"},
	})
	byQueue := newLetter(&queue.Message{ID: "m2", Body: body(t, r), Sent: now.Add(-time.Minute), Attributes: map[string]string{}})
	for _, test := range []struct {
		filter Filter
		want   [2]bool
	}{
		{Filter{}, [2]bool{true, true}},
		{Filter{IDs: []string{"m1"}}, [2]bool{true, false}},
		{Filter{IDs: []string{"x", "mine"}}, [2]bool{true, true}},
		{Filter{IDs: []string{"x"}}, [2]bool{false, false}},
		{Filter{Code: request.CodePoison}, [2]bool{true, false}},
		{Filter{Code: CodeReceivedTooOften}, [2]bool{false, true}},
		{Filter{OlderThan: 10 * time.Minute}, [2]bool{true, false}},
		{Filter{IDs: []string{"mine"}, Code: request.CodePoison, OlderThan: 2 * time.Hour}, [2]bool{false, false}},
	} {
		if got := [2]bool{test.filter.Matches(byWorker, now), test.filter.Matches(byQueue, now)}; got != test.want {
			t.Errorf("%+v chose %v, want %v", test.filter, got, test.want)
		}
	}
	if byWorker.ByQueue() || !byQueue.ByQueue() || byQueue.ID() != "mine" || byQueue.Input() != "s3://uploads/in/a" {
		t.Errorf("the letters are %+v and %+v", byWorker, byQueue)
	}
}
