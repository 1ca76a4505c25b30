package storagetest

import (
	"context"
	"iter"
	"sync"

	"github.com/penstock/penstock/storage"
)

// Hooked is a store whose every call passes a hook, for tests of those who use
// a store: faults, lost replies, orders of calls. The zero hook lets all pass.
type Hooked struct {
	storage.Store

	mu   sync.Mutex
	hook Hook
}

// Hook sees a call and what makes it; what it returns is the reply. verb is
// "head", "get", "list", "put" or "delete", or of an upload "upload", "part",
// "copy", "complete" or "abort".
type Hook func(ctx context.Context, verb string, ref storage.Ref, call func() error) error

// OnCall sets the hook from now on; nil takes it away.
func (s *Hooked) OnCall(h Hook) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.hook = h
}

func (s *Hooked) pass(ctx context.Context, verb string, ref storage.Ref, call func() error) error {
	s.mu.Lock()
	h := s.hook
	s.mu.Unlock()
	if h == nil {
		return call()
	}
	return h(ctx, verb, ref, call)
}

// Head implements storage.Store.
func (s *Hooked) Head(ctx context.Context, ref storage.Ref) (info storage.Info, err error) {
	err = s.pass(ctx, "head", ref, func() (err error) {
		info, err = s.Store.Head(ctx, ref)
		return err
	})
	return info, err
}

// Get implements storage.Store.
func (s *Hooked) Get(ctx context.Context, ref storage.Ref, opts storage.GetOptions) (o *storage.Object, err error) {
	err = s.pass(ctx, "get", ref, func() (err error) {
		o, err = s.Store.Get(ctx, ref, opts)
		return err
	})
	return o, err
}

// List implements storage.Store.
func (s *Hooked) List(ctx context.Context, prefix storage.Ref, startAfter string) iter.Seq2[storage.Info, error] {
	return func(yield func(storage.Info, error) bool) {
		var found iter.Seq2[storage.Info, error]
		if err := s.pass(ctx, "list", prefix, func() error {
			found = s.Store.List(ctx, prefix, startAfter)
			return nil
		}); err != nil {
			yield(storage.Info{}, err)
			return
		}
		found(yield)
	}
}

// Put implements storage.Store.
func (s *Hooked) Put(ctx context.Context, ref storage.Ref, body []byte, opts storage.PutOptions) (info storage.Info, err error) {
	err = s.pass(ctx, "put", ref, func() (err error) {
		info, err = s.Store.Put(ctx, ref, body, opts)
		return err
	})
	return info, err
}

// Delete implements storage.Store.
func (s *Hooked) Delete(ctx context.Context, ref storage.Ref, opts storage.DeleteOptions) error {
	return s.pass(ctx, "delete", ref, func() error { return s.Store.Delete(ctx, ref, opts) })
}

// Upload implements storage.Store.
func (s *Hooked) Upload(ctx context.Context, ref storage.Ref, opts storage.PutOptions) (u storage.Upload, err error) {
	err = s.pass(ctx, "upload", ref, func() (err error) {
		u, err = s.Store.Upload(ctx, ref, opts)
		return err
	})
	return &hookedUpload{u, s, ref}, err
}

// hookedUpload passes an upload's calls through its store's hook.
type hookedUpload struct {
	storage.Upload
	store *Hooked
	ref   storage.Ref
}

func (u *hookedUpload) PutPart(ctx context.Context, number int, part []byte) error {
	return u.store.pass(ctx, "part", u.ref, func() error { return u.Upload.PutPart(ctx, number, part) })
}

func (u *hookedUpload) CopyPart(ctx context.Context, number int, from storage.Info, offset, length int64) error {
	return u.store.pass(ctx, "copy", u.ref, func() error { return u.Upload.CopyPart(ctx, number, from, offset, length) })
}

func (u *hookedUpload) Complete(ctx context.Context) (info storage.Info, err error) {
	err = u.store.pass(ctx, "complete", u.ref, func() (err error) {
		info, err = u.Upload.Complete(ctx)
		return err
	})
	return info, err
}

func (u *hookedUpload) Abort(ctx context.Context) error {
	return u.store.pass(ctx, "abort", u.ref, func() error { return u.Upload.Abort(ctx) })
}
