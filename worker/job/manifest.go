package job

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"

	"github.com/penstock/penstock/storage"
	"github.com/penstock/penstock/storage/manifest"
)

// manifest yields the objects that a manifest names, from a cursor on.
func (w *walker) manifest(ctx context.Context, from cursor, give func(entry) error) error {
	ref, err := storage.ParseRef(w.spec.Manifest)
	if err != nil {
		return err
	}
	r, err := manifest.Open(ctx, patient{w.store}, ref, manifest.Format(w.spec.ManifestFormat), from.Manifest)
	if err != nil {
		return unlisted(ref, err)
	}
	for {
		named, err := r.Next()
		switch {
		case err == io.EOF && r.Position().Line == 0:
			return fmt.Errorf("%w: %s: the manifest is empty: it names no object", ErrSource, ref)
		case err == io.EOF:
			return nil
		case err == nil && named.Err != nil:
			return fmt.Errorf("%w: %s: %w", ErrSource, ref, named.Err)
		case err != nil:
			return unlisted(ref, err)
		}
		object := named.Ref
		e := entry{info: storage.Info{Ref: object}, next: cursor{Manifest: r.Position()}}
		e.skip = strings.HasSuffix(object.Key, "/") || !w.chooser.Wants(object.Key)
		if !e.skip && !w.locations.Allowed(object) {
			return fmt.Errorf("%w: %s: %s: %s lies in no input location", ErrSource, ref, r.Where(), object)
		}
		if err := give(e); err != nil {
			return err
		}
	}
}

// unlisted says what the end of a manifest's reading means for the job.
func unlisted(ref storage.Ref, err error) error {
	_, faulty := errors.AsType[*manifest.Error](err)
	switch {
	case errors.Is(err, manifest.ErrChanged):
		return fmt.Errorf("%w: the manifest %s has changed since the job was begun; restore it, or submit it as a new job", ErrSource, ref)
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("%w: there is no manifest %s", ErrSource, ref)
	case faulty:
		return fmt.Errorf("%w: %s: %w", ErrSource, ref, err)
	}
	return fmt.Errorf("read the manifest %s: %w", ref, err)
}

// patient tries what meets faults of the surroundings again, a read with all of
// its bytes.
type patient struct{ storage.Reader }

// Head implements storage.Reader.
func (p patient) Head(ctx context.Context, ref storage.Ref) (info storage.Info, err error) {
	err = patiently(ctx, func() (err error) {
		info, err = p.Reader.Head(ctx, ref)
		return err
	})
	return info, err
}

// Get implements storage.Reader. The bytes are in memory when it returns.
func (p patient) Get(ctx context.Context, ref storage.Ref, opts storage.GetOptions) (o *storage.Object, err error) {
	err = patiently(ctx, func() (err error) {
		if o, err = p.Reader.Get(ctx, ref, opts); err != nil {
			return err
		}
		defer o.Body.Close()
		body, err := io.ReadAll(o.Body)
		if err == nil && int64(len(body)) < min(opts.Length, o.Size-opts.Offset) {
			err = io.ErrUnexpectedEOF
		}
		o.Body = io.NopCloser(bytes.NewReader(body))
		return err
	})
	return o, err
}
