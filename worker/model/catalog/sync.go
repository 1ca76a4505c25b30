package catalog

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"go.uber.org/zap"

	"github.com/penstock/penstock/worker/model"
	"github.com/penstock/penstock/worker/model/source"
)

const (
	// listLimit bounds a look at one source, which may read an archive whole.
	listLimit = 5 * time.Minute
	// startPatience is how long a source that can't be reached is asked for at
	// the start. Then the process ends, to be started again.
	startPatience = time.Minute
	// slowLoad is when a load is taken for one that may hang.
	slowLoad = 10 * time.Minute
)

// sync makes what is served what the source has. At the start, what is there
// has to do; later only what no one is still copying is loaded.
func (c *Catalog) sync(ctx context.Context, s *shelf, start bool) error {
	list, err := c.look(ctx, s, start)
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case err != nil && start:
		return err
	case err != nil:
		c.complain(s, unreadable, err.Error())
		return err
	}
	c.complain(s, unreadable, "")
	c.notice(s, list)
	stay, err := c.choose(ctx, s, list, start)
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	s.remember(list)
	switch {
	case len(stay) > 0:
		c.complain(s, gone, "")
		c.keep(s, stay)
		return nil
	case start:
		return err
	}
	c.complain(s, gone, fmt.Sprintf("of %d versions", len(list)))
	return err
}

// look lists what the source has. At the start, when there is nothing to serve
// meanwhile, it asks again for a while if it could not be reached.
func (c *Catalog) look(ctx context.Context, s *shelf, start bool) (list []source.Version, err error) {
	began := time.Now()
	for wait := time.Second; ; wait = min(2*wait, 15*time.Second) {
		listing, cancel := context.WithTimeout(ctx, listLimit)
		list, err = s.Versions(listing)
		cancel()
		if !start || !errors.Is(err, source.ErrUnreachable) || time.Since(began)+wait > startPatience {
			return list, err
		}
		if s.said[unanswered] == "" { // no two of S3's answers read alike
			c.complain(s, unanswered, err.Error())
		}
		select {
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		case <-time.After(wait):
		}
	}
}

// choose goes through the versions from the highest down, loads what is new,
// and gives those that the policy wants to be served. A version that can't be
// loaded does not count: the next one takes its place. err says why versions
// were passed over.
func (c *Catalog) choose(ctx context.Context, s *shelf, list []source.Version, start bool) (stay []*version, err error) {
	var errs []error
	spare := len(list) > 1 || len(s.serving) > 0 // something else could be served than any one of them
	for _, v := range slices.Backward(list) {
		if len(stay) == s.Named.Versions.Most() || ctx.Err() != nil {
			break
		}
		served := s.listed(v.Name)
		if served == nil || served.from.ID != v.ID {
			fresh, err := c.take(ctx, s, v, start, spare)
			errs = append(errs, err)
			if fresh != nil {
				served = fresh
			} // else the old content of that version stays, if there is one
		}
		if served != nil {
			stay = append(stay, served)
		}
	}
	return stay, errors.Join(errs...)
}

// take loads a version and serves it, if its time has come. Where there is
// something to spare for it, it is tried first.
func (c *Catalog) take(ctx context.Context, s *shelf, v source.Version, start, spare bool) (*version, error) {
	c.mu.Lock()
	leaving := s.leaving
	c.mu.Unlock()
	switch {
	case v.Missing != "":
		return nil, fmt.Errorf("model %s: version %s is incomplete: %s is missing; copy the whole SavedModel again", s.Named.URI, v.Name, v.Missing)
	case start:
	case !v.Atomic && s.seen[v.Name] != v.ID: // it may be in the middle of being copied
		return nil, nil
	case leaving > 0: // or there would be three in memory, and more
		return nil, nil
	case !s.due(v):
		return nil, nil
	}
	began := time.Now()
	m, err := c.load(ctx, s, v, spare && s.Try != nil)
	if ctx.Err() != nil {
		if err == nil { // both came at the same time
			_ = m.Close() // the process ends
		}
		return nil, context.Cause(ctx)
	}
	c.metrics.loaded(s.Named.Name, err, time.Since(began))
	if err != nil {
		if s.refuse(v) {
			c.log.Error("model refused", zap.String("model", s.Named.Name), zap.String("version", v.Name), zap.String("content", v.ID), zap.Error(err))
		}
		return nil, err
	}
	delete(s.refused, v.Name)
	fresh := &version{Model: m, from: v, shelf: s, catalog: c}
	c.log.Info("model loaded", fresh.fields(append(describe(m), zap.String("from", s.Named.URI), zap.Duration("took", time.Since(began)))...)...)
	c.change(s, func() []*version {
		if old := s.put(fresh); old != nil {
			return []*version{old}
		}
		return nil
	})
	return fresh, nil
}

