package request

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/penstock/penstock/storage"
)

// Locations say where inputs may be read and where everything else is
// written. All programs of one installation have the same: a change of
// Inputs from one to several, or back, changes the keys of results.
//
// Each is a whole bucket (an empty key) or a folder (a key that ends in "/").
type Locations struct {
	Inputs  []storage.Ref
	Output  storage.Ref
	Failure storage.Ref
	State   storage.Ref
}

// stateFolder is a folder that is never an input, wherever it lies: Penstock
// keeps its own objects there. So it may lie inside another location.
const stateFolder = ".penstock/"

// inStateFolder says whether a key lies below a ".penstock/" folder.
func inStateFolder(key string) bool { return strings.Contains("/"+key, "/"+stateFolder) }

// maxLocationBytes bounds a location's key, so that half of what S3 takes is
// left for the names below it.
const maxLocationBytes = storage.MaxKeyBytes / 2

// ParseLocations reads the four settings. input may hold several locations
// with commas between them; an empty state is ".penstock/" in the output's
// bucket. A folder's last slash may be left out. All faults are reported at
// once, joined.
func ParseLocations(input, output, failure, state string) (Locations, error) {
	var l Locations
	var errs []error
	parse := func(setting, uri string) storage.Ref {
		ref, err := parseLocation(uri)
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", setting, err))
			return storage.Ref{}
		}
		return ref
	}
	for uri := range strings.SplitSeq(input, ",") {
		if strings.TrimSpace(uri) != "" {
			l.Inputs = append(l.Inputs, parse("input", uri))
		}
	}
	if len(l.Inputs) == 0 {
		errs = append(errs, fmt.Errorf("input: %w", errNoLocation))
	}
	l.Output = parse("output", output)
	l.Failure = parse("failure", failure)
	if strings.TrimSpace(state) != "" {
		l.State = parse("state", state)
	} else if l.Output.Bucket != "" {
		l.State = storage.Ref{Bucket: l.Output.Bucket, Key: stateFolder}
	}
	errs = append(errs, l.overlaps()...)
	return l, errors.Join(errs...)
}

var errNoLocation = errors.New("no location is given; set s3://bucket/prefix/")

func parseLocation(uri string) (storage.Ref, error) {
	uri = strings.TrimSpace(uri)
	if uri == "" {
		return storage.Ref{}, errNoLocation
	}
	ref, err := storage.ParseRef(uri)
	if err != nil {
		return storage.Ref{}, err
	}
	if ref.Key != "" && !strings.HasSuffix(ref.Key, "/") {
		ref.Key += "/" // a folder: "in" must not match "input2/x"
	}
	return ref, checkLocation(ref)
}

func checkLocation(ref storage.Ref) error {
	switch err := ref.Validate(); {
	case ref == storage.Ref{}:
		return errNoLocation
	case err != nil:
		return err
	case ref.Version != "":
		return fmt.Errorf("%s names a version of an object, not a folder", ref)
	case ref.Key != "" && !strings.HasSuffix(ref.Key, "/"):
		return fmt.Errorf("%s is not a folder: its key must end in a slash", ref)
	case slices.Contains(strings.Split(ref.Key, "/"), ".."):
		return fmt.Errorf("%s has a \"..\" in its path, which servers read in different ways", ref)
	case len(ref.Key) > maxLocationBytes:
		return fmt.Errorf("%s has a key of %d bytes; at most %d leave room for the names below it", ref, len(ref.Key), maxLocationBytes)
	}
	return nil
}

// Validate reports all faults of the locations, joined: one that is missing
// or no folder, and those that lie in one another. A result written below a
// watched input would be taken for a new input, and results that share a
// folder with failures or state could take each other's keys. State may lie
// in another location when its path there has a ".penstock/" folder.
func (l Locations) Validate() error {
	var errs []error
	if len(l.Inputs) == 0 {
		errs = append(errs, fmt.Errorf("input: %w", errNoLocation))
	}
	for _, p := range l.places() {
		if err := checkLocation(p.ref); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", p.setting, err))
		}
	}
	return errors.Join(append(errs, l.overlaps()...)...)
}

// place is a location with the name of its setting.
type place struct {
	setting string
	ref     storage.Ref
}

func (l Locations) places() []place {
	all := []place{{"output", l.Output}, {"failure", l.Failure}, {"state", l.State}}
	for _, in := range l.Inputs {
		all = append(all, place{"input", in})
	}
	return all
}

// overlaps finds the locations that can't stand beside each other.
func (l Locations) overlaps() []error {
	var errs []error
	// Without those that are missing, which is a fault of its own.
	places := slices.DeleteFunc(l.places(), func(p place) bool { return p.ref.Bucket == "" })
	for i, a := range places {
		for _, b := range places[i+1:] {
			outer, inner := a, b
			if b.ref.Contains(a.ref) {
				outer, inner = b, a
			} else if !a.ref.Contains(b.ref) {
				continue
			}
			switch {
			case a.setting == "input" && b.setting == "input":
				errs = append(errs, fmt.Errorf("input: %s and %s overlap; name the outer one alone", a.ref, b.ref))
			case inner.setting == "state" && inStateFolder(inner.ref.Key[len(outer.ref.Key):]):
			default:
				errs = append(errs, fmt.Errorf("%s: %s lies in %s %s; give each a folder of its own",
					inner.setting, inner.ref, outer.setting, outer.ref))
			}
		}
	}
	for _, in := range l.Inputs {
		if len(l.Inputs) > 1 && (in.Bucket+"/" == requestsFolder || in.Bucket+"/" == jobsFolder) {
			errs = append(errs, fmt.Errorf("input: a bucket named %q can't be one of several: a folder of that name holds the results of requests with an ID, or of jobs", in.Bucket))
		}
	}
	return errs
}

// Allowed says whether the object lies in one of the input locations, or where
// the front door keeps inputs in the state location: inline bodies, which are
// records, and what callers upload by a URL that they were given. All else in
// the state location is not for models, even inside an input location.
func (l Locations) Allowed(input storage.Ref) bool {
	if l.State.Contains(input) {
		rel := input.Key[len(l.State.Key):]
		return strings.HasPrefix(rel, recordsFolder) || strings.HasPrefix(rel, uploadsFolder)
	}
	return !inStateFolder(input.Key) && slices.ContainsFunc(l.Inputs, func(in storage.Ref) bool { return in.Contains(input) })
}
