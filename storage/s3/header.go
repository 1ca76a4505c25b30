package s3

import (
	"strings"

	"github.com/penstock/penstock/storage"
)

// quote gives an ETag as HTTP wants it, nil when there is none.
func quote(etag string) *string {
	if etag == "" {
		return nil
	}
	return new(`"` + etag + `"`)
}

// unquote gives an ETag without its quotes.
func unquote(etag *string) string {
	return strings.Trim(strings.TrimPrefix(value(etag), "W/"), `"`)
}

// escape gives metadata as it can be sent.
func escape(metadata map[string]string) map[string]string {
	escaped := make(map[string]string, len(metadata))
	for name, v := range metadata {
		escaped[strings.ToLower(name)] = storage.EscapeMetadata(v)
	}
	return escaped
}

// unescape undoes escape.
func unescape(metadata map[string]string) map[string]string {
	plain := make(map[string]string, len(metadata))
	for name, v := range metadata {
		plain[strings.ToLower(name)] = storage.UnescapeMetadata(v)
	}
	return plain
}

// contentEncoding leaves out aws-chunked, the framing of an upload, which some
// servers store as if it were the object's own.
func contentEncoding(encoding *string) string {
	var kept []string
	for e := range strings.SplitSeq(value(encoding), ",") {
		if e = strings.TrimSpace(e); e != "" && e != "aws-chunked" {
			kept = append(kept, e)
		}
	}
	return strings.Join(kept, ",")
}

// versioned is ref with the version that the reply named. Of a bucket that
// never kept versions there is none.
func versioned(ref storage.Ref, version *string) storage.Ref {
	if version != nil {
		ref.Version = *version
	}
	return ref
}

// optional is nil for the empty string, which the SDK would send.
func optional(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}

// value is what p points to, or a zero value.
func value[T any](p *T) T {
	if p == nil {
		return *new(T)
	}
	return *p
}