// load calls Load, and Try before it if it is to be tried. Once ctx is done it
// does not wait for them any longer, and what comes of it is closed.
func (c *Catalog) load(ctx context.Context, s *shelf, v source.Version, try bool) (model.Model, error) {
	type result struct {
		model model.Model
		err   error
	}
	slow := time.AfterFunc(slowLoad, func() {
		c.log.Warn("model is still being loaded, and no other is meanwhile",
			zap.String("model", s.Named.Name), zap.String("version", v.Name), zap.Duration("since", slowLoad))
	})
	defer slow.Stop()
	done := make(chan result)
	go func() {
		var r result
		defer func() {
			if p := recover(); p != nil {
				r.err = fmt.Errorf("load model %s: panic: %v", s.Named.Name, p)
			}
			select {
			case done <- r:
			case <-ctx.Done():
				if r.model != nil {
					_ = r.model.Close() // the process ends
				}
			}
		}()
		if try {
			r.err = s.Try(ctx, v)
		}
		if r.err == nil {
			r.model, r.err = s.Load(ctx, v)
		}
	}()
	select {
	case r := <-done:
		return r.model, r.err
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// keep retires what is served and not to stay.
func (c *Catalog) keep(s *shelf, stay []*version) {
	c.change(s, func() (leave []*version) {
		s.serving = slices.DeleteFunc(s.serving, func(v *version) bool {
			if slices.Contains(stay, v) {
				return false
			}
			leave = append(leave, v)
			return true
		})
		return leave
	})
}

// change changes what is served and retires what it gives back: that is closed
// at once, unless it is in use.
func (c *Catalog) change(s *shelf, f func() (leave []*version)) {
	c.mu.Lock()
	before := s.current()
	leave := f()
	after := s.current()
	var idle []*version
	for _, v := range leave {
		v.retired = true
		s.leaving++
		if v.closing() {
			idle = append(idle, v)
		}
	}
	c.mu.Unlock()
	if before != nil && before != after {
		c.log.Info("model switched", after.fields(zap.String("before", before.Version()))...)
	}
	for _, v := range idle {
		c.close(v)
	}
}

// notice says what is wrong with a list: versions without all their files, and
// those that were asked for and are not in it.
func (c *Catalog) notice(s *shelf, list []source.Version) {
	var lacking, missing []string
	for _, v := range list {
		if v.Missing != "" {
			lacking = append(lacking, fmt.Sprintf("version %s lacks %s", v.Name, v.Missing))
		}
	}
	for _, name := range s.Named.Versions.Specific {
		if !slices.ContainsFunc(list, func(v source.Version) bool { return v.Name == name || v.Name == "" }) {
			missing = append(missing, name)
		}
	}
	c.complain(s, incomplete, strings.Join(lacking, "; "))
	c.complain(s, absent, strings.Join(missing, ", "))
}

// remember keeps what this look has found for the next one.
func (s *shelf) remember(list []source.Version) {
	clear(s.seen)
	for _, v := range list {
		s.seen[v.Name] = v.ID
	}
	for name := range s.refused {
		if _, there := s.seen[name]; !there {
			delete(s.refused, name)
		}
	}
}

// describe gives log fields of what a model can do.
func describe(m model.Model) []zap.Field {
	var fields []zap.Field
	for name, sig := range m.Signatures() {
		fields = append(fields, zap.String("signature "+name, fmt.Sprintf("%v -> %v", sig.Inputs, sig.Outputs)))
	}
	slices.SortFunc(fields, func(a, b zap.Field) int { return strings.Compare(a.Key, b.Key) })
	return fields
}
