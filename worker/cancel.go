package worker

import (
	"context"
	"errors"
	"sync"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sync/semaphore"

	"github.com/penstock/penstock/queue/request"
	"github.com/penstock/penstock/storage"
	"github.com/penstock/penstock/worker/terminal"
)

// cancelPeriod is how old the list of cancelled requests may be when one is
// started. A request is not started once its marker has been there for twice
// as long.
const cancelPeriod = 5 * time.Second

// errCancelled ends what was not yet started of a request.
var errCancelled = errors.New("its sender has cancelled the request")

// cancels knows which requests their senders have cancelled: those of which
// there is a marker in the state location. Only requests with an ID can be, and
// the markers are listed only while such a request waits for its start.
type cancels struct {
	list func(ctx context.Context) (map[string]bool, error) // the markers' keys

	once    *semaphore.Weighted // one goroutine lists at a time
	mu      sync.Mutex
	markers map[string]bool
	asked   time.Time // before markers were listed
	waiting map[*item]string
}

func newCancels(list func(context.Context) (map[string]bool, error)) *cancels {
	return &cancels{list: list, once: semaphore.NewWeighted(1), waiting: make(map[*item]string)}
}

// watch withdraws the item when its marker, of that key, appears. It errs when
// it is there already.
func (c *cancels) watch(it *item, marker string) (done func(), err error) {
	c.mu.Lock()
	c.waiting[it] = marker
	c.mu.Unlock()
	done = func() {
		c.mu.Lock()
		delete(c.waiting, it)
		c.mu.Unlock()
	}
	err = c.refresh(it.pending)
	if err == nil {
		err = context.Cause(it.pending) // refresh withdrew it
	}
	if err != nil {
		done()
	}
	return done, err
}

// refresh lists the markers if the last list is too old, and withdraws what
// they name.
func (c *cancels) refresh(ctx context.Context) error {
	if c.once.Acquire(ctx, 1) != nil {
		return context.Cause(ctx)
	}
	defer c.once.Release(1)
	c.mu.Lock()
	fresh := time.Since(c.asked) < cancelPeriod
	c.mu.Unlock()
	if !fresh {
		asked := time.Now()
		markers, err := c.list(ctx)
		if err != nil {
			return err
		}
		c.mu.Lock()
		c.asked, c.markers = asked, markers
		c.mu.Unlock()
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for it, marker := range c.waiting {
		if c.markers[marker] {
			it.withdraw(errCancelled)
		}
	}
	return nil
}

// run keeps the list fresh while something waits, until ctx is done. It looks
// when the list gets too old, whoever made it: at times of its own it would find
// one that is just fresh enough, and the next look would be twice as late.
func (c *cancels) run(ctx context.Context, log *zap.Logger) {
	for {
		c.mu.Lock()
		idle, left := len(c.waiting) == 0, cancelPeriod-time.Since(c.asked)
		c.mu.Unlock()
		if left <= 0 && !idle {
			err := c.refresh(ctx)
			if err == nil {
				continue
			}
			if ctx.Err() == nil {
				log.Warn("list cancelled requests", zap.Error(err))
			}
		}
		if left <= 0 {
			left = cancelPeriod
		}
		if !sleep(ctx, left) {
			return
		}
	}
}

// listCancels lists the markers of cancelled requests.
func (w *Worker) listCancels(ctx context.Context) (markers map[string]bool, err error) {
	folder := w.cfg.Locations.Cancels()
	err = w.store.try(ctx, w.cfg.callLimit(), verbList, folder, func(ctx context.Context) error {
		markers = make(map[string]bool)
		for info, err := range w.cfg.Store.List(ctx, folder, "") {
			if err != nil {
				return terminal.Unwritable(err)
			}
			markers[info.Ref.Key] = true
		}
		return nil
	})
	return markers, err
}

// heedCancel makes the item end with errCancelled when its sender cancels it
// before it is started. done ends that.
func (w *Worker) heedCancel(it *item) (done func(), err error) {
	if it.request.Job != nil {
		return func() {}, w.heedJob(it)
	}
	if it.request.Upload() {
		return func() {}, nil
	}
	return w.cancels.watch(it, w.cfg.Locations.CancelOf(it.request.ID).Key)
}

// dropCancel removes the marker of a request that was not started: cancelled,
// or expired, as those do whose callers gave them up. All workers list what
// stays, until a rule of the bucket ends it.
func (w *Worker) dropCancel(ctx context.Context, it *item) {
	if it.request.Job != nil || it.request.Upload() {
		return
	}
	marker := w.cfg.Locations.CancelOf(it.request.ID)
	ctx, cancel := context.WithTimeout(ctx, w.cfg.callLimit())
	defer cancel()
	if err := w.cfg.Store.Delete(ctx, marker, storage.DeleteOptions{}); err != nil {
		w.log.Info("remove a cancel marker", it.log(), zap.Error(err))
	}
}

// cancelled is the problem of a request that was cancelled.
func cancelled() *request.Problem {
	return &request.Problem{
		Code: request.CodeCancelled, Stage: request.StageAccept, Retryable: true,
		Message: "the request was cancelled before it was started", Hint: "send it again, under another id",
	}
}
