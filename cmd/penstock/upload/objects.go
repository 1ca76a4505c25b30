package upload

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"path"
	"slices"
	"strings"

	"github.com/penstock/penstock/queue/request"
	"github.com/penstock/penstock/storage"
)

// objects gives the object that a URI names, or those below the folder that it
// names.
func (p *Plan) objects(ctx context.Context, uri string) iter.Seq[Item] {
	i := Item{Name: uri, Named: true}
	ref, err := storage.ParseRef(uri)
	if i.Fault = err; err != nil {
		return one(i)
	}
	if ref.Key == "" || strings.HasSuffix(ref.Key, "/") {
		return p.objectsBelow(ctx, uri, ref)
	}
	info, err := p.Store.Head(ctx, ref)
	switch {
	case errors.Is(err, fs.ErrNotExist) && p.isFolder(ctx, ref):
		i.Fault = fmt.Errorf("there is no such object, but there are some below it; write %s/", uri)
	case errors.Is(err, fs.ErrNotExist):
		i.Fault = errors.New("there is no such object")
	case err != nil:
		i.Fault = err
	default:
		i.Path = path.Base(ref.Key)
		i = p.object(i, info)
	}
	return one(i)
}

func (p *Plan) isFolder(ctx context.Context, ref storage.Ref) bool {
	ref.Key += "/"
	for _, err := range p.Store.List(ctx, ref, "") {
		return err == nil
	}
	return false
}

func (p *Plan) objectsBelow(ctx context.Context, uri string, folder storage.Ref) iter.Seq[Item] {
	return func(yield func(Item) bool) {
		count := 0
		base := path.Base("/" + folder.Key)
		for info, err := range p.Store.List(ctx, folder, "") {
			if err != nil {
				yield(Item{Name: uri, Named: true, Fault: err})
				return
			}
			rel := info.Ref.Key[len(folder.Key):]
			if _, ok, _ := request.Uploaded(info); !ok || !p.Chooser.Wants(rel) {
				continue // a folder's marker, or Penstock's own
			}
			count++
			i := Item{Name: info.Ref.String(), Path: strings.TrimPrefix(path.Join(base, rel), "/")}
			if !yield(p.object(i, info)) {
				return
			}
		}
		if count == 0 {
			yield(Item{Name: uri, Named: true, Fault: errors.New("there is no object below it that is wanted")})
		}
	}
}

// object makes an item of an object.
func (p *Plan) object(i Item, info storage.Info) Item {
	info.Ref.Version = "" // the current one
	i.from, i.Size = info, info.Size
	if info.Size == 0 {
		i.Fault = errEmpty
		return i
	}
	at := slices.IndexFunc(p.Locations.Inputs, func(in storage.Ref) bool { return in.Contains(info.Ref) })
	if at < 0 {
		return i
	}
	i.Ref = info.Ref
	i.Path = info.Ref.Key[len(p.Locations.Inputs[at].Key):]
	i.Fault = checkKey(i.Ref, p.Locations)
	switch {
	case p.Key != "" || p.Prefix != "":
		i.Fault = errors.New("it lies in an input location already, so -key and -prefix have no say in it")
		i.Named = true
	case p.Chosen:
		i.Fault = errors.New("it lies in an input location already, where its own metadata chooses what is run; copy it to another key to choose anew")
		i.Named = true
	}
	return i
}
