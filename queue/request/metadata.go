package request

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/url"
	"strconv"
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
)

// ApplyUpload fills what r leaves open with what the uploader chose by
// metadata on the input object. It returns the request and the name that the
// uploader gave it, which does not change where its results lie.
func (r Request) ApplyUpload(metadata map[string]string) (Request, string, error) {
	fill := func(field *string, key string) {
		if *field == "" {
			*field = metadata[key]
		}
	}
	fill(&r.Model, UploadModel)
	fill(&r.Signature, UploadSignature)
	fill(&r.Accept, UploadAccept)
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
	return r, id, r.Validate()
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
)

// Provenance is what a terminal object's metadata says of it: whose it is,
// what made it, and where the time went.
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
}

// Metadata writes p as the metadata of an object that will lie at self.
func (p Provenance) Metadata(self storage.Ref) map[string]string {
	m := map[string]string{
		metaIdentity:    string(p.Identity),
		metaInferenceID: bounded(p.InferenceID),
		metaSelf:        name(self),
		metaInput:       name(p.Input),
		metaInputETag:   p.InputETag,
		metaAttempts:    strconv.Itoa(p.Attempts),
	}
	for k, v := range map[string]string{metaInputVersion: p.Input.Version, metaModel: bounded(p.Model), metaModelVersion: p.ModelVersion} {
		if v != "" {
			m[k] = v
		}
	}
	for k, d := range map[string]time.Duration{metaQueued: p.Queued, metaFetch: p.Fetch, metaWait: p.Wait, metaPredict: p.Predict, metaStore: p.Store} {
		m[k] = strconv.FormatFloat(float64(d)/float64(time.Millisecond), 'f', 3, 64)
	}
	return m
}

// ParseProvenance reads the metadata of an object. ok is false when it is not
// a terminal object of Penstock's. Input is empty where its name was too long
// to be kept; SameInput works all the same.
func ParseProvenance(m map[string]string) (p Provenance, ok bool) {
	p = Provenance{
		Identity: Identity(m[metaIdentity]), InferenceID: unescape(m[metaInferenceID]),
		InputETag: m[metaInputETag], Model: unescape(m[metaModel]), ModelVersion: m[metaModelVersion],
		Queued: millis(m[metaQueued]), Fetch: millis(m[metaFetch]), Wait: millis(m[metaWait]),
		Predict: millis(m[metaPredict]), Store: millis(m[metaStore]),
	}
	p.Attempts, _ = strconv.Atoi(m[metaAttempts])
	p.Input, _ = storage.ParseRef(unescape(m[metaInput]))
	p.Input.Version = m[metaInputVersion]
	return p, p.Identity != ""
}

// SameInput says whether a terminal object's metadata names the same input
// object as r and the same ID, in whatever version.
func (r Request) SameInput(metadata map[string]string) bool {
	if metadata[metaInput] != name(r.Input) {
		return false
	}
	return r.Upload() || unescape(metadata[metaInferenceID]) == r.ID
}

// OwnResult says whether the object at ref is a terminal object that lies
// where Penstock wrote it. A copy of one elsewhere is not: it may be an input.
func OwnResult(ref storage.Ref, metadata map[string]string) bool {
	return metadata[metaSelf] != "" && metadata[metaSelf] == name(ref)
}

// name is an object's URI without its version, escaped to ASCII, or its hash
// where it is so long that two of them would not fit into the 2 KB that S3
// gives an object's metadata.
func name(ref storage.Ref) string {
	return bounded("s3://" + ref.Bucket + "/" + ref.Key)
}

func bounded(s string) string {
	if e := (&url.URL{Path: s}).EscapedPath(); len(e) <= 400 {
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

func millis(s string) time.Duration {
	f, _ := strconv.ParseFloat(s, 64)
	return time.Duration(f * float64(time.Millisecond))
}
