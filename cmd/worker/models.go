//go:build cgo

package main

import (
	"context"
	"errors"
	"time"

	"go.uber.org/zap"

	"github.com/penstock/penstock/worker"
	"github.com/penstock/penstock/worker/model"
	"github.com/penstock/penstock/worker/model/catalog"
	"github.com/penstock/penstock/worker/model/source"
	"github.com/penstock/penstock/worker/model/tf"
)

// openModels finds, loads and warms up every model of the settings.
func openModels(ctx context.Context, s *settings, cfg worker.Config) (*catalog.Catalog, error) {
	named, err := source.Parse(s.model)
	if err != nil {
		return nil, settingsError{err}
	}
	cache := &source.Cache{Dir: s.modelCache, Limit: s.modelCacheBytes}
	c := catalog.Config{Poll: s.modelPoll, Log: cfg.Log, Metrics: cfg.Metrics}
	var errs []error
	for _, n := range named {
		from, err := source.New(n, cfg.Store, cache)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		l := loader{from, tf.Options{
			Name: n.Name, Logger: cfg.Log, MaxBatchSize: s.maxBatchSize, IntraOpThreads: s.intraOp, InterOpThreads: s.interOp,
		}}
		c.Models = append(c.Models, catalog.Model{Named: n, Versions: from.Versions, Try: l.try, Load: l.load})
	}
	if len(errs) > 0 {
		return nil, settingsError{errors.Join(errs...)}
	}
	models, err := catalog.Open(ctx, c)
	if err != nil {
		return nil, modelsError(err)
	}
	return models, nil
}

// modelsError says whether models that are not to be had are a fault of the
// settings: where S3 gave no answer a restart may help.
func modelsError(err error) error {
	if errors.Is(err, source.ErrUnreachable) {
		return err
	}
	return settingsError{err}
}

// loader loads versions of one model with TensorFlow.
type loader struct {
	from    *source.Source
	options tf.Options // but for what a version brings along
}

// load implements catalog.Model's Load.
func (l loader) load(ctx context.Context, v source.Version) (model.Model, error) {
	began := time.Now()
	local, err := l.from.Fetch(ctx, v)
	if err != nil {
		return nil, err
	}
	l.options.Logger.Debug("model fetched", zap.String("model", l.options.Name), zap.String("version", local.Version),
		zap.Int64("bytes", v.Bytes), zap.String("dir", local.Dir), zap.Duration("took", time.Since(began)))
	l.options.Version, l.options.Config = local.Version, local.Config
	m, err := tf.Load(local.Dir, l.options)
	if err != nil {
		local.Release()
		return nil, err
	}
	held := holding{m, local}
	if err := m.WarmUp(ctx); err != nil {
		_ = held.Close() // the warm-up's error says more
		return nil, err
	}
	return held, nil
}

// holding is a model that keeps its files in the cache while it is loaded: a
// graph may read its assets at any time.
type holding struct {
	*tf.Model
	local source.Local
}

// Close frees the model, and lets the cache remove its files.
func (h holding) Close() error {
	defer h.local.Release()
	return h.Model.Close()
}
