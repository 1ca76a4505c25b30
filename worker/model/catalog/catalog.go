// Package catalog keeps a worker's models over their life. It is a [model.Set]
// whose models come from sources with versions: it looks at the sources now and
// then, loads what is new beside what is served, switches between two requests,
// and closes a version when the last request that uses it has ended.
//
// A version that can't be loaded never takes the place of one that is served.
package catalog

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"github.com/penstock/penstock/worker/model"
	"github.com/penstock/penstock/worker/model/source"
)

// Model is one model that a catalog serves.
type Model struct {
	// Named is its name, where it comes from, and which versions are served.
	Named source.Named
	// Versions lists what is there now, in ascending order, as the source does.
	Versions func(ctx context.Context) ([]source.Version, error)
	// Try, if there, is asked before Load where something else can be served
	// than the version. An error refuses it. Whatever the version does to the
	// process that loads it, Try must not let it happen to this one.
	Try func(ctx context.Context, v source.Version) error
	// Load fetches a version, loads it and warms it up. An error refuses it.
	// Load need not heed ctx once it can't be interrupted any more.
	Load func(ctx context.Context, v source.Version) (model.Model, error)
}

// Config is all that a catalog needs.
type Config struct {
	Models []Model // their names differ
	// Poll is how long Run waits between two looks at the sources; 0 means that
	// it never looks.
	Poll    time.Duration
	Log     *zap.Logger           // nil logs nothing
	Metrics prometheus.Registerer // nil measures nothing
}

// Catalog is a set of models that follows its sources. Its methods may be
// called concurrently.
type Catalog struct {
	cfg     Config
	log     *zap.Logger
	metrics *metrics
	shelves []*shelf // in ascending order of name

	mu      sync.Mutex // never held over a wait; guards what the shelves and versions say it does
	over    bool       // Close was called; guarded by mu
	closing sync.WaitGroup
}

var _ model.Set = (*Catalog)(nil)

// Open loads the versions that are to be served of every model. Where the
// newest can't be loaded an older one is served; a model of which none can be
// loaded is an error.
func Open(ctx context.Context, cfg Config) (*Catalog, error) {
	c := &Catalog{cfg: cfg, log: cfg.Log}
	if c.log == nil {
		c.log = zap.NewNop()
	}
	for _, m := range cfg.Models {
		c.shelves = append(c.shelves, newShelf(m))
	}
	slices.SortFunc(c.shelves, func(a, b *shelf) int { return strings.Compare(a.Named.Name, b.Named.Name) })
	c.metrics = newMetrics(cfg.Metrics, c)
	for _, s := range c.shelves {
		if err := c.sync(ctx, s, true); err != nil {
			return nil, errors.Join(err, c.Close())
		}
	}
	return c, nil
}

// Run looks at the sources at every poll until ctx is done. A load that is
// under way then is left to the end of the process: TensorFlow's can't be
// interrupted.
func (c *Catalog) Run(ctx context.Context) {
	if c.cfg.Poll <= 0 {
		return
	}
	poll := time.NewTicker(c.cfg.Poll)
	defer poll.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-poll.C:
		}
		for _, s := range c.shelves {
			_ = c.sync(ctx, s, false) // it has been told
		}
	}
}

// Use implements model.Set. A name alone means the highest version that is
// served.
func (c *Catalog) Use(name string) (model.Model, func(), error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	v := c.find(name)
	if v == nil {
		return nil, nil, &model.UnknownError{Name: name, Known: c.known(name)}
	}
	v.uses++
	return v, sync.OnceFunc(func() { c.release(v) }), nil
}

func (c *Catalog) find(name string) *version {
	if name == "" && len(c.shelves) == 1 {
		return c.shelves[0].current()
	}
	name, number, numbered := strings.Cut(name, "@")
	s := c.shelf(name)
	switch {
	case s == nil:
		return nil
	case !numbered:
		return s.current()
	}
	for _, v := range s.serving {
		if v.Version() == number && number != "" {
			return v
		}
	}
	return nil
}

func (c *Catalog) shelf(name string) *shelf {
	for _, s := range c.shelves {
		if s.Named.Name == name {
			return s
		}
	}
	return nil
}

// known is what could be asked for instead of name: the versions of the model
// that it names, or the models.
func (c *Catalog) known(name string) (names []string) {
	name, _, _ = strings.Cut(name, "@")
	for _, s := range c.shelves {
		names = append(names, s.Named.Name)
	}
	if s := c.shelf(name); s != nil {
		names = []string{name}
		for _, v := range s.serving {
			if v.Version() != "" {
				names = append(names, name+"@"+v.Version())
			}
		}
	}
	return names
}

// hold uses a version that somebody was given, unless it is closed by now.
func (c *Catalog) hold(v *version) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if v.closing() {
		return false
	}
	v.uses++
	return true
}

// release gives a version back, and closes it when it is retired and nobody
// uses it any more.
func (c *Catalog) release(v *version) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if v.uses--; v.closing() && !c.over {
		c.closing.Go(func() { c.close(v) }) // not on the time of whoever was last
	}
}

// close gives a retired version's memory back.
func (c *Catalog) close(v *version) {
	err := v.Close()
	c.mu.Lock()
	v.shelf.leaving--
	c.mu.Unlock()
	c.log.Info("model retired", v.fields(zap.Error(err))...)
}

// Close closes all models, and waits for those that are being closed. The
// catalog is not used any more; a version that is still in use is left to the
// end of the process.
func (c *Catalog) Close() error {
	c.mu.Lock()
	c.over = true // nothing more is begun that would be waited for
	c.mu.Unlock()
	c.closing.Wait()
	c.mu.Lock()
	defer c.mu.Unlock()
	var errs []error
	for _, s := range c.shelves {
		for _, v := range s.serving {
			if v.uses > 0 {
				errs = append(errs, fmt.Errorf("model %s is still in use", v.name()))
				continue
			}
			v.retired = true
			errs = append(errs, v.Close())
		}
		s.serving = nil
	}
	return errors.Join(errs...)
}
