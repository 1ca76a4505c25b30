package storage

import (
	"encoding/base64"
	"fmt"
	"io/fs"
	"mime"
	"strings"
	"unicode/utf8"
)

// MaxMetadataBytes is how much user metadata S3 takes with an object: names
// and escaped values together.
const MaxMetadataBytes = 2 << 10

// Validate reports what S3 would not take of the options, as fs.ErrInvalid.
func (o PutOptions) Validate() error {
	if o.IfNoneMatch && o.IfMatch != "" {
		return fmt.Errorf("%w: IfNoneMatch and IfMatch exclude each other", fs.ErrInvalid)
	}
	if !isHeaderText(o.ContentType) {
		return fmt.Errorf("%w: the content type %q is not printable ASCII", fs.ErrInvalid, o.ContentType)
	}
	if !isHeaderText(o.ContentEncoding) {
		return fmt.Errorf("%w: the content encoding %q is not printable ASCII", fs.ErrInvalid, o.ContentEncoding)
	}
	size := 0
	names := make(map[string]bool, len(o.Metadata))
	for name, value := range o.Metadata {
		if !isToken(name) {
			return fmt.Errorf("%w: the metadata name %q can't be a part of an HTTP header's name", fs.ErrInvalid, name)
		}
		lower := strings.ToLower(name)
		if names[lower] {
			return fmt.Errorf("%w: two metadata names are %q but for their case", fs.ErrInvalid, lower)
		}
		names[lower] = true
		if !utf8.ValidString(value) {
			return fmt.Errorf("%w: the metadata value %q is not UTF-8", fs.ErrInvalid, value)
		}
		size += len(name) + len(EscapeMetadata(value))
	}
	if size > MaxMetadataBytes {
		return fmt.Errorf("%w: the metadata is %d bytes; S3 takes %d", fs.ErrInvalid, size, MaxMetadataBytes)
	}
	return nil
}

// EscapeMetadata gives a metadata value as it can stand in an HTTP header: as
// it is when that is safe, else as RFC 2047 words in UTF-8, which is the form
// that S3 itself uses in its answers.
func EscapeMetadata(value string) string {
	// HTTP trims outer blanks, and a reader would take "=?" for an escape.
	if isHeaderText(value) && strings.TrimSpace(value) == value && !strings.Contains(value, "=?") {
		return value
	}
	const longest = 45 // bytes in a word, which may have 75 characters in all
	var words []string
	for value != "" {
		n := min(longest, len(value))
		for n > 1 && n < len(value) && !utf8.RuneStart(value[n]) {
			n--
		}
		words = append(words, "=?utf-8?b?"+base64.StdEncoding.EncodeToString([]byte(value[:n]))+"?=")
		value = value[n:]
	}
	return strings.Join(words, " ")
}

// UnescapeMetadata undoes EscapeMetadata. What is no well-formed escape stays
// as it is.
func UnescapeMetadata(value string) string {
	decoded, err := new(mime.WordDecoder).DecodeHeader(value)
	if err != nil {
		return value
	}
	return decoded
}

// isHeaderText says whether s can be an HTTP header's value.
func isHeaderText(s string) bool {
	return strings.IndexFunc(s, func(r rune) bool { return r < ' ' || r > '~' }) < 0
}

// isToken says whether s is a token of RFC 9110.
func isToken(s string) bool {
	for _, c := range []byte(s) {
		if c <= ' ' || c > '~' || strings.IndexByte(`"(),/:;<=>?@[\]{}`, c) >= 0 {
			return false
		}
	}
	return s != ""
}
