// Package upload finds what a person wants uploaded, files, folders and objects
// of S3, says which key each gets, and brings it there in bounded memory.
package upload

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"iter"
	"path"
	"strings"
	"unicode/utf8"

	"github.com/penstock/penstock/queue/request"
	"github.com/penstock/penstock/storage"
	"github.com/penstock/penstock/worker/job"
)

// Stdin is the argument that stands for standard input.
const Stdin = "-"

// Item is one input on its way.
type Item struct {
	Name  string      // what it is called in messages
	Path  string      // where its result lies below the folder of results: its own path, with slashes
	Ref   storage.Ref // where the input lies, or will
	Size  int64       // bytes; -1 when that is not known
	Named bool        // by the person, not found in a folder

	open func() (io.ReadCloser, error) // of what is local
	from storage.Info                  // what is copied, or in its place already; zero when local
	file fileTime
	// Fault is why it can't be submitted; the rest may be missing then.
	Fault error
}

// InPlace says that it is an object in an input location already: there is
// nothing to upload.
func (i Item) InPlace() bool {
	return i.from.Ref == storage.Ref{Bucket: i.Ref.Bucket, Key: i.Ref.Key}
}

// Bytes makes an item of what is in memory.
func Bytes(ref storage.Ref, body []byte) Item {
	return Item{
		Name: path.Base(ref.Key), Ref: ref, Size: int64(len(body)),
		open: func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(body)), nil },
	}
}

// Plan is what to upload.
type Plan struct {
	Args      []string    // files, folders, patterns of names, s3:// URIs, "-"
	Key       string      // below the input location, for a single file
	Prefix    string      // before each path
	Chooser   job.Chooser // of what is found in folders
	Chosen    bool        // flags choose what is run, which needs a new object
	Skip      string      // a folder, by its whole path, that is not looked into: that of results
	Dir       string      // that relative names are below
	Stdin     io.Reader
	Locations request.Locations
	Store     storage.Reader // needed for s3:// URIs
}

// Totals are what a plan comes to.
type Totals struct {
	Items  int   // that can be submitted
	Bytes  int64 // of them, as far as it is known
	Width  int   // of the longest name
	Faults int   // found in folders, that can't be submitted
}

// maxFaults bounds how many faults are told of at once.
const maxFaults = 20

// Check goes through the plan once, without uploading anything. The error is of
// what the person named and can't be submitted, all of it at once.
func (p *Plan) Check(ctx context.Context) (Totals, error) {
	var t Totals
	var errs []error
	if p.Key != "" && len(p.Args) > 1 {
		return t, fmt.Errorf("submit: -key names one object, but there are %d files; use -prefix", len(p.Args))
	}
	more := 0
	fault := func(err error) {
		if len(errs) == maxFaults {
			more++
			return
		}
		errs = append(errs, err)
	}
	for i := range p.Items(ctx) {
		switch {
		case i.Fault != nil && i.Named:
			fault(fmt.Errorf("%s: %w", i.Name, i.Fault))
		case i.Fault != nil:
			t.Faults++
		default:
			t.Items++
			t.Bytes += max(i.Size, 0)
			t.Width = max(t.Width, utf8.RuneCountInString(i.Name))
		}
	}
	if ctx.Err() != nil {
		return t, context.Cause(ctx)
	}
	if more > 0 {
		errs = append(errs, fmt.Errorf("and %d more", more))
	}
	return t, errors.Join(errs...)
}

// Items are what the plan uploads, in the order of its arguments, found as they
// are needed. Of two with one key the second has a fault.
func (p *Plan) Items(ctx context.Context) iter.Seq[Item] {
	return func(yield func(Item) bool) {
		taken := map[[12]byte]string{} // the first one's argument, by the hash of its key
		for n, arg := range p.Args {
			for i := range p.find(ctx, arg) {
				if ctx.Err() != nil {
					return
				}
				asked := i.Name
				if i.Fault == nil {
					i = p.place(i)
				}
				if i.Fault == nil {
					sum := sha256.Sum256([]byte(i.Ref.Bucket + "/" + i.Ref.Key))
					id := [12]byte(sum[:])
					if other, ok := taken[id]; ok {
						i.Name = asked
						i.Fault = fmt.Errorf("%s would be uploaded to the same key, %s; submit one of them with -key or -prefix", other, i.Ref.Key)
						i.Named = i.Named || n > 0
					} else {
						taken[id] = arg
					}
				}
				if !yield(i) {
					return
				}
			}
		}
	}
}

// find gives what an argument means.
func (p *Plan) find(ctx context.Context, arg string) iter.Seq[Item] {
	switch {
	case arg == Stdin:
		return one(p.standardInput())
	case strings.HasPrefix(arg, "s3://"):
		return p.objects(ctx, arg)
	}
	return p.files(arg)
}

func one(i Item) iter.Seq[Item] { return func(yield func(Item) bool) { yield(i) } }

func (p *Plan) standardInput() Item {
	i := Item{Name: Stdin, Named: true, Size: -1}
	if p.Key == "" {
		i.Fault = errors.New("standard input has no name; give one by -key")
		return i
	}
	i.open = func() (io.ReadCloser, error) { return io.NopCloser(p.Stdin), nil }
	return i
}

// place gives an item its key, unless it has one.
func (p *Plan) place(i Item) Item {
	if i.InPlace() && i.Ref.Bucket != "" {
		return i
	}
	in := p.Locations.Inputs[0]
	key := p.Prefix + i.Path
	if p.Key != "" && i.Named {
		key = p.Key
	} else if p.Key != "" {
		i.Fault = errors.New("-key names one object, and this is in a folder; use -prefix")
		i.Named = true
		return i
	}
	key = strings.TrimPrefix(key, "/")
	i.Path = key
	i.Ref = storage.Ref{Bucket: in.Bucket, Key: in.Key + key}
	i.Fault = checkKey(i.Ref, p.Locations)
	if i.Named && i.Fault == nil {
		i.Name = path.Base(i.Ref.Key)
	}
	return i
}

// checkKey reports what can't be an input's key.
func checkKey(ref storage.Ref, l request.Locations) error {
	if err := ref.Validate(); err != nil {
		return err
	}
	switch {
	case strings.HasSuffix(ref.Key, "/"):
		return fmt.Errorf("the key %q ends in a slash; it must name an object", ref.Key)
	case strings.Contains("/"+ref.Key, "/.penstock/"):
		return errors.New("objects below .penstock/ are Penstock's own, never inputs; choose another -key or -prefix")
	case l.Reserved(request.Request{Input: ref}):
		return errors.New("keys below requests/ and jobs/ are kept for requests with an id and for batch jobs; choose another -key or -prefix")
	}
	return nil
}
