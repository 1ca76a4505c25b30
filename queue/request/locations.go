package request

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/penstock/penstock/storage"
)

// Locations say where inputs may be read and where everything else is
// written. All programs of one installation have the same.
type Locations struct {
	Inputs  []storage.Ref // each a bucket or a folder in one
	Output  storage.Ref   // a bucket or folder
	Failure storage.Ref   // a bucket or folder
	State   storage.Ref   // a bucket or folder
}

// ParseLocations reads the four settings. input may hold several locations
// with commas between them; an empty state is ".penstock/" in the output's
// bucket. All faults are reported at once, joined.
func ParseLocations(input, output, failure, state string) (Locations, error) {
	var l Locations
	var errs []error
	folder := func(setting, uri string) storage.Ref {
		ref, err := storage.ParseRef(strings.TrimSpace(uri))
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", setting, err))
			return storage.Ref{}
		}
		if ref.Key != "" && !strings.HasSuffix(ref.Key, "/") {
			ref.Key += "/" // a folder: "in" must not match "input2/x"
		}
		return ref
	}
	for uri := range strings.SplitSeq(input, ",") {
		if strings.TrimSpace(uri) != "" {
			l.Inputs = append(l.Inputs, folder("input", uri))
		}
	}
	if len(l.Inputs) == 0 {
		errs = append(errs, errors.New("input: no location is given; set s3://bucket/prefix/"))
	}
	l.Output = folder("output", output)
	l.Failure = folder("failure", failure)
	if strings.TrimSpace(state) != "" {
		l.State = folder("state", state)
	} else {
		l.State = storage.Ref{Bucket: l.Output.Bucket, Key: stateFolder}
	}
	if len(errs) == 0 {
		errs = append(errs, l.Validate())
	}
	return l, errors.Join(errs...)
}

// Validate refuses locations that lie in one another: a result written below
// a watched input would be taken for a new input, and results that share a
// folder with failures or state could take each other's keys. State may lie
// anywhere when its path has a ".penstock/" folder, which is never an input.
func (l Locations) Validate() error {
	type place struct {
		setting string
		ref     storage.Ref
	}
	places := []place{{"output", l.Output}, {"failure", l.Failure}, {"state", l.State}}
	for _, in := range l.Inputs {
		places = append(places, place{"input", in})
	}
	var errs []error
	for i, a := range places {
		for _, b := range places[i+1:] {
			outer, inner := a, b
			if b.ref.Contains(a.ref) {
				outer, inner = b, a
			} else if !a.ref.Contains(b.ref) {
				continue
			}
			if a.setting == "input" && b.setting == "input" {
				errs = append(errs, fmt.Errorf("input: %s and %s overlap; name the outer one alone", a.ref, b.ref))
				continue
			}
			if inner.setting == "state" && strings.HasPrefix("/"+strings.TrimPrefix(inner.ref.Key, outer.ref.Key), "/"+stateFolder) {
				continue
			}
			errs = append(errs, fmt.Errorf("%s: %s lies in %s %s; give each a folder of its own",
				inner.setting, inner.ref, outer.setting, outer.ref))
		}
	}
	return errors.Join(errs...)
}

// Allowed says whether the object lies in one of the input locations, or
// below the state location's bodies, where the front door keeps inline ones.
func (l Locations) Allowed(input storage.Ref) bool {
	if l.below(input) != nil {
		return true
	}
	bodies := l.State
	bodies.Key += bodiesFolder
	return bodies.Contains(input)
}

func (l Locations) below(input storage.Ref) *storage.Ref {
	for i := range l.Inputs {
		if l.Inputs[i].Contains(input) {
			return &l.Inputs[i]
		}
	}
	return nil
}

// Folders below the output, failure and state locations.
const (
	requestsFolder = "requests/" // results of requests with an ID
	reservedFolder = "reserved/" // failures of uploads that are refused for their key
	bodiesFolder   = "requests/" // in state: inline bodies
	strikesFolder  = "strikes/"  // in state: runs that did not end
)

