package upload

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sync/semaphore"

	"github.com/penstock/penstock/queue/request"
	"github.com/penstock/penstock/storage"
)

// Sizes of uploads.
const (
	// partBytes is how much of a file is in one part, at least. Smaller files
	// go in one piece.
	partBytes = 8 << 20
	// bufferBytes bounds what all uploads of a sender hold in memory.
	bufferBytes = 128 << 20
	// partsAtOnce is how many parts of one file are under way.
	partsAtOnce = 4
	// copyBytes is how much of an object is copied in one part. S3 copies at
	// most 5 GiB in one.
	copyBytes = 1 << 30
	// abortLimit bounds the end of an upload that is given up.
	abortLimit = 10 * time.Second
)

// Sender brings items to their keys, in bounded memory. Its methods may be
// called concurrently. Make one with NewSender.
type Sender struct {
	store    storage.Store
	metadata map[string]string
	buffers  *semaphore.Weighted
	progress func(bytes int64)
}

// NewSender makes a Sender that gives objects this metadata. progress, which
// may be nil, is told of bytes that have been sent.
func NewSender(store storage.Store, metadata map[string]string, progress func(bytes int64)) *Sender {
	if progress == nil {
		progress = func(int64) {}
	}
	return &Sender{store: store, metadata: metadata, progress: progress, buffers: semaphore.NewWeighted(bufferBytes)}
}

// Send brings an item to its key. What it returns tells the version of the
// object as it is there now, which outcomes are looked up by. An item that is in
// its place already is only looked at.
func (s *Sender) Send(ctx context.Context, i Item) (storage.Info, error) {
	if i.InPlace() {
		info, err := s.store.Head(ctx, i.Ref)
		if err != nil {
			return storage.Info{}, fmt.Errorf("look at it: %w", err)
		}
		return info, nil
	}
	var info storage.Info
	var err error
	if i.open == nil {
		info, err = s.copy(ctx, i)
	} else {
		info, err = s.sendFile(ctx, i)
	}
	if err != nil {
		return storage.Info{}, err
	}
	// The time of the upload is a part of the identity, and only reading tells it.
	now, err := s.store.Head(ctx, info.Ref)
	switch {
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		return storage.Info{}, fmt.Errorf("look at the upload: %w", err)
	case err == nil && request.SameVersion(now, info):
		return now, nil
	}
	return info, nil // another upload has taken its place already
}

// Current says whether the file of an item need not be uploaded again: its
// object is there, of the same size and not older than the file.
func (s *Sender) Current(ctx context.Context, i Item) (storage.Info, bool) {
	if i.file.IsZero() {
		return storage.Info{}, false
	}
	info, err := s.store.Head(ctx, i.Ref)
	return info, err == nil && info.Size == i.Size && !info.Modified.Before(i.file.Truncate(time.Second))
}

func (s *Sender) options(key string) storage.PutOptions {
	return storage.PutOptions{ContentType: contentType(key), Metadata: s.metadata}
}

// sendFile uploads what is local: small files at once, others in parts.
func (s *Sender) sendFile(ctx context.Context, i Item) (storage.Info, error) {
	f, err := i.open()
	if err != nil {
		return storage.Info{}, fmt.Errorf("read: %w", reason(err))
	}
	defer f.Close()
	// A byte more than the file has shows whether it has grown.
	size := int64(partBytes)
	if i.Size >= 0 {
		size = min(i.Size+1, partBytes)
	}
	if err := s.buffers.Acquire(ctx, size); err != nil {
		return storage.Info{}, context.Cause(ctx)
	}
	free := sync.OnceFunc(func() { s.buffers.Release(size) })
	defer free()
	buffer := make([]byte, size)
	n, err := io.ReadFull(f, buffer)
	switch {
	case errors.Is(err, io.EOF):
		return storage.Info{}, errEmpty
	case errors.Is(err, io.ErrUnexpectedEOF):
	case err != nil:
		return storage.Info{}, fmt.Errorf("read: %w", reason(err))
	default: // there may be more
		free()
		return s.sendParts(ctx, i, io.MultiReader(bytes.NewReader(buffer), f))
	}
	if err := i.changed(int64(n)); err != nil {
		return storage.Info{}, err
	}
	info, err := s.store.Put(ctx, i.Ref, buffer[:n], s.options(i.Ref.Key))
	if err != nil {
		return storage.Info{}, fmt.Errorf("upload: %w", err)
	}
	s.progress(int64(n))
	return info, nil
}

