package storagetest

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"github.com/penstock/penstock/storage"
)

// oddKeys are keys that something on the way from here to the disk of a server
// is apt to mistake.
var oddKeys = []struct{ name, key string }{
	{"spaces", " a b  c"},
	{"a trailing space", "a/b "},
	{"a plus", "a+b/c++"},
	{"a percent sign", "100%/a%20b%2Fc%zz"},
	{"a question mark and an ampersand", "a?b=c&d=e"},
	{"a hash", "a#b"},
	{"a colon, semicolon, comma and equals", "a:b;c,d=e@f$g!h"},
	{"quotes and brackets", `a"b'c<d>e[f]{g}(h)|i^j` + "`k~l"},
	{"a backslash", `a\b\\c`},
	{"an asterisk", "a*b"},
	{"letters of many scripts", "übergröße/\u6587\u5b57/عربي/ไทย"},
	{"an emoji", "a/\U0001F600.json"},
	{"a decomposed letter", "u\u0308"},
	{"a newline and a tab", "a\nb\tc"},
	{"dots in its name", "a/..b/.c./d..."},
	{"a leading dot", ".penstock/a"},
	{"a leading ./", "./a"},
	{"a leading ../", "../a"},
	{"a /../ within", "a/../b"},
	{"a leading slash", "/a"},
	{"two slashes", "a//b"},
	{"a trailing slash", "folder/"},
	{"1,024 bytes in segments", strings.Repeat("0123456789abcdef/", 60) + "0123"},
	{"1,024 bytes without a slash", strings.Repeat("x", storage.MaxKeyBytes)},
	{"1,024 bytes of three-byte letters", strings.Repeat(strings.Repeat("\u6587", 42)+"/", 8) + "\u6587\u6587xx"},
}

// keyChecks has a check for each odd key, so that gaps can name them.
func keyChecks() []check {
	checks := []check{
		{"a key may be the folder of another", folderKey},
		{"keys that differ in case are two", caseKeys},
	}
	for _, odd := range oddKeys {
		checks = append(checks, check{"a key with " + odd.name, func(ctx context.Context, h harness) error {
			return roundTrip(ctx, h, odd.key)
		}})
	}
	return checks
}

// roundTrip takes one key through every operation.
func roundTrip(ctx context.Context, h harness, key string) error {
	ref := h.ref(key)
	body := ""
	if !strings.HasSuffix(key, "/") { // servers on file systems have folders without bytes
		body = "body"
	}
	wrote, err := h.Put(ctx, ref, []byte(body), storage.PutOptions{IfNoneMatch: true, Metadata: map[string]string{"a": "b"}})
	if err != nil {
		return err
	}
	info, err := h.Head(ctx, ref)
	if err != nil {
		return err
	}
	if info.Ref.Key != key || info.ETag != wrote.ETag || info.Metadata["a"] != "b" {
		return fmt.Errorf("head says %+v", info)
	}
	if err := errors.Join(
		wantBody(ctx, h, ref, body),
		wantKeys(ctx, h, "", "", []string{key}),
		wantKeys(ctx, h, key, "", []string{key}),
		wantKeys(ctx, h, "", key, nil),
		h.Delete(ctx, ref, storage.DeleteOptions{}),
		wantKeys(ctx, h, "", "", nil),
	); err != nil {
		return err
	}
	_, err = h.Head(ctx, ref)
	return wantIs("head after the deletion", err, fs.ErrNotExist)
}

func folderKey(ctx context.Context, h harness) error {
	if err := putAll(ctx, h, []string{"a/b"}); err != nil {
		return err
	}
	if err := putAll(ctx, h, []string{"a"}); err != nil {
		return err
	}
	return wantKeys(ctx, h, "", "", []string{"a", "a/b"})
}

func caseKeys(ctx context.Context, h harness) error {
	for _, key := range []string{"Key", "key"} {
		if _, err := put(ctx, h, key, key); err != nil {
			return err
		}
	}
	return errors.Join(wantBody(ctx, h, h.ref("Key"), "Key"), wantBody(ctx, h, h.ref("key"), "key"))
}

var limitChecks = []check{
	{"a call that can't be right is fs.ErrInvalid", invalidCalls},
	{"two kilobytes of metadata are kept", mostMetadata},
}

func invalidCalls(ctx context.Context, h harness) error {
	var errs []error
	for name, ref := range map[string]storage.Ref{
		"an empty key":      h.ref(""),
		"too long a key":    h.ref(strings.Repeat("x", storage.MaxKeyBytes+1)),
		"a key not UTF-8":   h.ref("a\xff"),
		"an empty bucket":   {Key: "key"},
		"an odd bucket":     {Bucket: "no such/bucket", Key: "key"},
		"too long a bucket": {Bucket: strings.Repeat("b", 64), Key: "key"},
	} {
		_, headErr := h.Head(ctx, ref)
		_, getErr := h.Get(ctx, ref, storage.GetOptions{})
		_, putErr := h.Put(ctx, ref, []byte("x"), storage.PutOptions{})
		errs = append(errs,
			wantIs(name+": head", headErr, fs.ErrInvalid),
			wantIs(name+": get", getErr, fs.ErrInvalid),
			wantIs(name+": put", putErr, fs.ErrInvalid),
			wantIs(name+": delete", h.Delete(ctx, ref, storage.DeleteOptions{}), fs.ErrInvalid),
		)
	}
	for name, opts := range map[string]storage.PutOptions{
		"too much metadata":      {Metadata: map[string]string{"a": strings.Repeat("x", storage.MaxMetadataBytes)}},
		"a bad metadata name":    {Metadata: map[string]string{"a b": "x"}},
		"two like names":         {Metadata: map[string]string{"a": "x", "A": "y"}},
		"a metadata not UTF-8":   {Metadata: map[string]string{"a": "\xff"}},
		"a line in the type":     {ContentType: "text/plain\r\nx: y"},
		"a line in the encoding": {ContentEncoding: "gzip\n"},
	} {
		_, err := h.Put(ctx, h.ref("key"), []byte("x"), opts)
		errs = append(errs, wantIs(name, err, fs.ErrInvalid))
	}
	_, err := h.Put(ctx, storage.Ref{Bucket: h.bucket, Key: "key", Version: "1"}, []byte("x"), storage.PutOptions{})
	return errors.Join(append(errs, wantIs("a put to a version", err, fs.ErrInvalid))...)
}

func mostMetadata(ctx context.Context, h harness) error {
	want := strings.Repeat("x", storage.MaxMetadataBytes-len("name"))
	if _, err := h.Put(ctx, h.ref("key"), []byte("x"), storage.PutOptions{Metadata: map[string]string{"name": want}}); err != nil {
		return err
	}
	info, err := h.Head(ctx, h.ref("key"))
	if err == nil && info.Metadata["name"] != want {
		err = fmt.Errorf("the value has %d bytes, want %d", len(info.Metadata["name"]), len(want))
	}
	return err
}
