package request

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/penstock/penstock/storage"
)

// Metadata that an uploader can set on an input object ("x-amz-meta-" before
// each), in place of the members of a request.
const (
	UploadID        = "penstock-id"
	UploadModel     = "penstock-model"
	UploadSignature = "penstock-signature"
	UploadAccept    = "penstock-accept"
	UploadTTL       = "penstock-ttl" // seconds, or a duration such as "90m"

	UploadRecordErrors = "penstock-record-errors" // "report" or "fail"
)

var uploadNames = []string{UploadAccept, UploadID, UploadModel, UploadRecordErrors, UploadSignature, UploadTTL}

// misspelt reports metadata that looks like an uploader's choice and is none:
// passed over, it would give a result that was not asked for. Objects that
// Penstock wrote, of whatever version, have other names: a result that is
// copied to be an input, and the record of an inline body.
func misspelt(metadata map[string]string) error {
	if metadata[metaIdentity] != "" || metadata[metaDigest] != "" {
		return nil
	}
	var errs []error
	for _, name := range slices.Sorted(maps.Keys(metadata)) {
		ours := strings.HasPrefix(name, "penstock-") || strings.HasPrefix(name, "penstock_")
		if ours && !slices.Contains(uploadNames, name) {
			errs = append(errs, fmt.Errorf("there is no %.80q; there are %s", name, strings.Join(uploadNames, ", ")))
		}
	}
	return errors.Join(errs...)
}

// ApplyUpload fills what r leaves open with what the uploader chose by
// metadata on the input object, whose names are in lower case. It returns the
// request and the name that the uploader gave it, which does not change where
// its results lie. A name that begins with "penstock-" and that there is none
// of is an error, as a value is that can't be understood.
func (r Request) ApplyUpload(metadata map[string]string) (Request, string, error) {
	fill := func(field *string, key string) {
		if *field == "" {
			*field = metadata[key]
		}
	}
	fill(&r.Model, UploadModel)
	fill(&r.Signature, UploadSignature)
	fill(&r.Accept, UploadAccept)
	fill(&r.RecordErrors, UploadRecordErrors)
	if s := metadata[UploadTTL]; s != "" && r.TTL == 0 {
		ttl, err := ParseTTL(s)
		if err != nil {
			return r, "", err
		}
		r.TTL = ttl
	}
	id := metadata[UploadID]
	if err := validateID(id); err != nil {
		return r, "", fmt.Errorf("%s: %w", UploadID, err)
	}
	return r, id, errors.Join(misspelt(metadata), r.Validate())
}

// Metadata that stands on terminal objects. The names differ from the
// uploader's, so that a result that is copied to be another model's input does
// not choose that model's settings.
const (
	metaIdentity     = "penstock-identity"
	metaInferenceID  = "penstock-inference-id"
	metaSelf         = "penstock-self"
	metaInput        = "penstock-input"
	metaInputETag    = "penstock-input-etag"
	metaInputVersion = "penstock-input-version"
	metaModel        = "penstock-model-name"
	metaModelVersion = "penstock-model-version"
	metaAttempts     = "penstock-attempts"
	metaQueued       = "penstock-queued-ms"
	metaFetch        = "penstock-fetch-ms"
	metaWait         = "penstock-wait-ms"
	metaPredict      = "penstock-predict-ms"
	metaStore        = "penstock-store-ms"
	metaRecords      = "penstock-records"
	metaBadRecords   = "penstock-bad-records"
)

// Provenance is what a terminal object's metadata says of it: whose it is,
// what made it, and where the time went (to the microsecond).
type Provenance struct {
	Identity     Identity
	InferenceID  string
	Input        storage.Ref // Version is the version that was read
	InputETag    string
	Model        string
	ModelVersion string
	Attempts     int // runs that counted, this one included

	Queued  time.Duration // from the upload or send to the start of the fetch
	Fetch   time.Duration // reading and decoding the input
	Wait    time.Duration // for a batch
	Predict time.Duration // in the model
	Store   time.Duration // from the model's end to the start of this write: encoding and waiting to write

	// Records is how many an input of records had, and BadRecords how many of
	// them have an error in their place. Both are 0 for other inputs, and for
	// a result that was written before its input was read to its end.
	Records, BadRecords int64
}

