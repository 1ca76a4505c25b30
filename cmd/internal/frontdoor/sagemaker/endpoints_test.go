package sagemaker

import (
	"maps"
	"net/http"
	"strings"
	"testing"

	"github.com/penstock/penstock/storage"
)

func TestEndpointsAreNamesOrNamesWithModels(t *testing.T) {
	t.Parallel()
	got, err := ParseEndpoints(" digits, faces=faces@2 ,,x-1=a/b ")
	if want := map[string]string{"digits": "", "faces": "faces@2", "x-1": "a/b"}; !maps.Equal(got, want) || err != nil {
		t.Errorf("got %q, error %v; want %q", got, err, want)
	}
	_, err = ParseEndpoints("-x,x-,a_b," + strings.Repeat("x", 64) + ",a,a,b=")
	if err == nil {
		t.Fatal("no error")
	}
	for _, want := range []string{`"-x"`, `"x-"`, `"a_b"`, `"xxx`, `"a" is there twice`, `"b=" names no model`} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("the error does not tell of %s:\n%v", want, err)
		}
	}
}

func FuzzHeadersMakeARequestOrAFault(f *testing.F) {
	f.Add("my id", "s3://b/k", "day/1", "a.json", "60", "tfs-model-name=x")
	f.Add("é", "https://b.s3.amazonaws.com/k", "/", "a.b.c", "-1", "tfs-method=x,tfs-model-version=1")
	f.Fuzz(func(t *testing.T, id, location, extension, file, seconds, attributes string) {
		h := http.Header{}
		for m, v := range map[member]string{inferenceID: id, inputLocation: location, pathExtension: extension, fileName: file, ttlSeconds: seconds, customAttributes: attributes} {
			if v != "" {
				h.Set(m.header, v)
			}
		}
		var a, s faults
		r := a.asyncRequest(h)
		s.syncRequest(h)
		if a.err() != nil {
			return
		}
		if r.Input == (storage.Ref{}) {
			r.Input = storage.Ref{Bucket: "any", Key: "any"}
		}
		// What SageMaker takes is a request of ours, but for characters that an
		// S3 key may have and a queue's message not.
		if err := r.Validate(); err != nil {
			t.Errorf("%+v: %v", r, err)
		}
	})
}
