// Package storagetest is the conformance suite of package storage: what every
// adapter, on every server, has to do. A check that a server can't pass is
// listed as a gap with its reason, and is reported once it passes.
package storagetest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/penstock/penstock/storage"
)

// Options fit the suite to a server. The zero value runs every check that
// needs no versions.
type Options struct {
	// Gaps maps names of checks (the part of the test's name behind the slash,
	// with its blanks) to the reason why this server fails them. A listed
	// check must fail, unless it is a race, which a server may win by luck.
	Gaps map[string]string
	// Versioned says that the buckets keep versions, and adds the checks of
	// that to the others.
	Versioned bool
	// Bubble runs each check in a testing/synctest bubble: for stores that
	// live in this process and need no network.
	Bubble bool
}

// harness is what one check works on: a bucket that is empty and its own.
type harness struct {
	storage.Store
	bucket string
}

func (h harness) ref(key string) storage.Ref { return storage.Ref{Bucket: h.bucket, Key: key} }

// check is one promise. It returns how the promise was broken.
type check struct {
	name string
	run  func(ctx context.Context, h harness) error
}

func checks(opts Options) []check {
	all := slices.Concat(readChecks, partChecks, conditionChecks, uploadChecks, listChecks, limitChecks, keyChecks())
	if opts.Versioned {
		all = append(all, versionChecks...)
	}
	return all
}

// Run runs every check as a subtest, each in the bucket that open makes for
// it. They run in parallel.
func Run(t *testing.T, open func(t *testing.T) (store storage.Store, bucket string), opts Options) {
	known := maps.Clone(opts.Gaps)
	for _, c := range checks(opts) {
		delete(known, c.name)
		judge := func(t *testing.T) {
			store, bucket := open(t)
			c.judge(t, harness{store, bucket}, opts.Gaps[c.name])
		}
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			if opts.Bubble {
				synctest.Test(t, judge)
			} else {
				judge(t)
			}
		})
	}
	for name := range known {
		t.Errorf("a gap is listed for %q, which is no check of the suite", name)
	}
}

func (c check) judge(t *testing.T, h harness, gap string) {
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	err := c.run(ctx, h)
	switch {
	case gap == "" && err != nil:
		t.Error(err)
	case gap != "" && err != nil:
		t.Logf("known gap (%s): %v", gap, err)
	case gap != "" && !races[c.name]:
		t.Errorf("the gap %q is closed: take it off the list", gap)
	}
}

// put writes an object without conditions.
func put(ctx context.Context, h harness, key, body string) (storage.Info, error) {
	return h.Put(ctx, h.ref(key), []byte(body), storage.PutOptions{})
}

// read opens an object and reads it to its end.
func read(ctx context.Context, h harness, ref storage.Ref, opts storage.GetOptions) (storage.Info, []byte, error) {
	object, err := h.Get(ctx, ref, opts)
	if err != nil {
		return storage.Info{}, nil, err
	}
	body, err := io.ReadAll(object.Body)
	return object.Info, body, errors.Join(err, object.Body.Close())
}

// wantBody reads an object and compares its bytes.
func wantBody(ctx context.Context, h harness, ref storage.Ref, want string) error {
	_, body, err := read(ctx, h, ref, storage.GetOptions{})
	if err != nil {
		return err
	}
	if !bytes.Equal(body, []byte(want)) {
		return fmt.Errorf("%s holds %.40q (%d bytes), want %.40q (%d bytes)", ref, body, len(body), want, len(want))
	}
	return nil
}

// wantIs reports an error that is none of the wanted.
func wantIs(step string, err error, wanted ...error) error {
	for _, want := range wanted {
		if errors.Is(err, want) {
			return nil
		}
	}
	return fmt.Errorf("%s: the error is %v, want one of %q", step, err, wanted)
}
