package job

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/penstock/penstock/queue/request"
	"github.com/penstock/penstock/storage"
)

// Part names a part of a job, as its messages do.
type Part struct {
	Number int // from 0, in the order of the plan
	Items  int // how many items the part has, also where a message holds fewer
}

// Fate is how an item ended.
type Fate int

// Fates of items.
const (
	Succeeded Fate = iota // its output is there; of a range: its last chunk is
	Failed                // its failure object is there
	Cancelled             // it was not started because the job was cancelled; nothing is there
)

// Verdict is the fate of one item of a part.
type Verdict struct {
	Item int // its number in the part, from 0
	Fate Fate
}

// Books are a job's, from the side of those who work on it. The methods may be
// called concurrently, by any number of processes. They are not copied.
//
// A worker treats a message of a job so:
//
//   - Spec, and Spec.Apply on each request.
//   - On a redelivery, Finished: a part that is done is acknowledged unread.
//   - Cancelled, before each item is started: one that is not started any more
//     has the fate Cancelled.
//   - An item has its fate as any request: its terminal object is there. A
//     range is different: its results are Chunks, and only Books assembles them
//     to the output of its file. Where a range fails for good, whatever the
//     reason (InputChanged, no such object, records that can't be told apart),
//     the worker writes the failure object of the whole file: that of the
//     request without its Range.
//   - Settled with the verdicts of all items of the message that are terminal,
//     when they are and before the message is acknowledged. Items that are sent
//     on (apart, or again) are settled by whoever ends them.
//   - An error of any of these is a fault of the surroundings: the message is
//     not acknowledged.
type Books struct {
	Store     storage.Store
	Locations request.Locations
	Now       func() time.Time // by the store's clock; nil is time.Now
	// Reserve waits until so many bytes of memory may be used to put a file
	// together; release gives them back. Nobody who waits has some of it already.
	// Nil: nobody counts it.
	Reserve func(ctx context.Context, bytes int64) (release func(), err error)

	mu     sync.Mutex
	jobs   map[string]*known
	checks checks
}

// known is what has been read of a job and will not be read again soon.
type known struct {
	since   time.Time
	spec    *Spec // it never changes
	sealed  *seal // a whole one never changes
	cancels answer
}

// knownFor is how long it is not read again. Nothing of it changes, but the books
// may be deleted, and their id be another job's.
const knownFor = time.Minute

// answer is whether the job was cancelled, as of a time.
type answer struct {
	yes  bool
	when time.Time
}

// staleAfter is how old an answer to Cancelled may be.
const staleAfter = 5 * time.Second

// maxKnown is how many jobs are remembered: more than run at a time.
const maxKnown = 1000

// atATime is how many calls of one step are under way at a time.
const atATime = 16

func (b *Books) now() time.Time {
	if b.Now == nil {
		return time.Now()
	}
	return b.Now()
}

// recall gives what is known of a job. The caller holds the lock.
func (b *Books) recall(id string) *known {
	if b.jobs == nil || len(b.jobs) >= maxKnown {
		b.jobs = map[string]*known{}
	}
	k := b.jobs[id]
	if k == nil || time.Since(k.since) > knownFor {
		k = &known{since: time.Now()}
		b.jobs[id] = k
	}
	return k
}

