package storage

import (
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"
)

// Ref names an object, a version of one, or (with a key that is empty or ends
// in a slash) a place that objects lie below.
type Ref struct {
	Bucket  string
	Key     string
	Version string // the S3 versionId; empty means the current version
}

// MaxKeyBytes is the longest key S3 takes, in bytes of UTF-8.
const MaxKeyBytes = 1024

// String gives the s3:// URI, with "?versionId=" when a version is named. The
// key is written as it is, neither encoded nor quoted.
func (r Ref) String() string {
	s := "s3://" + r.Bucket + "/" + r.Key
	if r.Version != "" {
		s += "?versionId=" + r.Version
	}
	return s
}

// ParseRef reads an s3://bucket/key URI. Everything behind the bucket's slash
// is the key, byte for byte: S3 keys may hold '?', '#', '%' and '+', so
// nothing is decoded and no version is split off. The key may be empty.
func ParseRef(uri string) (Ref, error) {
	rest, ok := strings.CutPrefix(uri, "s3://")
	if !ok {
		return Ref{}, fmt.Errorf("%q is not an S3 URI: it must begin with s3://", uri)
	}
	bucket, key, _ := strings.Cut(rest, "/")
	ref := Ref{Bucket: bucket, Key: key}
	if err := ref.Validate(); err != nil {
		return Ref{}, fmt.Errorf("%q is not an S3 URI: %w", uri, err)
	}
	return ref, nil
}

// Validate reports a bucket name or a key that S3 can't have. Bucket names
// are held to S3's characters and length only (3 to 63 of a–z, 0–9, '.', '-'
// and, for old buckets, A–Z and '_').
func (r Ref) Validate() error {
	if n := len(r.Bucket); n < 3 || n > 63 {
		return fmt.Errorf("the bucket name %q must have 3 to 63 characters", r.Bucket)
	}
	for _, c := range []byte(r.Bucket) {
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && (c < 'A' || c > 'Z') && c != '.' && c != '-' && c != '_' {
			return fmt.Errorf("the bucket name %q has the character %q, which S3 does not allow", r.Bucket, c)
		}
	}
	if len(r.Key) > MaxKeyBytes {
		return fmt.Errorf("the key is %d bytes long; S3 takes %d", len(r.Key), MaxKeyBytes)
	}
	if !utf8.ValidString(r.Key) {
		return fmt.Errorf("the key %q is not UTF-8", r.Key)
	}
	return nil
}

// Contains says whether o lies at or below r: in the same bucket, with a key
// that begins with r's and does not lead up again. To S3 "in/../x" is a name
// like any other, but servers that keep objects in files read "x" for it, which
// may not be anybody's to read.
func (r Ref) Contains(o Ref) bool {
	rest, ok := strings.CutPrefix(o.Key, r.Key)
	return ok && r.Bucket == o.Bucket && !slices.Contains(strings.Split(rest, "/"), "..")
}