// Suffixes of terminal objects.
const (
	outputSuffix  = ".out"
	failureSuffix = "-error.out"
)

// OutputOf is where the result of r is written.
func (l Locations) OutputOf(r Request) storage.Ref { return l.terminal(r, l.Output, outputSuffix) }

// FailureOf is where the failure object of r is written.
func (l Locations) FailureOf(r Request) storage.Ref { return l.terminal(r, l.Failure, failureSuffix) }

// Reserved says that r is an upload whose key would take the place of a
// result of a request with an ID. It is refused; its failure object is at
// FailureOf as always.
func (l Locations) Reserved(r Request) bool {
	return r.Upload() && strings.HasPrefix(l.relative(r.Input), requestsFolder)
}

func (l Locations) terminal(r Request, place storage.Ref, suffix string) storage.Ref {
	var rel string
	switch {
	case !r.Upload():
		rel = requestsFolder + escapeID(r.ID)
	case l.Reserved(r):
		rel = reservedFolder + hash(r.Input.Key)
	default:
		rel = apart(l.relative(r.Input))
	}
	return storage.Ref{Bucket: place.Bucket, Key: fit(place.Key, rel, suffix)}
}

// relative is the input's key below its location, with the bucket before it
// when there are several locations, so that two can't meet in one key.
func (l Locations) relative(input storage.Ref) string {
	if len(l.Inputs) == 1 && l.Inputs[0].Contains(input) {
		return input.Key[len(l.Inputs[0].Key):]
	}
	return input.Bucket + "/" + input.Key
}

// apart keeps a result's key from being a folder of another's, which stores
// on a file system can't hold: every result ends in ".out", so a folder that
// does gets a "~". Folders that already end in ".out~" get one more, so that
// no two inputs meet.
func apart(rel string) string {
	parts := strings.Split(rel, "/")
	for i, p := range parts[:len(parts)-1] {
		if strings.HasSuffix(strings.TrimRight(p, "~"), outputSuffix) {
			parts[i] = p + "~"
		}
	}
	return strings.Join(parts, "/")
}

// escapeID makes one path segment of an ID: all but letters, digits and "-_."
// is percent-escaped, and so is a leading dot.
func escapeID(id string) string {
	var b strings.Builder
	for i := range len(id) {
		c := id[i]
		plain := 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '-' || c == '_' || c == '.' && i > 0
		if plain {
			b.WriteByte(c)
		} else {
			b.WriteString("%" + strings.ToUpper(hex.EncodeToString([]byte{c})))
		}
	}
	return b.String()
}

// fit joins a key, and where it would be longer than S3 takes cuts the middle
// part and puts its hash in the place of what was cut.
func fit(prefix, rel, suffix string) string {
	if len(prefix)+len(rel)+len(suffix) <= storage.MaxKeyBytes {
		return prefix + rel + suffix
	}
	tail := "~" + hash(rel)
	cut := max(storage.MaxKeyBytes-len(prefix)-len(suffix)-len(tail), 0)
	for cut > 0 && !utf8.RuneStart(rel[cut]) {
		cut--
	}
	return prefix + rel[:cut] + tail + suffix
}

func hash(s string) string {
	sum := sha256.Sum256([]byte(s))
	return hex.EncodeToString(sum[:16])
}

// StrikesOf is the folder of the strikes of one request.
func (l Locations) StrikesOf(id Identity) storage.Ref {
	return storage.Ref{Bucket: l.State.Bucket, Key: l.State.Key + strikesFolder + string(id) + "/"}
}

// StrikeOf names the n-th strike: a run that began with the given companions,
// "group" or "solo", and for all that is known did not end.
func (l Locations) StrikeOf(id Identity, n int, company string) storage.Ref {
	ref := l.StrikesOf(id)
	ref.Key += strconv.Itoa(n) + "-" + company
	return ref
}
