package job

import (
	"context"
	"errors"
	"io/fs"
	"maps"
	"slices"

	"golang.org/x/sync/errgroup"
)

// A job's end is written by whoever ends its last part, and can be taken back
// by a resume at the same time. So neither an account of a group nor a summary
// is believed because it is there: it counts as long as it tells what the marks
// below it do.

// finish assembles the files that lie in more than one group, and writes the
// summary: the job's end. Whoever resumes the job takes back what is below the
// summary first, and the summary again last; who has written one looks again: so
// one of both sees the other.
func (b *Books) finish(ctx context.Context, id string) error {
	at := booksOf(b.Locations, id)
	spec, err := b.Spec(ctx, id)
	if err != nil {
		return err
	}
	for {
		var s Summary
		etag, err := readNoteAs(ctx, b.Store, at.summary(), &s)
		found := err == nil
		if !found && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		a, err := b.accounts(ctx, id) // after the summary, so that they are no older
		switch {
		case err != nil:
			return err
		case found && a.whole && s.tells(a):
			return b.publish(ctx, id, s)
		case found:
			if err := deleteNote(ctx, b.Store, at.summary(), etag); err != nil {
				return err
			}
		}
		if !a.whole {
			return nil // the job was resumed: who ends it then looks again
		}
		if err := b.end(ctx, spec, a); err != nil {
			return err
		}
	}
}

// end writes the summary, if that has not been done meanwhile.
func (b *Books) end(ctx context.Context, spec Spec, a accounts) error {
	sums, err := b.assembleAll(ctx, spec, a.wide, a.ended)
	if err != nil {
		return err
	}
	if len(a.wide) > 0 { // that can have taken long
		if now, err := b.accounts(ctx, spec.ID); err != nil || !a.same(now) {
			return err
		}
	}
	s, err := b.summarize(ctx, spec, a.sealed, a.Counts, a.files.plus(sums))
	if err == nil {
		_, err = putNote(ctx, b.Store, booksOf(b.Locations, spec.ID).summary(), s)
	}
	return err
}

// tells says whether the summary is that of the accounts. Of files in several
// groups these know nothing.
func (s Summary) tells(a accounts) bool {
	if s.Partial != a.sealed.Partial || s.Objects.Submitted != a.sealed.Objects {
		return false
	}
	if s.Parts == nil {
		return s.Objects.Counts == a.Counts
	}
	return s.Parts.Counts == a.Counts && (len(a.wide) > 0 || s.Objects.Counts == a.files.Counts)
}

// accounts are those of all groups of a plan.
type accounts struct {
	Counts
	sealed seal
	marks  []groupMark
	files  fileSums
	ended  fates
	wide   []file
	whole  bool // the plan is sealed, and there is one of each group, which tells what is done
}

// same says whether nothing has changed.
func (a accounts) same(now accounts) bool {
	return now.whole && slices.EqualFunc(a.marks, now.marks, func(a, b groupMark) bool { return a.Time.Equal(b.Time) })
}

// accounts reads those of all groups. One that is of before the job was resumed
// it has written again.
func (b *Books) accounts(ctx context.Context, id string) (accounts, error) {
	at := booksOf(b.Locations, id)
	sealed, ok, err := b.sealed(ctx, id)
	if err != nil || !ok {
		return accounts{}, err
	}
	a := accounts{sealed: sealed, ended: fates{}, whole: true}
	groups := make([]int, sealed.groups())
	for g := range groups {
		groups[g] = g
	}
	if a.marks, err = groupMarks(ctx, b.Store, at, groups); errors.Is(err, fs.ErrNotExist) {
		return accounts{}, nil
	} else if err != nil {
		return accounts{}, err
	}
	done := make([]map[int]doneMark, len(groups))
	g, looking := errgroup.WithContext(ctx)
	g.SetLimit(atATime)
	for n := range groups {
		g.Go(func() (err error) {
			done[n], err = doneParts(looking, b.Store, at, n)
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return accounts{}, err
	}
	for n, m := range a.marks {
		if len(done[n]) < sealed.partsOf(n) || !m.tells(done[n]) {
			return accounts{}, b.closeGroup(ctx, id, n) // which ends the job too, if it can be
		}
		a.Counts, a.files = a.plus(m.Counts), a.files.plus(m.Files)
		a.wide = append(a.wide, m.Wide...)
		maps.Copy(a.ended, fatesOf(m.Parts))
	}
	return a, nil
}
