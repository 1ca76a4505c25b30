package request

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"

	"github.com/penstock/penstock/storage"
)

// Identity is the name of one request on one version of one object: what two
// deliveries, two event sources or two workers must agree on to know that they
// speak of the same work. It is 64 hexadecimal digits.
type Identity string

// Identify gives the identity of r on the object that was found at its input.
func (r Request) Identify(found storage.Info) Identity {
	return identify(r.ID, r.Input.Bucket, r.Input.Key, trimETag(found.ETag), found.Ref.Version)
}

// IdentifyUnread gives the identity of r when its object can't be read: what
// the sender knew of it stands in for what would have been found.
func (r Request) IdentifyUnread() Identity {
	return identify(r.ID, r.Input.Bucket, r.Input.Key, trimETag(r.ETag), r.Input.Version)
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
