package storage_test

import (
	"errors"
	"io/fs"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/penstock/penstock/storage"
)

func TestEscapeMetadataLeavesPlainTextAlone(t *testing.T) {
	for value, want := range map[string]string{
		"":                          "",
		"plain, with = and ? and ;": "plain, with = and ? and ;",
		"Gr\u00f6\u00dfe":           "=?utf-8?b?R3LDtsOfZQ==?=",
		" outer ":                   "=?utf-8?b?IG91dGVyIA==?=",
		"=?x":                       "=?utf-8?b?PT94?=",
		"a\nb":                      "=?utf-8?b?YQpi?=",
	} {
		if got := storage.EscapeMetadata(value); got != want {
			t.Errorf("%q is escaped as %q, want %q", value, got, want)
		}
	}
}

func TestUnescapeMetadataReadsTheFormsOfOthers(t *testing.T) {
	for value, want := range map[string]string{
		"=?UTF-8?Q?Gr=C3=B6=C3=9Fe?=":       "Gr\u00f6\u00dfe",
		"=?iso-8859-1?q?Gr=F6=DFe?=":        "Gr\u00f6\u00dfe",
		"=?utf-8?b?YQ==?= =?utf-8?b?Yg==?=": "ab",
		"=?unknown-charset?q?a?=":           "=?unknown-charset?q?a?=",
		"=?utf-8?b?broken":                  "=?utf-8?b?broken",
		"50% =? maybe":                      "50% =? maybe",
	} {
		if got := storage.UnescapeMetadata(value); got != want {
			t.Errorf("%q is read as %q, want %q", value, got, want)
		}
	}
}

func FuzzEscapeMetadataIsUndone(f *testing.F) {
	for _, value := range []string{"", "a", " ", "=?utf-8?q?a?=", "\u6587", strings.Repeat("\U0001F600", 30), "a\r\nb", "=?="} {
		f.Add(value)
	}
	f.Fuzz(func(t *testing.T, value string) {
		escaped := storage.EscapeMetadata(value)
		for word := range strings.SplitSeq(escaped, " ") {
			if escaped != value && len(word) > 75 {
				t.Errorf("the word %q has %d characters; RFC 2047 takes 75", word, len(word))
			}
		}
		if got := storage.UnescapeMetadata(escaped); utf8.ValidString(value) && got != value {
			t.Errorf("%q became %q and then %q", value, escaped, got)
		}
	})
}

func TestPutOptionsCountMetadataAsItIsSent(t *testing.T) {
	fits := storage.PutOptions{Metadata: map[string]string{"a": strings.Repeat("x", storage.MaxMetadataBytes-1)}}
	if err := fits.Validate(); err != nil {
		t.Error(err)
	}
	tooMuch := storage.PutOptions{Metadata: map[string]string{"a": strings.Repeat("\u6587", 600)}} // 1,800 bytes, 2,400 in base64
	if err := tooMuch.Validate(); !errors.Is(err, fs.ErrInvalid) {
		t.Errorf("the error is %v, want fs.ErrInvalid", err)
	}
}
