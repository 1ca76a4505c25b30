package request

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/penstock/penstock/storage"
)

// Folders below the output, failure and state locations.
const (
	requestsFolder = "requests/"  // in output and failure: of requests with an ID
	jobsFolder     = "jobs/"      // in output and failure: of items of jobs
	recordsFolder  = "requests/"  // in state: what was accepted under an ID, an inline body among it
	uploadsFolder  = "uploads/"   // in state: inputs that callers upload by a URL they were given
	workersFolder  = "workers/"   // in state: what the workers have in flight
	sweepName      = "sweep.json" // in state: what sweeps remember
	cancelFolder   = "cancel/"    // in state: IDs that are not to be started
	strikesFolder  = "strikes/"   // in state: runs that did not end
)

// Suffixes of terminal objects.
const (
	outputSuffix  = ".out"
	failureSuffix = "-error.out"
)

// OutputOf is where the result of r is written.
//
// Different requests have different outputs, unless a sender chose another's
// by OutputPath. No key is a folder of another's, which stores on a file system
// can't hold. The same is true of FailureOf, without the exception.
func (l Locations) OutputOf(r Request) storage.Ref {
	if !r.Upload() && r.OutputPath != "" {
		return below(l.Output, requestsFolder+namedPath(r.OutputPath), "")
	}
	return below(l.Output, l.name(r), outputSuffix)
}

// FailureOf is where the failure object of r is written. OutputPath does not
// count here: of two requests with the same, one needs it to say so.
func (l Locations) FailureOf(r Request) storage.Ref {
	return below(l.Failure, l.name(r), failureSuffix)
}

// Reserved says that r is an upload whose key would put its result where
// those of requests with an ID or of jobs are, or Penstock's own objects. It is
// refused; its failure object is at FailureOf as always.
func (l Locations) Reserved(r Request) bool {
	rel, ok := l.relative(r.Input)
	return r.Upload() && ok && reserved(r, rel)
}

// reserved says so of the path of r's input. Items of jobs have a folder of
// their own.
func reserved(r Request, rel string) bool {
	taken := r.Job == nil && (strings.HasPrefix(rel, requestsFolder) || strings.HasPrefix(rel, jobsFolder))
	return taken || inStateFolder(rel)
}

// name is the path of r's terminal objects, without their suffix.
func (l Locations) name(r Request) string {
	if !r.Upload() {
		return requestsFolder + escapeID(r.ID)
	}
	folder, aside, input := "", requestsFolder, r.Input.Bucket+"/"+r.Input.Key
	if r.Job != nil {
		folder = jobsFolder + escapeID(r.Job.ID) + "/"
		aside = folder // where the job's failures are looked for
	}
	rel, ok := l.relative(r.Input)
	if !ok || reserved(r, rel) {
		// Refused, but its failure needs a place that no other request has:
		// escaped IDs have no "~", and no key holds its own hash.
		return aside + "~" + hash(input)
	}
	return folder + apart(rel)
}

// relative is the input's key below its location, with the bucket before it
// when there are several locations, so that two can't meet in one key. ok is
// false when it lies in none.
func (l Locations) relative(input storage.Ref) (rel string, ok bool) {
	for _, in := range l.Inputs {
		switch {
		case !in.Contains(input):
		case len(l.Inputs) == 1:
			return input.Key[len(in.Key):], true
		default:
			return input.Bucket + "/" + input.Key, true
		}
	}
	return "", false
}

// apart keeps a result's key from being a folder of another's: every result
// ends in ".out", so a folder that does gets a "~". Folders that already end
// in ".out~" get one more, so that no two inputs meet.
func apart(rel string) string {
	parts := strings.Split(rel, "/")
	for i, p := range parts[:len(parts)-1] {
		if strings.HasSuffix(strings.TrimRight(p, "~"), outputSuffix) {
			parts[i] = p + "~"
		}
	}
	return strings.Join(parts, "/")
}

// namedPath does for an OutputPath what apart does for an upload's key: here
// results may end in anything, but all have a dot, and folders with one get a
// "~", which no OutputPath has.
func namedPath(path string) string {
	parts := strings.Split(path, "/")
	last := len(parts) - 1
	for i, p := range parts[:last] {
		if strings.Contains(p, ".") {
			parts[i] = p + "~"
		}
	}
	if !strings.Contains(parts[last], ".") {
		parts[last] += outputSuffix
	}
	return strings.Join(parts, "/")
}

// escapeID makes one path segment of an ID: all but letters, digits and "-_."
// is percent-escaped, and so is a leading dot.
func escapeID(id string) string {
	var b strings.Builder
	for i := range len(id) {
		switch c := id[i]; {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '-', c == '_', c == '.' && i > 0:
			b.WriteByte(c)
		default:
			fmt.Fprintf(&b, "%%%02X", c)
		}
	}
	return b.String()
}

// maxWholeBytes is the longest key that is left whole. One that is cut comes
// out longer, so that nobody can name an input after another's cut key.
const maxWholeBytes = storage.MaxKeyBytes - utf8.UTFMax

// below joins a key, and where it would be longer than S3 takes cuts the name
// at a rune and puts its hash in the place of what was cut.
func below(place storage.Ref, name, suffix string) storage.Ref {
	if len(place.Key)+len(name)+len(suffix) > maxWholeBytes {
		tail := "~" + hash(name)
		cut := max(storage.MaxKeyBytes-len(place.Key)-len(tail)-len(suffix), 0)
		for cut > 0 && !utf8.RuneStart(name[cut]) {
			cut--
		}
		name = name[:cut] + tail
	}
	return storage.Ref{Bucket: place.Bucket, Key: place.Key + name + suffix}
}

func hash(s string) string {
	sum := sha256.Sum256([]byte(s))
	return hex.EncodeToString(sum[:16])
}

// RecordOf names the record of what was accepted under an ID: written anew
// before the request is sent, it makes sending it again harmless. For an
// inline body it is the body itself, and the request's input.
func (l Locations) RecordOf(id string) storage.Ref {
	return below(l.State, recordsFolder+escapeID(id), "")
}

// Records is the folder of all records.
func (l Locations) Records() storage.Ref {
	return storage.Ref{Bucket: l.State.Bucket, Key: l.State.Key + recordsFolder}
}

// UploadOf names the input of the request of that ID, where its caller uploads
// it by a URL that the front door has signed.
func (l Locations) UploadOf(id string) storage.Ref {
	return below(l.State, uploadsFolder+escapeID(id), "")
}

// Snapshots is the folder of all workers' snapshots.
func (l Locations) Snapshots() storage.Ref {
	return storage.Ref{Bucket: l.State.Bucket, Key: l.State.Key + workersFolder}
}

// SnapshotOf names what the worker of that name says of itself.
func (l Locations) SnapshotOf(worker string) storage.Ref {
	return below(l.State, workersFolder+escapeID(worker), "")
}

// SweepOf names what sweeps remember from one to the next.
func (l Locations) SweepOf() storage.Ref {
	return storage.Ref{Bucket: l.State.Bucket, Key: l.State.Key + sweepName}
}

// Cancels is the folder of all cancel markers.
func (l Locations) Cancels() storage.Ref {
	return storage.Ref{Bucket: l.State.Bucket, Key: l.State.Key + cancelFolder}
}

// CancelOf names the marker that keeps the request of that ID from being
// started.
func (l Locations) CancelOf(id string) storage.Ref {
	return below(l.State, cancelFolder+escapeID(id), "")
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
