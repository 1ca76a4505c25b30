package catalog

import (
	"context"
	"fmt"
	"slices"
	"time"

	"go.uber.org/zap"

	"github.com/penstock/penstock/worker/model"
	"github.com/penstock/penstock/worker/model/source"
)

// shelf holds the versions of one model.
type shelf struct {
	Model

	serving []*version // in ascending order: the last is the current one; guarded by Catalog.mu
	leaving int        // retired, and not closed yet; guarded by Catalog.mu

	// What follows is for whoever syncs alone.

	seen    map[string]string // the ID of each version at the last look
	refused map[string]*refusal
	said    map[complaint]string // what was last said of each matter
}

func newShelf(m Model) *shelf {
	return &shelf{Model: m, seen: map[string]string{}, refused: map[string]*refusal{}, said: map[complaint]string{}}
}

// current is the highest version that is served, or nil. Catalog.mu is held.
func (s *shelf) current() *version {
	if len(s.serving) == 0 {
		return nil
	}
	return s.serving[len(s.serving)-1]
}

// listed is the version that is served under this name of its source's list.
// Only whoever syncs changes what is served, and so may look without the mutex.
func (s *shelf) listed(name string) *version {
	for _, v := range s.serving {
		if v.from.Name == name {
			return v
		}
	}
	return nil
}

// put puts a version in its place. One of the same name, whose content was
// replaced, is given back.
func (s *shelf) put(v *version) (replaced *version) {
	for i, old := range s.serving {
		if old.from.Name == v.from.Name {
			s.serving[i] = v
			return old
		}
	}
	s.serving = append(s.serving, v)
	slices.SortFunc(s.serving, func(a, b *version) int { return source.CompareVersions(a.from.Name, b.from.Name) })
	return nil
}

// version is a version that is loaded.
type version struct {
	model.Model
	from    source.Version
	shelf   *shelf
	catalog *Catalog

	uses    int  // of items, and of runs; guarded by Catalog.mu
	retired bool // guarded by Catalog.mu
}

// Run runs the model, and holds it meanwhile: the run of an item that was
// handed back, since it took too long, outlasts the item. It can also begin when
// its item has just left: then nobody is there to hold the model open for.
func (v *version) Run(ctx context.Context, sig *model.Signature, parts [][]model.Tensor) ([][]model.Tensor, error) {
	if !v.catalog.hold(v) {
		return nil, fmt.Errorf("model %s is closed", v.name())
	}
	defer v.catalog.release(v)
	return v.Model.Run(ctx, sig, parts)
}

// closing says that the version is being closed, or is. Catalog.mu is held.
func (v *version) closing() bool { return v.retired && v.uses == 0 }

// name is how a request can name the version.
func (v *version) name() string {
	if v.Version() == "" {
		return v.shelf.Named.Name
	}
	return v.shelf.Named.Name + "@" + v.Version()
}

// fields are those of a log line about the version.
func (v *version) fields(more ...zap.Field) []zap.Field {
	return append([]zap.Field{zap.String("model", v.shelf.Named.Name), zap.String("version", v.Version())}, more...)
}

// refusal remembers a content that could not be loaded.
type refusal struct {
	id    string
	tries int
	next  time.Time // when it is tried again, unless its content changes before
}

// The cause may lie outside of the model, such as memory that was short, so a
// refused content is tried again, less and less often.
const (
	firstRetry = time.Minute
	lastRetry  = time.Hour
)

// due says whether a content may be tried now.
func (s *shelf) due(v source.Version) bool {
	r := s.refused[v.Name]
	return r == nil || r.id != v.ID || !time.Now().Before(r.next)
}

// refuse notes that a content can't be loaded. It says whether that is news.
func (s *shelf) refuse(v source.Version) (news bool) {
	r := s.refused[v.Name]
	if news = r == nil || r.id != v.ID; news {
		r = &refusal{id: v.ID}
		s.refused[v.Name] = r
	}
	r.next = time.Now().Add(min(firstRetry<<min(r.tries, 10), lastRetry))
	r.tries++
	return news
}

// complaint is a matter that is said once, and again when it reads differently.
type complaint string

const (
	unreadable complaint = "model source: it can't be read, so what is loaded is served on"
	unanswered complaint = "model source: it can't be asked, and is asked again"
	incomplete complaint = "model incomplete: a version lacks a file, and waits for it"
	absent     complaint = "model absent: versions that are to be served are not there"
	gone       complaint = "model source: no version that is there can be served, so what is loaded is served on"
)

// complain logs a matter, unless it was said before in these words. None ends
// it.
func (c *Catalog) complain(s *shelf, about complaint, words string) {
	if words != "" && s.said[about] != words {
		c.log.Warn(string(about), zap.String("model", s.Named.Name), zap.String("error", words))
	}
	s.said[about] = words
}
