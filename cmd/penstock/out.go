package main

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"os"
	"path"
	"slices"
	"strings"

	"github.com/penstock/penstock/cmd/internal/outcome"
	"github.com/penstock/penstock/queue/request"
	"github.com/penstock/penstock/storage"
)

// folder is where -out puts results: each below the path of its input, with an
// extension more, so that no two meet, and none is a folder of another. What is
// written is there whole or not at all.
type folder struct{ root *os.Root }

func openFolder(dir string) (*folder, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	root, err := os.OpenRoot(dir)
	return &folder{root}, err
}

// extensions of results, by their content type. Each has one dot, so that two
// inputs never have results of one name.
var extensions = map[string]string{
	"application/json":      ".json",
	"application/jsonlines": ".jsonl",
	"application/x-ndjson":  ".jsonl",
	"application/x-npy":     ".npy",
	"application/x-npz":     ".npz",
	"text/csv":              ".csv",
	"text/plain":            ".txt",
}

const (
	unknownExtension = ".out"
	failureExtension = ".error" // JSON, too
)

// extension is that of a terminal object.
func extension(o outcome.Outcome) string {
	if o.Failed {
		return failureExtension
	}
	media, _, _ := mime.ParseMediaType(o.ContentType)
	if e, ok := extensions[media]; ok {
		return e
	}
	return unknownExtension
}

// allExtensions are those that a result can have.
func allExtensions() []string {
	all := []string{unknownExtension, failureExtension}
	for _, e := range extensions {
		all = append(all, e)
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// place is the path of the result of an input's, without its extension.
func place(input string) string {
	parts := strings.Split(input, "/")
	last := len(parts) - 1
	for i, part := range parts {
		// A key can have names that a file system doesn't take as such.
		if strings.Trim(part, ".~") == "" {
			part = "~" + part
		}
		if bare := strings.TrimRight(part, "~"); i < last && slices.Contains(allExtensions(), path.Ext(bare)) {
			part += "~" // a result could have this name
		}
		parts[i] = part
	}
	return strings.Join(parts, "/")
}

// write puts a terminal object into the folder and returns its path. A result
// takes the place of an earlier failure, but a failure stands beside an earlier
// result.
func (f *folder) write(ctx context.Context, store storage.Reader, input string, o outcome.Outcome) (string, error) {
	at := place(input)
	name := at + extension(o)
	if err := f.root.MkdirAll(path.Dir(name), 0o755); err != nil {
		return "", fmt.Errorf("write the result: %w", err)
	}
	temporary := path.Join(path.Dir(name), ".penstock-"+rand.Text())
	file, err := f.root.OpenFile(temporary, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return "", fmt.Errorf("write the result: %w", err)
	}
	err = errors.Join(download(ctx, store, o, file), file.Close())
	if err == nil {
		err = f.root.Rename(temporary, name)
	}
	if err != nil {
		return "", errors.Join(fmt.Errorf("write the result to %s: %w", name, err), f.root.Remove(temporary))
	}
	if !o.Failed {
		f.removeFailure(at + failureExtension)
	}
	return name, nil
}

// removeFailure removes the failure that an earlier run has left, if it is one:
// the folder may hold the person's own files.
func (f *folder) removeFailure(name string) {
	body, err := f.root.ReadFile(name)
	var failure request.Failure
	if err == nil && json.Unmarshal(body, &failure) == nil && failure.Error.Code != "" {
		_ = f.root.Remove(name) // at worst both are there, and the result is newer
	}
}

func (f *folder) close() { _ = f.root.Close() } // it holds a directory open, no more

// downloadTries is how often a download is taken up again that broke off.
const downloadTries = 4

// download copies a terminal object, as it was when it was found, and goes on
// where a connection broke.
func download(ctx context.Context, store storage.Reader, o outcome.Outcome, w io.Writer) error {
	var at int64
	for try := 1; ; try++ {
		body, err := streamFrom(ctx, store, o, at)
		if err != nil {
			return err
		}
		n, err := io.Copy(writeFault{w}, body)
		body.Close()
		at += n
		_, ours := errors.AsType[*writeError](err)
		if err == nil || ours || ctx.Err() != nil || try == downloadTries {
			return err
		}
	}
}

// writeFault marks the errors of a writer, which no new download cures.
type writeFault struct{ io.Writer }

type writeError struct{ error }

func (e *writeError) Unwrap() error { return e.error }

func (w writeFault) Write(b []byte) (int, error) {
	n, err := w.Writer.Write(b)
	if err != nil {
		err = &writeError{err}
	}
	return n, err
}
