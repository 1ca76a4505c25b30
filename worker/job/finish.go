package job

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/penstock/penstock/storage"
)

// groupMark is the account of a group that is done. It is written once, so that
// what is added up from it is the same for everyone.
type groupMark struct {
	Counts
	Parts []partMark `json:"parts,omitempty"` // those that did not go well
	Files fileSums   `json:"files"`
	Time  time.Time  `json:"time"`
	// Wide are the files that end in this group and begin in another.
	Wide []file `json:"wide,omitempty"`
}

// partMark is a part of which not all items succeeded.
type partMark struct {
	Part int `json:"part"`
	Counts
}

// follow does what follows from a part's end in group g. It runs once for all
// who come while it waits.
func (b *Books) follow(ctx context.Context, id string, g int) error {
	name := fmt.Sprintf("%s/%d", id, g)
	return b.checks.do(ctx, name, func(ctx context.Context) error { return b.closeGroup(ctx, id, g) })
}

// closeGroup marks a group if all its parts are done, and ends the job if it was
// the last.
func (b *Books) closeGroup(ctx context.Context, id string, g int) error {
	at := booksOf(b.Locations, id)
	done, err := doneParts(ctx, b.Store, at, g)
	if err != nil {
		return err
	}
	if len(done) < groupParts {
		sealed, ok, err := b.sealed(ctx, id)
		if err != nil || !ok || len(done) < sealed.partsOf(g) {
			return err // who ends the last part, or seals the plan, looks again
		}
	}
	var m groupMark
	etag, err := readNoteAs(ctx, b.Store, at.group(g), &m)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		err = b.markGroup(ctx, id, g, done)
	case err == nil && !m.tells(done):
		// One of both is of before the job was resumed. What is done is looked up
		// once more: what it says then is newer than the account.
		if done, err = doneParts(ctx, b.Store, at, g); err == nil && !m.tells(done) {
			if err = deleteNote(ctx, b.Store, at.group(g), etag); err == nil {
				return b.closeGroup(ctx, id, g)
			}
		}
	}
	if err != nil {
		return err
	}
	return b.close(ctx, id)
}

// tells says whether the account is of these parts. Its writer may have been so
// slow that the job was resumed meanwhile: then it counts for nothing.
func (m groupMark) tells(done map[int]doneMark) bool {
	other := accountOf(done)
	return m.Counts == other.Counts && slices.Equal(m.Parts, other.Parts)
}

// accountOf is the account of parts, but for their files.
func accountOf(done map[int]doneMark) groupMark {
	var m groupMark
	for part, d := range done {
		m.Counts = m.plus(d.Counts)
		if d.Failed+d.Cancelled > 0 {
			m.Parts = append(m.Parts, partMark{part, d.Counts})
		}
	}
	slices.SortFunc(m.Parts, func(a, b partMark) int { return a.Part - b.Part })
	return m
}

// markGroup assembles the files that lie in the group and writes its account.
func (b *Books) markGroup(ctx context.Context, id string, g int, done map[int]doneMark) error {
	spec, err := b.Spec(ctx, id)
	if err != nil {
		return err
	}
	m := accountOf(done)
	m.Time = b.now().UTC()
	at := booksOf(b.Locations, id)
	if spec.Records() {
		var p page
		if err := readNote(ctx, b.Store, at.page(g*groupParts), &p); err != nil {
			return err
		}
		ended := fatesOf(m.Parts)
		var here []file
		for _, f := range p.Files {
			switch {
			case f.Part < p.First && f.ends():
				m.Wide = append(m.Wide, f)
			case f.Part >= p.First && f.ends():
				here = append(here, f)
			}
		}
		if m.Files, err = b.assembleAll(ctx, spec, here, ended); err != nil {
			return err
		}
		// That can have taken long: meanwhile the job may have been resumed. Who
		// changes what is done looks again.
		now, err := doneParts(ctx, b.Store, at, g)
		if err != nil || !maps.EqualFunc(done, now, func(a, b doneMark) bool { return a.Counts == b.Counts }) {
			return err
		}
	}
	_, err = putNote(ctx, b.Store, at.group(g), m)
	return err
}

// fates says how the ranges ended that did not succeed.
type fates map[int]Fate

func fatesOf(marks []partMark) fates {
	f := fates{}
	for _, m := range marks {
		f[m.Part] = Cancelled
		if m.Failed > 0 {
			f[m.Part] = Failed
		}
	}
	return f
}

// Close ends the job if everything of it is done: whoever seals a plan or
// resumes a job looks, in case all parts were done before.
func (b *Books) Close(ctx context.Context, id string) error {
	sealed, ok, err := b.sealed(ctx, id)
	if err != nil || !ok {
		return err
	}
	at := booksOf(b.Locations, id)
	marked, err := listNumbers(ctx, b.Store, at.groups())
	if err != nil {
		return err
	}
	for g := range sealed.groups() {
		if _, found := slices.BinarySearch(marked, g); found {
			continue
		}
		if err := b.follow(ctx, id, g); err != nil {
			return err
		}
	}
	return b.close(ctx, id)
}

// close writes the summary if all groups are done.
func (b *Books) close(ctx context.Context, id string) error {
	sealed, ok, err := b.sealed(ctx, id)
	if err != nil || !ok {
		return err
	}
	marked, err := listNumbers(ctx, b.Store, booksOf(b.Locations, id).groups())
	if err != nil || len(marked) < sealed.groups() {
		return err
	}
	return b.finish(ctx, id)
}

// listNumbers are the numbers below a folder, in ascending order.
func listNumbers(ctx context.Context, s storage.Reader, folder storage.Ref) ([]int, error) {
	var list []int
	for info, err := range s.List(ctx, folder, "") {
		if err != nil {
			return nil, err
		}
		if strings.HasSuffix(info.Ref.Key, "/sealed") {
			continue
		}
		n, err := numbers(info.Ref, 1)
		if err != nil {
			return nil, err
		}
		list = append(list, n[0])
	}
	return list, nil
}

// groupMarks reads the accounts of groups.
func groupMarks(ctx context.Context, s storage.Reader, at books, groups []int) ([]groupMark, error) {
	marks := make([]groupMark, len(groups))
	g, reading := errgroup.WithContext(ctx)
	g.SetLimit(atATime)
	for i, n := range groups {
		g.Go(func() error { return readNote(reading, s, at.group(n), &marks[i]) })
	}
	return marks, g.Wait()
}