// sendParts uploads r in parts, some of them at a time.
func (s *Sender) sendParts(ctx context.Context, i Item, r io.Reader) (info storage.Info, err error) {
	up, err := s.store.Upload(ctx, i.Ref, s.options(i.Ref.Key))
	if err != nil {
		return info, fmt.Errorf("upload: %w", err)
	}
	defer func() { err = abortAfter(ctx, up, err) }()
	parts, groupCtx := errgroup.WithContext(ctx)
	parts.SetLimit(partsAtOnce)
	var read int64
	var readErr error
	for number := 1; readErr == nil; number++ {
		size := partSize(i.Size, number)
		if number > storage.MaxParts {
			readErr = fmt.Errorf("it is too large: %d parts were not enough", storage.MaxParts)
			break
		}
		weight := min(size, bufferBytes)
		if s.buffers.Acquire(groupCtx, weight) != nil {
			break // a part has failed, or the person has had enough
		}
		part := make([]byte, size)
		n, err := io.ReadFull(r, part)
		read += int64(n)
		if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
			readErr = fmt.Errorf("read: %w", reason(err))
		}
		if n == 0 || readErr != nil {
			s.buffers.Release(weight)
			break
		}
		parts.Go(func() error {
			defer s.buffers.Release(weight)
			if err := up.PutPart(groupCtx, number, part[:n]); err != nil {
				return err
			}
			s.progress(int64(n))
			return nil
		})
		if err != nil {
			break
		}
	}
	err = parts.Wait()
	switch {
	case ctx.Err() != nil:
		return info, context.Cause(ctx)
	case readErr != nil:
		return info, readErr
	case err != nil:
		return info, fmt.Errorf("upload: %w", err)
	}
	if err := i.changed(read); err != nil {
		return info, err
	}
	return s.complete(ctx, up, i.Ref, read)
}

// complete ends an upload in parts. That of one which is gone may have been
// this very call's, when its reply was lost.
func (s *Sender) complete(ctx context.Context, up storage.Upload, ref storage.Ref, size int64) (storage.Info, error) {
	info, err := up.Complete(ctx)
	if errors.Is(err, fs.ErrNotExist) {
		if now, headErr := s.store.Head(ctx, ref); headErr == nil && now.Size == size {
			return now, nil
		}
	}
	if err != nil {
		return storage.Info{}, fmt.Errorf("upload: %w", err)
	}
	return info, nil
}

// abortAfter frees the parts of an upload that went wrong.
func abortAfter(ctx context.Context, up storage.Upload, err error) error {
	if err == nil {
		return nil
	}
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), abortLimit)
	defer cancel()
	if aborted := up.Abort(last); aborted != nil {
		return fmt.Errorf("%w (and its parts are left behind, which cost money until a rule of the bucket ends them: %w)", err, aborted)
	}
	return err
}

// partSize is the size of a part: such that a file of that size fits into the
// parts that there may be, and where the size is not known, doubled with every
// thousand parts.
func partSize(total int64, number int) int64 {
	if total < 0 {
		return partBytes << min((number-1)/1000, 6)
	}
	size := int64(partBytes)
	for size*storage.MaxParts < total+total/100 { // it may grow meanwhile
		size *= 2
	}
	return size
}

// copy makes an object elsewhere an input: one that is small passes through
// this process, which takes two calls; a larger one is copied by S3 itself.
func (s *Sender) copy(ctx context.Context, i Item) (storage.Info, error) {
	from, err := s.store.Head(ctx, i.from.Ref) // a list doesn't tell its type
	if err != nil {
		return storage.Info{}, fmt.Errorf("copy: %w", err)
	}
	opts := s.options(i.Ref.Key)
	if from.ContentType != "" {
		opts.ContentType = from.ContentType
	}
	opts.ContentEncoding = from.ContentEncoding
	if from.Size < partBytes {
		return s.copySmall(ctx, i, from, opts)
	}
	up, err := s.store.Upload(ctx, i.Ref, opts)
	if err != nil {
		return storage.Info{}, fmt.Errorf("copy: %w", err)
	}
	info, err := s.copyParts(ctx, up, i, from)
	return info, abortAfter(ctx, up, err)
}

func (s *Sender) copyParts(ctx context.Context, up storage.Upload, i Item, from storage.Info) (storage.Info, error) {
	for number, offset := 1, int64(0); offset < from.Size; number++ {
		length := min(copyBytes, from.Size-offset)
		if err := up.CopyPart(ctx, number, from, offset, length); err != nil {
			return storage.Info{}, fmt.Errorf("copy: %w", err)
		}
		s.progress(length)
		offset += length
	}
	return s.complete(ctx, up, i.Ref, from.Size)
}

func (s *Sender) copySmall(ctx context.Context, i Item, from storage.Info, opts storage.PutOptions) (storage.Info, error) {
	if err := s.buffers.Acquire(ctx, partBytes); err != nil {
		return storage.Info{}, context.Cause(ctx)
	}
	defer s.buffers.Release(partBytes)
	object, err := s.store.Get(ctx, from.Ref, storage.GetOptions{IfMatch: from.ETag})
	if err != nil {
		return storage.Info{}, fmt.Errorf("copy: %w", err)
	}
	defer object.Body.Close()
	body, err := io.ReadAll(object.Body)
	if err != nil {
		return storage.Info{}, fmt.Errorf("copy: read %s: %w", from.Ref, err)
	}
	info, err := s.store.Put(ctx, i.Ref, body, opts)
	if err != nil {
		return storage.Info{}, fmt.Errorf("copy: %w", err)
	}
	s.progress(int64(len(body)))
	return info, nil
}

// contentTypes are those that workers know, by extension.
var contentTypes = map[string]string{
	".json": "application/json",
	".npy":  "application/x-npy",
	".png":  "image/png",
	".jpg":  "image/jpeg",
	".jpeg": "image/jpeg",
}

// contentType is what a key's extension says. For any other, the worker looks
// at the bytes: a name such as "data.txt" is no reason to refuse JSON.
func contentType(key string) string {
	if t, ok := contentTypes[strings.ToLower(path.Ext(key))]; ok {
		return t
	}
	return "application/octet-stream"
}
