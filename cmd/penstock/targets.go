package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/urfave/cli/v3"

	"github.com/penstock/penstock/cmd/internal/outcome"
	"github.com/penstock/penstock/cmd/internal/status"
	"github.com/penstock/penstock/queue/request"
	"github.com/penstock/penstock/storage"
)

// target is what an argument of wait, get, status and cancel means: an upload,
// by the URI of its input, or a request, by its id.
type target struct {
	name  string // as it was given
	input storage.Ref
	id    string
	path  string // of its result, for a folder of results
}

// isFolder says that the target means all inputs below it.
func (t target) isFolder() bool {
	return t.id == "" && (t.input.Key == "" || strings.HasSuffix(t.input.Key, "/"))
}

// parseTarget reads an argument.
func parseTarget(arg string, l request.Locations) (target, error) {
	if !strings.HasPrefix(arg, "s3://") {
		if arg == "" || len(arg) > request.MaxIDBytes || !utf8.ValidString(arg) || strings.ContainsFunc(arg, func(c rune) bool { return !unicode.IsPrint(c) }) {
			return target{}, fmt.Errorf("%.80q is neither the URI of an input (s3://bucket/key) nor the id of a request", arg)
		}
		return target{name: arg, id: arg, path: "requests/" + arg}, nil
	}
	ref, err := storage.ParseRef(arg)
	if err != nil {
		return target{}, err
	}
	var places []string
	for _, in := range l.Inputs {
		if in.Contains(ref) {
			return target{name: arg, input: ref, path: pathOf(ref.Key, in.Key)}, nil
		}
		places = append(places, in.String())
	}
	return target{}, fmt.Errorf("%s: it lies in no input location (%s); give the URI of what was uploaded", ref, strings.Join(places, ", "))
}

// parseTargets reads arguments, and reports what is wrong with all of them at
// once.
func parseTargets(args []string, l request.Locations) ([]target, error) {
	var errs []error
	var list []target
	for _, arg := range args {
		t, err := parseTarget(arg, l)
		if err != nil {
			errs = append(errs, err)
		}
		list = append(list, t)
	}
	if len(errs) > 0 {
		return nil, &exit{exitUsage, errors.Join(errs...)}
	}
	return list, nil
}

// finder finds what became of targets.
type finder struct {
	*program
	store     storage.Store
	now       func() time.Time
	locations request.Locations
	outcomes  outcome.Finder
	statuses  *status.Finder
}

// finder opens what a verb with targets needs, and checks that it has some.
func (p *program) finder(ctx context.Context, cmd *cli.Command) (*finder, error) {
	if cmd.NArg() == 0 {
		return nil, usage("%s: no URI or id is given; see penstock %[1]s -h", cmd.Name)
	}
	locations, err := p.locations(cmd)
	if err != nil {
		return nil, err
	}
	s, err := p.openServices(ctx)
	if err != nil {
		return nil, err
	}
	return p.newFinder(s, locations), nil
}

func (p *program) newFinder(s services, l request.Locations) *finder {
	return &finder{
		program: p, store: s.store, now: s.now, locations: l,
		outcomes: outcome.Finder{Store: s.store, Locations: l},
		statuses: &status.Finder{Store: s.store, Locations: l, Now: s.now},
	}
}

// expand gives targets, and in the place of folders what lies in them.
func (f *finder) expand(ctx context.Context, list []target) iter.Seq2[target, error] {
	return func(yield func(target, error) bool) {
		for _, t := range list {
			if !t.isFolder() {
				if !yield(t, nil) {
					return
				}
				continue
			}
			for t, err := range f.below(ctx, t) {
				if !yield(t, err) {
					return
				}
			}
		}
	}
}

// below gives the inputs below a folder.
func (f *finder) below(ctx context.Context, folder target) iter.Seq2[target, error] {
	return func(yield func(target, error) bool) {
		none := true
		for info, err := range f.store.List(ctx, folder.input, "") {
			if err != nil {
				yield(folder, err)
				return
			}
			if _, ok, _ := request.Uploaded(info); !ok {
				continue
			}
			none = false
			if !yield(parseTarget(info.Ref.String(), f.locations)) {
				return
			}
		}
		if none {
			yield(folder, &exit{exitUsage, errors.New("there is no input below it")})
		}
	}
}

// listed gives the targets that lines name.
func (f *finder) listed(lines *bufio.Scanner) iter.Seq2[target, error] {
	return func(yield func(target, error) bool) {
		for lines.Scan() {
			line := strings.TrimSpace(lines.Text())
			if line == "" {
				continue
			}
			t, err := parseTarget(line, f.locations)
			if err == nil && t.isFolder() {
				err = errors.New("it is a folder; give it as an argument")
			}
			if err != nil {
				t.name, err = cut(plain(line), 200), &exit{exitUsage, err}
			}
			if !yield(t, err) {
				return
			}
		}
		if err := lines.Err(); err != nil {
			yield(target{name: fromStdin}, fmt.Errorf("read standard input: %w", err))
		}
	}
}

// fromStdin is the argument that stands for standard input.
const fromStdin = "-"

// errNoInput says that there is nothing to have a result.
var errNoInput = errors.New("there is no such object, and no result of one")

// current is the version of the input that is there now, or the input in
// whatever version when it has been deleted: it may have a result all the same.
func (f *finder) current(ctx context.Context, ref storage.Ref) (storage.Info, error) {
	info, err := f.store.Head(ctx, ref)
	switch {
	case err == nil:
		return info, nil
	case !errors.Is(err, fs.ErrNotExist):
		return storage.Info{}, err
	}
	info = storage.Info{Ref: ref}
	if _, ok, err := f.outcomes.Find(ctx, info); ok || err != nil {
		return info, err
	}
	return storage.Info{}, &exit{exitUsage, errNoInput}
}

// terminal is the terminal object of a request that has ended.
func (f *finder) terminal(ctx context.Context, s status.Status) (outcome.Outcome, error) {
	at := s.Output
	if s.State != status.Succeeded {
		at = s.Failure
	}
	info, err := f.store.Head(ctx, at)
	if err != nil {
		return outcome.Outcome{}, fmt.Errorf("its terminal object was there, and is not any more: %w", err)
	}
	p, _ := request.ParseProvenance(info.Metadata)
	return outcome.Outcome{Info: info, Provenance: p, Failed: s.State != status.Succeeded}, nil
}

// unknownID makes an error of a status that says what to do about an id that
// nothing is known of.
func unknownID(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return &exit{exitUsage, errors.New("nothing is known of a request with this id: it was never accepted, or its objects have been deleted since; an upload is named by the s3:// URI of its input")}
	}
	return err
}

// onlyObjects reports targets that are folders, for verbs that take none.
func onlyObjects(verb string, list []target) error {
	if i := slices.IndexFunc(list, target.isFolder); i >= 0 {
		return usage("%s: %s names no object", verb, list[i].name)
	}
	return nil
}
