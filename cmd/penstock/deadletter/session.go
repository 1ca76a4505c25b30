package deadletter

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"sync"
	"time"

	"github.com/penstock/penstock/queue"
	"github.com/penstock/penstock/queue/request"
)

// Queue is what is needed of a dead-letter queue.
type Queue interface {
	queue.Receiver
	queue.Inspector
}

// Times of a session.
const (
	// hidden is how long a message stays hidden when this process is killed
	// over it.
	hidden = 30 * time.Second
	// poll is how long an empty queue is waited for. With less than a second
	// SQS may overlook messages.
	poll = time.Second
	// callLimit bounds one call.
	callLimit = 15 * time.Second
	// recent is how much later than the session's beginning a message may have
	// been sent, by another clock, and still count as one from before.
	recent = 2 * time.Second
)

// ErrOwnRedrive says that the queue has a redrive policy of its own: each look
// counts as a receive, so looking could lose messages from it. Test with
// errors.Is.
var ErrOwnRedrive = errors.New("the dead-letter queue has a redrive policy of its own, and each look at a message counts as a receive: looking could move messages on; take its RedrivePolicy away first")

// Session reads the messages that are in a dead-letter queue when it begins.
// What it has received it keeps hidden until Close, so that each is met once;
// Close gives it back at once. Next and Delete are for one goroutine.
type Session struct {
	queue Queue
	id    string          // on what it sends to the queue again
	began time.Time       // by the queue's clock
	count int             // about how many there were
	away  int             // about how many of them another reader had
	seen  map[string]bool // ids

	mu   sync.Mutex
	held map[string]*queue.Message // by id, without their bodies
	stop context.CancelFunc
	wg   sync.WaitGroup
}

// Open begins a session. now is the time by the queue's clock, as soon as it
// has been called. A queue that is not there is fs.ErrNotExist.
func Open(ctx context.Context, q Queue, now func() time.Time) (*Session, error) {
	a, err := q.Attributes(ctx)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("there is no such dead-letter queue: %w", err)
	case err != nil:
		return nil, err
	case a.DeadLetterARN != "":
		return nil, fmt.Errorf("%w (it is %s, to %s after %d receives)", ErrOwnRedrive, a.ARN, a.DeadLetterARN, a.MaxReceiveCount)
	}
	s := &Session{queue: q, id: rand.Text(), began: now(), count: a.Visible + a.InFlight + a.Delayed, away: a.InFlight, seen: map[string]bool{}, held: map[string]*queue.Message{}}
	keep, stop := context.WithCancel(context.WithoutCancel(ctx))
	s.stop = stop
	s.wg.Go(func() { s.keep(keep) })
	return s, nil
}

// Count is about how many messages were in the queue at the beginning.
func (s *Session) Count() int { return s.count }

// Hidden is about how many messages another reader had at the beginning: one
// that reads now, or that was killed less than half a minute ago. No session
// can see them.
func (s *Session) Hidden() int { return s.away }

// Next gives letters that were not given before, and none when all have been.
// Those that came after the beginning are left out.
func (s *Session) Next(ctx context.Context) ([]Letter, error) {
	for empty := 0; ; {
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		// A poll that is cancelled strands what it was about to bring.
		callCtx, cancel := context.WithTimeout(context.WithoutCancel(ctx), callLimit)
		messages, err := s.queue.Receive(callCtx, queue.MaxBatch, hidden, poll)
		cancel()
		if err != nil {
			return nil, err
		}
		if letters := s.take(messages); len(letters) > 0 {
			return letters, nil
		}
		if empty++; empty == 3 {
			return nil, nil
		}
		if a, err := s.queue.Attributes(ctx); err == nil && a.Visible == 0 {
			return nil, nil
		}
	}
}

// take holds what was received, and gives the letters that are new.
func (s *Session) take(messages []*queue.Message) []Letter {
	s.mu.Lock()
	defer s.mu.Unlock()
	var letters []Letter
	for _, m := range messages {
		light := *m
		light.Body = ""
		s.held[m.ID] = &light
		// What comes back at once from where this session has sent it is no
		// older letter, however the clocks differ.
		old := !m.Sent.After(s.began.Add(recent)) && m.Attributes[request.LetterRedrive] != s.id
		if old && !s.seen[m.ID] {
			letters = append(letters, newLetter(m))
		}
		s.seen[m.ID] = true
	}
	return letters
}

// Delete deletes letters for good. The result has one entry a letter.
func (s *Session) Delete(ctx context.Context, letters ...Letter) []error {
	errs := make([]error, 0, len(letters))
	for part := range slices.Chunk(letters, queue.MaxBatch) {
		s.mu.Lock()
		messages := make([]*queue.Message, len(part))
		for i, l := range part {
			messages[i] = l.Message
			if latest := s.held[l.Message.ID]; latest != nil {
				messages[i] = latest // it may have been received again
			}
			delete(s.held, l.Message.ID)
		}
		s.mu.Unlock()
		callCtx, cancel := context.WithTimeout(ctx, callLimit)
		deleted := s.queue.Delete(callCtx, messages...)
		cancel()
		s.mu.Lock()
		for i, err := range deleted {
			if err != nil {
				s.held[messages[i].ID] = messages[i]
			}
		}
		s.mu.Unlock()
		errs = append(errs, deleted...)
	}
	return errs
}

// keep keeps hidden what is held, until ctx is done.
func (s *Session) keep(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-time.After(hidden / 3):
		}
		s.change(ctx, hidden)
	}
}

// Close makes visible what is held, and ends the session. What can't be told
// to the queue becomes visible by itself within half a minute.
func (s *Session) Close(ctx context.Context) {
	s.stop()
	s.wg.Wait()
	callCtx, cancel := context.WithTimeout(context.WithoutCancel(ctx), callLimit)
	defer cancel()
	s.change(callCtx, 0)
}

// change changes the visibility of all that is held, and lets go of what was
// lost.
func (s *Session) change(ctx context.Context, visibility time.Duration) {
	s.mu.Lock()
	all := make([]*queue.Message, 0, len(s.held))
	for _, m := range s.held {
		all = append(all, m)
	}
	s.mu.Unlock()
	for part := range slices.Chunk(all, queue.MaxBatch) {
		errs := s.queue.ChangeVisibility(ctx, visibility, part...)
		s.mu.Lock()
		for i, err := range errs {
			if errors.Is(err, queue.ErrLeaseLost) && s.held[part[i].ID] == part[i] {
				delete(s.held, part[i].ID)
			}
		}
		s.mu.Unlock()
	}
}
