package upload

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/penstock/penstock/queue/request"
	"github.com/penstock/penstock/storage"
	"github.com/penstock/penstock/storage/mem"
)

var ref = storage.Ref{Bucket: "uploads", Key: "in/x.json"}

func fileItem(t *testing.T, size int64) Item {
	t.Helper()
	path := filepath.Join(t.TempDir(), "x.json")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(path, size); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	i := readable(Item{Name: "x.json", Ref: ref}, path, info)
	return i
}

// noise is bytes that are the same at every call.
func noise(n int) []byte {
	b := make([]byte, n)
	r := rand.New(rand.NewPCG(1, 2))
	for i := 0; i+8 <= n; i += 8 {
		v := r.Uint64()
		for j := range 8 {
			b[i+j] = byte(v >> (8 * j))
		}
	}
	return b
}

func TestFilesOfAllSizesArriveAsTheyAre(t *testing.T) {
	t.Parallel()
	for _, size := range []int{1, partBytes - 1, partBytes, partBytes + 1, 3*partBytes + 17} {
		for _, known := range []bool{true, false} {
			store := mem.New("uploads")
			var sent atomic.Int64
			body := noise(size)
			i := Bytes(ref, body)
			if !known {
				i.Size = -1
			}
			info, err := NewSender(store, map[string]string{request.UploadModel: "digits"}, func(n int64) { sent.Add(n) }).Send(t.Context(), i)
			if err != nil {
				t.Fatal(err)
			}
			object, err := store.Get(t.Context(), ref, storage.GetOptions{IfMatch: info.ETag})
			if err != nil {
				t.Fatal(err)
			}
			got, err := io.ReadAll(object.Body)
			if err != nil || sha256.Sum256(got) != sha256.Sum256(body) || object.ContentType != "application/json" || object.Metadata[request.UploadModel] != "digits" {
				t.Errorf("%d bytes arrived as %d bytes with %+v, %v", size, len(got), object.Info, err)
			}
			if sent.Load() != int64(size) || info.Modified.IsZero() {
				t.Errorf("of %d bytes %d were told of; the upload's time is %v", size, sent.Load(), info.Modified)
			}
		}
	}
}

// sink is a store that keeps nothing, and measures what it is given at a time.
type sink struct {
	storage.Store
	mu         sync.Mutex
	held, most int64
	total      atomic.Int64
	fail       error
	aborted    atomic.Bool
}

func (s *sink) hold(n int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.held += n
	s.most = max(s.most, s.held)
}

func (s *sink) Upload(context.Context, storage.Ref, storage.PutOptions) (storage.Upload, error) {
	return (*sinkUpload)(s), nil
}

func (s *sink) Head(context.Context, storage.Ref) (storage.Info, error) {
	return storage.Info{Ref: ref, ETag: "e", Size: s.total.Load()}, nil
}

type sinkUpload sink

func (u *sinkUpload) PutPart(_ context.Context, number int, part []byte) error {
	s := (*sink)(u)
	s.hold(int64(len(part)))
	time.Sleep(time.Millisecond)
	s.hold(-int64(len(part)))
	s.total.Add(int64(len(part)))
	if number == 3 && s.fail != nil {
		return s.fail
	}
	return nil
}

func (u *sinkUpload) CopyPart(context.Context, int, storage.Info, int64, int64) error { return nil }
func (u *sinkUpload) Complete(context.Context) (storage.Info, error) {
	if u.fail != nil {
		return storage.Info{}, u.fail
	}
	return storage.Info{Ref: ref, ETag: "e"}, nil
}

func (u *sinkUpload) Abort(ctx context.Context) error {
	u.aborted.Store(true)
	return ctx.Err()
}

