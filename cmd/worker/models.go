//go:build cgo

package main

import (
	"context"
	"fmt"
	"time"

	"go.uber.org/zap"

	"github.com/penstock/penstock/worker"
	"github.com/penstock/penstock/worker/model"
	"github.com/penstock/penstock/worker/model/source"
	"github.com/penstock/penstock/worker/model/tf"
)

// loaded are the models that this process has loaded.
type loaded []*tf.Model

// loadModels loads and warms up every model of the settings.
func loadModels(ctx context.Context, s *settings, cfg worker.Config) (*loaded, error) {
	named, err := source.Parse(s.model)
	if err != nil {
		return nil, settingsError{err}
	}
	var all loaded
	for _, n := range named {
		m, err := loadModel(ctx, n, s, cfg)
		if err != nil {
			all.close()
			return nil, err
		}
		all = append(all, m)
	}
	return &all, nil
}

func loadModel(ctx context.Context, n source.Named, s *settings, cfg worker.Config) (*tf.Model, error) {
	began := time.Now()
	local, err := source.Open(ctx, cfg.Store, n.URI, s.modelCache)
	if err != nil {
		return nil, settingsError{err}
	}
	found := time.Since(began)
	m, err := tf.Load(local.Dir, tf.Options{
		Name: n.Name, Version: local.Version, Config: local.Config, Logger: cfg.Log,
		IntraOpThreads: s.intraOp, InterOpThreads: s.interOp,
	})
	if err != nil {
		return nil, settingsError{err}
	}
	if err := m.WarmUp(ctx); err != nil {
		_ = m.Close() // the warm-up's error says more
		return nil, settingsError{fmt.Errorf("model %s: %w", n.Name, err)}
	}
	fields := []zap.Field{
		zap.String("model", n.Name), zap.String("version", local.Version), zap.String("from", n.URI),
		zap.Duration("found", found), zap.Duration("loaded", time.Since(began)-found),
	}
	for name, sig := range m.Signatures() {
		fields = append(fields, zap.String("signature "+name, fmt.Sprintf("%v -> %v", sig.Inputs, sig.Outputs)))
	}
	cfg.Log.Info("model loaded", fields...)
	return m, nil
}

func (l *loaded) list() []model.Model {
	var models []model.Model
	for _, m := range *l {
		models = append(models, m)
	}
	return models
}

func (l *loaded) close() {
	for _, m := range *l {
		_ = m.Close() // the process ends
	}
	*l = nil
}

// abandon leaves the models to the end of the process.
func (l *loaded) abandon() { *l = nil }
