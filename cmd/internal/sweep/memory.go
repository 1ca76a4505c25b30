package sweep

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"time"

	"github.com/penstock/penstock/storage"
)

// memory is what one sweep leaves to the next: an object in the state location.
// Without it, or with an older one, requests are looked at once more than they
// need be, and none is forgotten.
type memory struct {
	Version int                `json:"version"`
	Folders map[string]*folder `json:"folders"` // by their URIs

	etag string // of the object as it was read; empty when there was none
}

// folder is what is remembered of the objects in one.
type folder struct {
	// Through is up to when all objects that appeared were looked at. Those
	// that are to be looked at again are in Pending.
	Through time.Time `json:"through"`
	// Began is the start of the scan under way, which has come to the key
	// After; zero when none is.
	Began time.Time `json:"began,omitzero"`
	After string    `json:"after,omitempty"`
	// Pending are those to look at again, by their keys below the folder.
	Pending map[string]pending `json:"pending"`
}

// pending is an object that is to be looked at again.
type pending struct {
	Due int64 `json:"due"` // Unix seconds; 0 is as soon as can be
	// Once is set when its request has ended and is looked at once more, for
	// what another sweep may have left that died over it.
	Once bool `json:"once,omitempty"`
	// Unsent is set when its request has no time to live: it is looked at when
	// nothing waits in the queue.
	Unsent bool `json:"unsent,omitempty"`
}

const memoryVersion = 1

// maxMemoryBytes is more than maxPending take.
const maxMemoryBytes = 512 << 20

// recall reads the memory. What can't be understood is none: a later version
// may have written it.
func (w *sweep) recall(ctx context.Context) (*memory, error) {
	m := &memory{}
	o, err := w.Store.Get(ctx, w.Locations.SweepOf(), storage.GetOptions{})
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return nil, fmt.Errorf("read what earlier sweeps have left: %w", err)
	default:
		defer o.Body.Close()
		body, err := io.ReadAll(io.LimitReader(o.Body, maxMemoryBytes))
		if err != nil {
			return nil, fmt.Errorf("read what earlier sweeps have left: %w", err)
		}
		if json.Unmarshal(body, m) != nil || m.Version != memoryVersion {
			*m = memory{}
		}
		m.etag = o.ETag
	}
	m.Version = memoryVersion
	if m.Folders == nil {
		m.Folders = make(map[string]*folder)
	}
	return m, nil
}

// of gives what is remembered of a folder.
func (m *memory) of(place storage.Ref) *folder {
	f := m.Folders[place.String()]
	if f == nil {
		f = &folder{}
		m.Folders[place.String()] = f
	}
	if f.Pending == nil {
		f.Pending = make(map[string]pending)
	}
	return f
}

// keep writes the memory, unless another sweep has done so meanwhile: one is as
// good as the other, and the two must not be mixed.
func (w *sweep) keep(ctx context.Context, m *memory) error {
	body, err := json.Marshal(m)
	if err != nil {
		return err
	}
	opts := storage.PutOptions{ContentType: "application/json", IfMatch: m.etag, IfNoneMatch: m.etag == ""}
	// Also when the time is over: what was looked at is not to be looked at again.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), callLimit)
	defer cancel()
	_, err = w.Store.Put(ctx, w.Locations.SweepOf(), body, opts)
	if errors.Is(err, storage.ErrPrecondition) || errors.Is(err, storage.ErrConflict) || errors.Is(err, fs.ErrNotExist) {
		w.log.Info("another sweep was made at the same time: what this one has learned is left to the next")
		return nil
	}
	if err != nil {
		return fmt.Errorf("write what the next sweep is to know: %w", err)
	}
	return nil
}