func TestManyLargeFilesTakeBoundedMemory(t *testing.T) {
	t.Parallel()
	s := &sink{}
	sender := NewSender(s, nil, nil)
	const files, size = 12, 64 << 20 // of holes
	var wg sync.WaitGroup
	for range files {
		i := fileItem(t, size)
		wg.Go(func() {
			if _, err := sender.Send(t.Context(), i); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if s.total.Load() != files*size {
		t.Errorf("%d bytes arrived, want %d", s.total.Load(), int64(files*size))
	}
	if s.most > bufferBytes {
		t.Errorf("%d bytes were in memory at a time, want at most %d", s.most, bufferBytes)
	}
}

func TestAnUploadThatFailsFreesItsParts(t *testing.T) {
	t.Parallel()
	errCut := errors.New("the line was cut")
	s := &sink{fail: errCut}
	if _, err := NewSender(s, nil, nil).Send(t.Context(), fileItem(t, 100<<20)); !errors.Is(err, errCut) || !s.aborted.Load() {
		t.Errorf("the error is %v, aborted: %v", err, s.aborted.Load())
	}
	enough := errors.New("enough")
	ctx, cancel := context.WithCancelCause(t.Context())
	s = &sink{}
	sender := NewSender(s, nil, func(int64) { cancel(enough) })
	if _, err := sender.Send(ctx, fileItem(t, 1<<30)); !errors.Is(err, enough) || !s.aborted.Load() {
		t.Errorf("interrupted, the error is %v, aborted: %v", err, s.aborted.Load())
	}
}

func TestACompletionWhoseReplyWasLostIsFound(t *testing.T) {
	t.Parallel()
	s := &sink{fail: nil}
	lost := &lostReply{sink: s}
	if info, err := NewSender(lost, nil, nil).Send(t.Context(), fileItem(t, 20<<20)); err != nil || info.Size != 20<<20 {
		t.Errorf("it gave %+v, %v", info, err)
	}
}

// lostReply completes an upload, and then says that it is gone.
type lostReply struct{ *sink }

func (l *lostReply) Upload(ctx context.Context, r storage.Ref, o storage.PutOptions) (storage.Upload, error) {
	up, err := l.sink.Upload(ctx, r, o)
	return lostUpload{up}, err
}

type lostUpload struct{ storage.Upload }

func (lostUpload) Complete(context.Context) (storage.Info, error) {
	return storage.Info{}, fs.ErrNotExist
}

func TestAFileThatIsCutShortMeanwhileIsNotUploadedInPart(t *testing.T) {
	t.Parallel()
	for _, size := range []int64{100, 20 << 20} {
		store := mem.New("uploads")
		i := fileItem(t, size)
		i.Size += 10 // as it was when it was found
		if _, err := NewSender(store, nil, nil).Send(t.Context(), i); err == nil || !strings.Contains(err.Error(), "cut short") {
			t.Errorf("of %d bytes: %v", size, err)
		}
		if _, err := store.Head(t.Context(), ref); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("of %d bytes something arrived: %v", size, err)
		}
	}
}

func TestAnObjectOfAnySizeIsCopied(t *testing.T) {
	t.Parallel()
	store := mem.New("uploads", "other")
	for _, size := range []int{10, 2*partBytes + 5} {
		from := storage.Ref{Bucket: "other", Key: "a.bin"}
		body := noise(size)
		put, err := store.Put(t.Context(), from, body, storage.PutOptions{ContentType: "image/png", ContentEncoding: "gzip"})
		if err != nil {
			t.Fatal(err)
		}
		info, err := NewSender(store, map[string]string{request.UploadTTL: "60"}, nil).Send(t.Context(), Item{Ref: ref, from: put, Size: put.Size})
		if err != nil {
			t.Fatal(err)
		}
		object, err := store.Get(t.Context(), ref, storage.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		got, _ := io.ReadAll(object.Body)
		if !bytes.Equal(got, body) || info.ContentType != "image/png" || info.ContentEncoding != "gzip" || info.Metadata[request.UploadTTL] != "60" {
			t.Errorf("%d bytes were copied as %d with %+v", size, len(got), info)
		}
	}
}

func TestPartsAreLargeEnoughForAnyFile(t *testing.T) {
	t.Parallel()
	for _, total := range []int64{1, 1 << 30, 80 << 30, 5 << 40} {
		if size := partSize(total, 1); size*storage.MaxParts < total || size > storage.MaxPartBytes {
			t.Errorf("parts of %d bytes for %d", size, total)
		}
	}
	var sum int64
	for n := 1; n <= storage.MaxParts; n++ {
		sum += partSize(-1, n)
	}
	if sum < 1<<40 {
		t.Errorf("of unknown size only %d bytes can be sent", sum)
	}
}
