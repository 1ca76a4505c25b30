package request

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strconv"

	"github.com/penstock/penstock/storage"
)

// Identity is the name of one request on one version of one object: what two
// deliveries, two event sources or two workers must agree on to know that they
// speak of the same work. It is 64 hexadecimal digits.
type Identity string

// Identify gives the identity of r on the object that was found at its input,
// as Get or Head describe it. The time of the upload is a part of it: in a
// bucket without versions the same bytes have the same ETag, and who uploads
// them again, for another model or after a mended fault, wants a new result.
func (r Request) Identify(found storage.Info) Identity {
	fields := []string{r.ID, r.Input.Bucket, r.Input.Key, trimETag(found.ETag), found.Ref.Version}
	if !found.Modified.IsZero() {
		fields = append(fields, strconv.FormatInt(found.Modified.Unix(), 10)) // headers have whole seconds
	}
	return identify(append(fields, r.Job.fields()...)...)
}

// IdentifyUnread gives the identity of r when its object can't be read: what
// the sender knew of it stands in for what would have been found.
func (r Request) IdentifyUnread() Identity {
	fields := []string{r.ID, r.Input.Bucket, r.Input.Key, trimETag(r.ETag), r.Input.Version}
	return identify(append(fields, r.Job.fields()...)...)
}

// SameVersion says whether the object that is there now is the one that was
// known before. What is not known of it (its ETag, version or time) can't
// differ.
func SameVersion(now, known storage.Info) bool {
	return (known.ETag == "" || trimETag(known.ETag) == trimETag(now.ETag)) &&
		(known.Ref.Version == "" || known.Ref.Version == now.Ref.Version) &&
		(known.Modified.IsZero() || known.Modified.Unix() == now.Modified.Unix())
}

func identify(fields ...string) Identity {
	h := sha256.New()
	for _, f := range fields {
		// With its length before it, no field runs into the next: a key may
		// hold any byte, so there is none to put between them.
		fmt.Fprintf(h, "%d:%s", len(f), f)
	}
	return Identity(hex.EncodeToString(h.Sum(nil)))
}

// InferenceID is what people call the request: its own ID, else one that
// follows from the identity, so that every worker gives the same.
func (r Request) InferenceID(identity Identity) string {
	if r.ID != "" {
		return r.ID
	}
	return string(identity[:32])
}
