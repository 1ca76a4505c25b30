package job

import (
	"context"
	"errors"
	"io/fs"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/penstock/penstock/queue/request"
	"github.com/penstock/penstock/storage"
)

// Standing is how a job stands.
type Standing struct {
	Job      string     `json:"job"`
	State    State      `json:"state"`
	Created  time.Time  `json:"created"`
	Finished *time.Time `json:"finished,omitempty"`
	Planned  bool       `json:"planned"` // all of the input has been listed: Submitted won't grow

	Unit      string `json:"unit"` // what the counts count: objects, or parts of record files
	Submitted int    `json:"submitted"`
	Counts
	Waiting int   `json:"waiting"` // submitted and not ended: in the queue, or being worked on
	Objects int   `json:"objects"`
	Bytes   int64 `json:"bytes"`

	Rate float64 `json:"perSecond"`            // of the last minute
	ETA  float64 `json:"etaSeconds,omitempty"` // 0: not known

	Summary *Summary `json:"summary,omitempty"` // once it has ended
}

// Units of a Standing.
const (
	UnitObjects = "objects"
	UnitParts   = "parts"
)

// rateSpan is the time over which a rate is taken.
const rateSpan = time.Minute

// Watcher says how one job stands, from listings alone. It remembers groups that
// are done, so that asking again costs a listing for each group that is not.
// It is not safe for concurrent use.
type Watcher struct {
	Store     storage.Reader
	Locations request.Locations
	ID        string
	Now       func() time.Time // by the store's clock; nil is time.Now

	spec  Spec
	marks map[int]groupMark
	sum   seal // of the plan, as far as it was seen
	page  int  // the last page that was seen
}

// Standing looks. A job that is not there is fs.ErrNotExist.
func (w *Watcher) Standing(ctx context.Context) (Standing, error) {
	at := booksOf(w.Locations, w.ID)
	if w.marks == nil {
		spec, err := readSpec(ctx, w.Store, at)
		if err != nil {
			return Standing{}, err
		}
		w.spec, w.marks, w.page = spec, map[int]groupMark{}, -1
	}
	s := Standing{Job: w.ID, State: StateRunning, Created: w.spec.Created, Unit: UnitObjects}
	if w.spec.Records() {
		s.Unit = UnitParts
	}
	var end Summary
	err := readNote(ctx, w.Store, at.summary(), &end)
	if err == nil {
		return s.ended(end), nil
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return s, err
	}
	if s.Planned, err = w.plan(ctx, at); err != nil {
		return s, err
	}
	s.Submitted, s.Objects, s.Bytes = w.sum.Items, w.sum.Objects, w.sum.Bytes
	cancelled, err := exists(ctx, w.Store, at.cancel())
	switch {
	case err != nil:
		return s, err
	case cancelled:
		s.State = StateCancelling
	case !s.Planned:
		s.State = StatePlanning
	}
	if err := w.count(ctx, at, &s); err != nil {
		return s, err
	}
	s.Waiting = max(0, s.Submitted-s.Total())
	if s.Rate > 0 && s.Planned {
		s.ETA = float64(s.Waiting) / s.Rate
	}
	return s, nil
}

// ended fills in what the summary says.
func (s Standing) ended(end Summary) Standing {
	s.State, s.Finished, s.Planned, s.Summary = end.State, new(end.Finished), true, &end
	s.Objects, s.Bytes = end.Objects.Submitted, end.Bytes
	account := end.Objects
	if end.Parts != nil {
		account = *end.Parts
	}
	s.Submitted, s.Counts = account.Submitted, account.Counts
	if took := end.Finished.Sub(end.Created).Seconds(); took > 0 {
		s.Rate = float64(account.Total()) / took
	}
	return s
}

// plan finds how much has been planned: all of it, if it is sealed.
func (w *Watcher) plan(ctx context.Context, at books) (sealed bool, err error) {
	err = readNote(ctx, w.Store, at.sealed(), &w.sum)
	if err == nil || !errors.Is(err, fs.ErrNotExist) {
		return err == nil, err
	}
	after := ""
	if w.page >= 0 {
		after = at.page(w.page).Key
	}
	last := -1
	for info, err := range w.Store.List(ctx, at.pages(), after) {
		if err != nil {
			return false, err
		}
		n, err := numbers(info.Ref, 1)
		if err != nil {
			continue // the seal, just now
		}
		last = n[0]
	}
	if last < 0 {
		return false, nil
	}
	var p page
	if err := readNote(ctx, w.Store, at.page(last), &p); err != nil {
		return false, err
	}
	w.page, w.sum = last, p.Sum
	return false, nil
}

// count adds up the marks.
func (w *Watcher) count(ctx context.Context, at books, s *Standing) error {
	marked, err := listNumbers(ctx, w.Store, at.groups())
	if err != nil {
		return err
	}
	var unread []int
	for _, g := range marked {
		if _, ok := w.marks[g]; !ok {
			unread = append(unread, g)
		}
	}
	read, err := groupMarks(ctx, w.Store, at, unread)
	if err != nil {
		return err
	}
	for i, g := range unread {
		w.marks[g] = read[i]
	}
	for g := range w.marks {
		if _, ok := slices.BinarySearch(marked, g); !ok {
			delete(w.marks, g) // the job was resumed
			continue
		}
		s.Counts = s.plus(w.marks[g].Counts)
	}
	return w.countOpen(ctx, at, marked, s)
}

// countOpen adds up groups without an account, and takes the rate.
func (w *Watcher) countOpen(ctx context.Context, at books, marked []int, s *Standing) error {
	now := time.Now()
	if w.Now != nil {
		now = w.Now()
	}
	since := now.Add(-min(rateSpan, max(now.Sub(w.spec.Created), time.Second)))
	var look []int
	for g := range w.sum.groups() {
		if _, ok := slices.BinarySearch(marked, g); !ok {
			look = append(look, g)
		} else if w.marks[g].Time.After(since) {
			look = append(look, g) // for the rate
		}
	}
	found := make([]map[int]doneMark, len(look))
	g, looking := errgroup.WithContext(ctx)
	g.SetLimit(atATime)
	for i, n := range look {
		g.Go(func() (err error) {
			found[i], err = doneParts(looking, w.Store, at, n)
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	recent := 0
	for i, parts := range found {
		_, isMarked := slices.BinarySearch(marked, look[i])
		for _, d := range parts {
			if !isMarked {
				s.Counts = s.plus(d.Counts)
			}
			if d.when.After(since) {
				recent += d.Total()
			}
		}
	}
	s.Rate = float64(recent) / now.Sub(since).Seconds()
	return nil
}

// Jobs are the ids of all jobs that the books know, in the order of their names.
func Jobs(ctx context.Context, s storage.Reader, l request.Locations) ([]string, error) {
	folder := booksOf(l, "").folder
	folder.Key = folder.Key[:len(folder.Key)-1] // the id was empty
	var ids []string
	after := ""
	for {
		id := ""
		for info, err := range s.List(ctx, folder, after) {
			if err != nil {
				return nil, err
			}
			id, _, _ = strings.Cut(info.Ref.Key[len(folder.Key):], "/")
			break
		}
		if id == "" {
			return ids, nil
		}
		ids = append(ids, id)
		after = folder.Key + id + "/\U0010FFFF" // behind all of that job's
	}
}
