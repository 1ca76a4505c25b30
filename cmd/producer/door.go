package main

import (
	"time"

	"go.uber.org/zap"

	"github.com/penstock/penstock/cmd/internal/frontdoor"
	"github.com/penstock/penstock/cmd/internal/frontdoor/auth"
	"github.com/penstock/penstock/cmd/internal/intake"
	"github.com/penstock/penstock/cmd/internal/producer/proxy"
	"github.com/penstock/penstock/cmd/internal/settings"
	"github.com/penstock/penstock/cmd/internal/status"
	"github.com/penstock/penstock/queue/sqs"
	"github.com/penstock/penstock/storage/s3"
)

// newDoor is the front door behind Lambda's: open to those whom AWS has
// identified, and to others by tokens, by keys, or not at all.
func newDoor(s options, store *s3.Store, queue *sqs.Queue, in *intake.Intake, now func() time.Time, log *zap.Logger) *proxy.Door {
	cfg := frontdoor.Config{
		Intake: in, Finder: &status.Finder{Store: store, Locations: s.Locations, Now: now, Queue: queue},
		Store: store, Locations: s.Locations, Presign: store,
		Endpoints: s.endpoints, Account: settings.Account(s.QueueURL),
		MaxResult: proxy.MaxBody, MaxWait: s.maxWait, Log: log,
	}
	d := &proxy.Door{Known: frontdoor.New(cfg), BasePath: s.basePath, Log: log}
	switch {
	case !s.gate.Open():
		cfg.Gate = func() auth.Gate { return s.gate }
		d.Strangers = frontdoor.New(cfg)
	case s.allowAnonymous:
		d.Strangers = d.Known
	}
	return d
}