// Metadata writes p as the metadata of an object that will lie at self. It is
// printable ASCII and less than the 2 KB that S3 takes, however long the names
// in it are.
func (p Provenance) Metadata(self storage.Ref) map[string]string {
	m := map[string]string{
		metaIdentity: string(p.Identity),
		metaSelf:     selfName(self),
		metaAttempts: strconv.Itoa(p.Attempts),
		metaQueued:   millis(p.Queued),
		metaFetch:    millis(p.Fetch),
		metaWait:     millis(p.Wait),
		metaPredict:  millis(p.Predict),
		metaStore:    millis(p.Store),
	}
	for key, v := range map[string]string{
		metaInferenceID:  bounded(p.InferenceID, maxIDText),
		metaInput:        inputName(p.Input),
		metaInputETag:    bounded(p.InputETag, maxText),
		metaInputVersion: bounded(p.Input.Version, maxText),
		metaModel:        bounded(p.Model, maxText),
		metaModelVersion: bounded(p.ModelVersion, maxText),
	} {
		if v != "" {
			m[key] = v
		}
	}
	if p.Records > 0 {
		m[metaRecords], m[metaBadRecords] = strconv.FormatInt(p.Records, 10), strconv.FormatInt(p.BadRecords, 10)
	}
	return m
}

// ParseProvenance reads the metadata of an object. ok is false when it is not
// a terminal object of Penstock's. What was too long to be kept is
// "sha256-" and its hash; an input too long is an empty Ref, and SameInput
// works all the same.
func ParseProvenance(m map[string]string) (p Provenance, ok bool) {
	p = Provenance{
		Identity: Identity(m[metaIdentity]), InferenceID: unescape(m[metaInferenceID]),
		InputETag: unescape(m[metaInputETag]), Model: unescape(m[metaModel]), ModelVersion: unescape(m[metaModelVersion]),
		Queued: parseMillis(m[metaQueued]), Fetch: parseMillis(m[metaFetch]), Wait: parseMillis(m[metaWait]),
		Predict: parseMillis(m[metaPredict]), Store: parseMillis(m[metaStore]),
	}
	p.Attempts, _ = strconv.Atoi(m[metaAttempts]) // what can't be read stays zero
	p.Records, _ = strconv.ParseInt(m[metaRecords], 10, 64)
	p.BadRecords, _ = strconv.ParseInt(m[metaBadRecords], 10, 64)
	p.Input, _ = storage.ParseRef(unescape(m[metaInput]))
	p.Input.Version = unescape(m[metaInputVersion])
	return p, p.Identity != ""
}

// SameInput says whether a terminal object's metadata names the same input
// object as r and the same ID, in whatever version.
func (r Request) SameInput(metadata map[string]string) bool {
	if metadata[metaInput] != inputName(r.Input) {
		return false
	}
	return r.Upload() || r.SameID(metadata)
}

// SameID says whether a terminal object's metadata names the ID of r, on
// whatever input.
func (r Request) SameID(metadata map[string]string) bool {
	return !r.Upload() && metadata[metaInferenceID] == bounded(r.ID, maxIDText)
}

// OwnResult says whether the object at ref is a terminal object that lies
// where Penstock wrote it. A copy of one elsewhere is not: it may be an input.
func OwnResult(ref storage.Ref, metadata map[string]string) bool {
	return metadata[metaSelf] != "" && metadata[metaSelf] == selfName(ref)
}

// The longest values, in bytes of escaped text. Together with the names and
// the numbers they stay below the 2 KB that S3 gives an object's metadata.
const (
	maxInputText = 512
	maxSelfText  = 256 // only compared, so a hash serves as well
	maxIDText    = 256
	maxText      = 128
)

func inputName(ref storage.Ref) string { return bounded(uri(ref), maxInputText) }
func selfName(ref storage.Ref) string  { return bounded(uri(ref), maxSelfText) }

// uri names an object in whatever version.
func uri(ref storage.Ref) string { return storage.Ref{Bucket: ref.Bucket, Key: ref.Key}.String() }

// bounded escapes s to ASCII as a URL's path is, or gives its hash where that
// is longer than limit.
func bounded(s string, limit int) string {
	if e := (&url.URL{Path: s}).EscapedPath(); len(e) <= limit {
		return e
	}
	sum := sha256.Sum256([]byte(s))
	return "sha256-" + hex.EncodeToString(sum[:])
}

func unescape(s string) string {
	if u, err := url.PathUnescape(s); err == nil {
		return u
	}
	return s
}

// millis writes milliseconds, as the metadata's names say, to the microsecond.
func millis(d time.Duration) string {
	return strconv.FormatFloat(float64(d)/float64(time.Millisecond), 'f', 3, 64)
}

func parseMillis(s string) time.Duration {
	d, err := time.ParseDuration(s + "ms")
	if err != nil {
		return 0
	}
	return d
}