// Spec is what the job is. One that is not there is fs.ErrNotExist. It never
// changes, and is read once a minute.
func (b *Books) Spec(ctx context.Context, id string) (Spec, error) {
	b.mu.Lock()
	spec := b.recall(id).spec
	b.mu.Unlock()
	if spec != nil {
		return *spec, nil
	}
	read, err := readSpec(ctx, b.Store, booksOf(b.Locations, id))
	if err != nil {
		return Spec{}, err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.recall(id).spec = &read
	return read, nil
}

// Cancelled says whether the job is not to be started any further. The answer
// is at most five seconds old.
func (b *Books) Cancelled(ctx context.Context, id string) (bool, error) {
	b.mu.Lock()
	a := b.recall(id).cancels
	b.mu.Unlock()
	asked := time.Now()
	if asked.Sub(a.when) < staleAfter {
		return a.yes, nil
	}
	yes, err := exists(ctx, b.Store, booksOf(b.Locations, id).cancel())
	if err != nil {
		return false, err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.recall(id).cancels = answer{yes, asked}
	return yes, nil
}

// Finished says whether the part has ended before: its message is a duplicate,
// and there may be nothing left of what its work needs. When it has, what
// follows from its end may not have been done: Finished does it, as Settled
// would have.
func (b *Books) Finished(ctx context.Context, id string, part Part) (bool, error) {
	for info, err := range b.Store.List(ctx, booksOf(b.Locations, id).doneAny(part.Number), "") {
		if err != nil {
			return false, err
		}
		if _, _, err := parseDone(info.Ref); err != nil {
			return false, err
		}
		return true, b.follow(ctx, id, groupOf(part.Number))
	}
	return false, nil
}

// Settled writes down how items of a part ended, and does what follows: when
// they were the last of their part it is marked as done; when that was the last
// of all, record files are assembled and the summary is written, which takes as
// long as there are bytes to copy. It may be called again with the same
// verdicts, and by two at once; of two that contradict each other the better
// one counts (an output beats a failure, a failure a cancel). What was left for
// a cancel that has been taken back meanwhile is not settled: that is an error.
func (b *Books) Settled(ctx context.Context, id string, part Part, verdicts []Verdict) error {
	at := booksOf(b.Locations, id)
	left := slices.ContainsFunc(verdicts, func(v Verdict) bool { return v.Fate == Cancelled })
	if left {
		if err := b.stillCancelled(ctx, at, id, part, verdicts); err != nil {
			return err
		}
	}
	counts, complete, err := b.count(ctx, at, part, verdicts)
	if err == nil && complete {
		err = mark(ctx, b.Store, at.doneAs(part.Number, counts))
	}
	if err == nil && left { // that can have taken longer than a resume waits
		err = b.stillCancelled(ctx, at, id, part, verdicts)
	}
	if err != nil || !complete {
		return err
	}
	return b.follow(ctx, id, groupOf(part.Number))
}

// errResumed is an answer: the same call would give it again.
var errResumed = fmt.Errorf("the job was resumed before this part of it was left: %w", storage.ErrPrecondition)

// stillCancelled errs when the job's cancel was taken back, and takes back what
// was settled for it. Cancelled may have said yes seconds ago, and items that had
// begun then may have taken long.
func (b *Books) stillCancelled(ctx context.Context, at books, id string, part Part, verdicts []Verdict) error {
	cancelled, err := exists(ctx, b.Store, at.cancel())
	if err != nil || cancelled {
		return err
	}
	b.mu.Lock()
	b.recall(id).cancels = answer{}
	b.mu.Unlock()
	for _, v := range verdicts {
		if v.Fate != Cancelled {
			continue
		}
		if err := b.Store.Delete(ctx, at.item(part.Number, v), storage.DeleteOptions{}); err != nil {
			return err
		}
	}
	for info, err := range b.Store.List(ctx, at.doneAny(part.Number), "") {
		if err != nil {
			return err
		}
		if _, c, err := parseDone(info.Ref); err != nil || c.Cancelled == 0 {
			continue
		}
		if err := b.Store.Delete(ctx, info.Ref, storage.DeleteOptions{}); err != nil {
			return err
		}
	}
	return errResumed
}

// count says how the items of a part ended, when all have. Where verdicts are
// not of all of them, they are written down first.
func (b *Books) count(ctx context.Context, at books, part Part, verdicts []Verdict) (Counts, bool, error) {
	all := tally{}
	for _, v := range verdicts {
		if v.Item < 0 || v.Item >= part.Items || v.Fate < Succeeded || v.Fate > Cancelled {
			return Counts{}, false, fmt.Errorf("%w: verdict %d on item %d of part %d, which has %d", fs.ErrInvalid, v.Fate, v.Item, part.Number, part.Items)
		}
		all.add(v)
	}
	if len(all) == part.Items {
		if all.counts().Cancelled == 0 {
			return all.counts(), true, nil
		}
		// Where its message was there twice, some of it may have been done.
		marked, err := settledItems(ctx, b.Store, at, part.Number)
		for item, fate := range marked {
			all.add(Verdict{item, fate})
		}
		return all.counts(), true, err
	}
	g, marking := errgroup.WithContext(ctx)
	g.SetLimit(atATime)
	for item, fate := range all {
		g.Go(func() error { return mark(marking, b.Store, at.item(part.Number, Verdict{item, fate})) })
	}
	if err := g.Wait(); err != nil {
		return Counts{}, false, err
	}
	marked, err := settledItems(ctx, b.Store, at, part.Number)
	return marked.counts(), len(marked) == part.Items, err
}

// settledItems are the items of a part that were marked one by one.
func settledItems(ctx context.Context, s storage.Reader, at books, part int) (tally, error) {
	marked := tally{}
	for info, err := range s.List(ctx, at.items(part), "") {
		if err != nil {
			return nil, err
		}
		_, v, err := parseItem(info.Ref)
		if err != nil {
			return nil, err
		}
		marked.add(v)
	}
	return marked, nil
}

// partsInItems are the parts of a group of which items were marked one by one, done
// or not.
func partsInItems(ctx context.Context, s storage.Reader, at books, g int) (map[int]tally, error) {
	parts := map[int]tally{}
	for info, err := range s.List(ctx, at.allItems(), at.items(g*groupParts).Key) {
		if err != nil {
			return nil, err
		}
		part, v, err := parseItem(info.Ref)
		if err != nil {
			return nil, err
		}
		if groupOf(part) > g {
			break
		}
		if parts[part] == nil {
			parts[part] = tally{}
		}
		parts[part].add(v)
	}
	return parts, nil
}

// doneParts are the parts of a group that are done, with when the last of them
// was. Of two marks of one part the better one counts.
func doneParts(ctx context.Context, s storage.Reader, at books, g int) (map[int]doneMark, error) {
	parts := map[int]doneMark{}
	for info, err := range s.List(ctx, at.done(g), "") {
		if err != nil {
			return nil, err
		}
		part, counts, err := parseDone(info.Ref)
		if err != nil {
			return nil, err
		}
		if was, ok := parts[part]; !ok || counts.better(was.Counts) {
			parts[part] = doneMark{counts, info.Modified}
		}
	}
	return parts, nil
}

type doneMark struct {
	Counts
	when time.Time
}

// sealed is the seal of a job's plan. ok is false while there is none.
func (b *Books) sealed(ctx context.Context, id string) (seal, bool, error) {
	b.mu.Lock()
	was := b.recall(id).sealed
	b.mu.Unlock()
	if was != nil {
		return *was, true, nil
	}
	var s seal
	err := readNote(ctx, b.Store, booksOf(b.Locations, id).sealed(), &s)
	if errors.Is(err, fs.ErrNotExist) {
		return seal{}, false, nil
	}
	if err == nil && !s.Partial { // a partial one may be taken off, and more be planned
		b.mu.Lock()
		b.recall(id).sealed = &s
		b.mu.Unlock()
	}
	return s, err == nil, err
}

func readSpec(ctx context.Context, s storage.Reader, at books) (Spec, error) {
	var spec Spec
	if err := readNote(ctx, s, at.spec(), &spec); err != nil {
		return Spec{}, err
	}
	if spec.Version > specVersion {
		return Spec{}, broken{fmt.Errorf("%s is of version %d, and this program reads version %d: update the older of sender and reader", at.spec(), spec.Version, specVersion)}
	}
	return spec, nil
}
