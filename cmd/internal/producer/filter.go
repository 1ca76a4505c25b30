package producer

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"mime"
	"slices"
	"strings"

	"github.com/penstock/penstock/queue/request"
	"github.com/penstock/penstock/storage"
)

// Filter says which objects are inputs, of those that an event or a prefix
// tells of. Objects that are named by hand, in a list or a manifest, are not
// asked. The zero value takes all.
type Filter struct {
	Prefixes []string // a key begins with one of them
	Suffixes []string // and ends with one of them
	MinSize  int64    // bytes; an empty object passes only at 0
	MaxSize  int64    // 0 is no limit

	// ContentTypes are such as "image/png" or "image/*". They cost a HEAD an
	// object: events don't tell the type.
	ContentTypes []string
}

// reason is why an object is dropped; empty, it is not.
type reason string

// pass looks at one object.
func (f Filter) pass(ctx context.Context, store storage.Reader, r request.Request) (reason, error) {
	begins := func(p string) bool { return strings.HasPrefix(r.Input.Key, p) }
	ends := func(s string) bool { return strings.HasSuffix(r.Input.Key, s) }
	switch {
	case len(f.Prefixes) > 0 && !slices.ContainsFunc(f.Prefixes, begins):
		return "its key begins with none of the filter's prefixes", nil
	case len(f.Suffixes) > 0 && !slices.ContainsFunc(f.Suffixes, ends):
		return "its key ends with none of the filter's suffixes", nil
	}
	if !f.looks(r) {
		return f.ofSize(r.Size), nil
	}
	info, err := store.Head(ctx, r.Input)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return "it is gone", nil
	case err != nil:
		return "", fmt.Errorf("look at %s for the filter: %w", r.Input, err)
	case request.OwnResult(r.Input, info.Metadata):
		return "it is a result of Penstock's own", nil
	}
	if why := f.ofSize(info.Size); why != "" {
		return why, nil
	}
	return f.ofType(info.ContentType), nil
}

// looks says whether the event does not tell enough: never of the type, and not
// always of the size.
func (f Filter) looks(r request.Request) bool {
	return len(f.ContentTypes) > 0 || r.Size == 0 && (f.MinSize > 0 || f.MaxSize > 0)
}

func (f Filter) ofSize(size int64) reason {
	switch {
	case size < f.MinSize:
		return reason(fmt.Sprintf("it has %d bytes, and the filter takes %d at least", size, f.MinSize))
	case f.MaxSize > 0 && size > f.MaxSize:
		return reason(fmt.Sprintf("it has %d bytes, and the filter takes %d at most", size, f.MaxSize))
	}
	return ""
}

func (f Filter) ofType(contentType string) reason {
	if len(f.ContentTypes) == 0 {
		return ""
	}
	is, _, err := mime.ParseMediaType(contentType)
	if err != nil {
		is = strings.ToLower(strings.TrimSpace(contentType)) // parameters that can't be read matter to nobody here
	}
	family, _, _ := strings.Cut(is, "/")
	for _, want := range f.ContentTypes {
		if want == is || want == family+"/*" || want == "*/*" {
			return ""
		}
	}
	return reason(fmt.Sprintf("its content type is %.80q, which the filter does not take", contentType))
}
