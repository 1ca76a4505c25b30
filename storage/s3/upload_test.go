package s3_test

import (
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	awss3 "github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/penstock/penstock/storage"
	"github.com/penstock/penstock/storage/s3"
)

// step names a call of a multipart upload.
func step(r *http.Request) string {
	q := r.URL.Query()
	switch {
	case q.Has("uploads"):
		return "create"
	case r.Method == http.MethodPut && r.Header.Get("x-amz-copy-source") != "":
		return "copy " + q.Get("partNumber")
	case r.Method == http.MethodPut:
		return "part " + q.Get("partNumber")
	case r.Method == http.MethodPost:
		return "complete"
	case r.Method == http.MethodDelete:
		return "abort"
	}
	return r.Method
}

// accept answers a call of a multipart upload as S3 does.
func accept(w http.ResponseWriter, r *http.Request) {
	switch what := step(r); {
	case what == "create":
		fmt.Fprint(w, `<InitiateMultipartUploadResult><UploadId>id</UploadId></InitiateMultipartUploadResult>`)
	case strings.HasPrefix(what, "part"):
		_, _ = io.Copy(io.Discard, r.Body)
		w.Header().Set("ETag", `"e`+r.URL.Query().Get("partNumber")+`"`)
	case strings.HasPrefix(what, "copy"):
		fmt.Fprintf(w, `<CopyPartResult><ETag>"e%s"</ETag></CopyPartResult>`, r.URL.Query().Get("partNumber"))
	case what == "complete":
		w.Header().Set("x-amz-version-id", "v")
		fmt.Fprint(w, `<CompleteMultipartUploadResult><ETag>"whole-3"</ETag></CompleteMultipartUploadResult>`)
	case what == "abort":
		w.WriteHeader(http.StatusNoContent)
	}
}

// one begins an upload of one part.
func one(t *testing.T, s *s3.Store, opts storage.PutOptions) storage.Upload {
	t.Helper()
	u, err := s.Upload(t.Context(), ref, opts)
	if err != nil {
		t.Fatal(err)
	}
	if err := u.PutPart(t.Context(), 1, []byte("x")); err != nil {
		t.Fatal(err)
	}
	return u
}

func TestUploadSaysWhatItIsMadeOf(t *testing.T) {
	var calls []string
	headers := map[string]http.Header{}
	var completed struct {
		Part []struct {
			PartNumber int
			ETag       string
		}
	}
	s := open(t, func(w http.ResponseWriter, r *http.Request) {
		calls = append(calls, step(r))
		headers[step(r)] = r.Header
		if step(r) == "complete" {
			if err := xml.NewDecoder(r.Body).Decode(&completed); err != nil {
				t.Error(err)
			}
		}
		accept(w, r)
	})
	u, err := s.Upload(t.Context(), ref, storage.PutOptions{
		ContentType: "text/plain", ContentEncoding: "br", IfMatch: "old", Metadata: map[string]string{"Name": "Größe"},
	})
	if err != nil {
		t.Fatal(err)
	}
	from := storage.Info{Ref: storage.Ref{Bucket: "other", Key: "a b+c/é?", Version: "v&1"}, Size: 7 << 20, ETag: "from"}
	if err := errors.Join(
		u.CopyPart(t.Context(), 3, from, 0, 0),
		u.PutPart(t.Context(), 1, []byte("body")),
		u.CopyPart(t.Context(), 2, from, 10, 5<<20),
	); err != nil {
		t.Fatal(err)
	}
	info, err := u.Complete(t.Context())
	if err != nil || info.Size != 4+5<<20+7<<20 || info.ETag != "whole-3" || info.Ref.Version != "v" || info.ContentType != "text/plain" {
		t.Errorf("complete gave %+v and %v", info, err)
	}
	if err := u.Abort(t.Context()); err != nil {
		t.Error(err)
	}
	if want := "[create copy 3 part 1 copy 2 complete]"; fmt.Sprint(calls) != want {
		t.Errorf("the calls were %v, want %s", calls, want)
	}
	if want := `[{1 "e1"} {2 "e2"} {3 "e3"}]`; fmt.Sprint(completed.Part) != want {
		t.Errorf("the parts are %v, want %s", completed.Part, want)
	}
	for at, want := range map[string]map[string]string{
		"create":   {"Content-Type": "text/plain", "Content-Encoding": "br", "X-Amz-Meta-Name": "=?utf-8?b?R3LDtsOfZQ==?=", "If-Match": ""},
		"copy 3":   {"X-Amz-Copy-Source": "other/a%20b%2Bc/%C3%A9%3F?versionId=v%261", "X-Amz-Copy-Source-If-Match": `"from"`, "X-Amz-Copy-Source-Range": ""},
		"copy 2":   {"X-Amz-Copy-Source-Range": "bytes=10-5242889"},
		"complete": {"If-Match": `"old"`, "If-None-Match": ""},
	} {
		for name, value := range want {
			if got := headers[at].Get(name); got != value {
				t.Errorf("%s: %s is %q, want %q", at, name, got, value)
			}
		}
	}
}

func TestUploadIsCheckedByAChecksumOfTheWhole(t *testing.T) {
	headers := map[string]http.Header{}
	var completed string
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		headers[step(r)] = r.Header
		if step(r) == "complete" {
			body, _ := io.ReadAll(r.Body)
			completed = string(body)
		}
		if step(r) == "part 1" {
			w.Header().Set("x-amz-checksum-crc32", "jNW4ww==")
		}
		accept(w, r)
	}))
	t.Cleanup(web.Close)
	s := s3.New(awss3.New(awss3.Options{
		Region: "us-east-1", BaseEndpoint: &web.URL, UsePathStyle: true,
		Credentials:                credentials.NewStaticCredentialsProvider("test", "test", ""),
		RequestChecksumCalculation: aws.RequestChecksumCalculationWhenSupported,
	}))
	if _, err := one(t, s, storage.PutOptions{}).Complete(t.Context()); err != nil {
		t.Fatal(err)
	}
	if h := headers["create"]; h.Get("x-amz-checksum-algorithm") != "CRC32" || h.Get("x-amz-checksum-type") != "FULL_OBJECT" {
		t.Errorf("the upload began with %v", h)
	}
	if h := headers["part 1"]; h.Get("x-amz-checksum-crc32") == "" && h.Get("x-amz-trailer") != "x-amz-checksum-crc32" {
		t.Errorf("the part came with %v", h)
	}
	if !strings.Contains(completed, "<ChecksumCRC32>jNW4ww==</ChecksumCRC32>") {
		t.Errorf("the upload was completed by %s", completed)
	}
}

func TestRangeOfASmallObjectIsReadAndPut(t *testing.T) {
	var calls []string
	s := open(t, func(w http.ResponseWriter, r *http.Request) {
		what := step(r)
		if what == http.MethodGet {
			what = fmt.Sprintf("get %s if %s", r.Header.Get("Range"), r.Header.Get("If-Match"))
			w.Header().Set("Content-Range", "bytes 2-3/10")
			_, _ = w.Write([]byte("23"))
		}
		calls = append(calls, what)
		accept(w, r)
	})
	u := one(t, s, storage.PutOptions{})
	if err := u.CopyPart(t.Context(), 2, storage.Info{Ref: storage.Ref{Bucket: "other", Key: "small"}, Size: 10, ETag: "e"}, 2, 2); err != nil {
		t.Fatal(err)
	}
	if want := `[create part 1 get bytes=2-3 if "e" part 2]`; fmt.Sprint(calls) != want {
		t.Errorf("the calls were %v, want %s", calls, want)
	}
}

func TestARangeThatAServerCanNotCopyIsReadAndPut(t *testing.T) {
	for _, code := range []string{"InvalidArgument", "InvalidRequest", "NotImplemented"} {
		var calls []string
		s := open(t, func(w http.ResponseWriter, r *http.Request) {
			what := step(r)
			calls = append(calls, what)
			switch {
			case what == http.MethodGet:
				w.Header().Set("Content-Range", "bytes 2-3/20000000")
				_, _ = w.Write([]byte("23"))
			case strings.HasPrefix(what, "copy"):
				refuse(w, r, http.StatusBadRequest, code)
			default:
				accept(w, r)
			}
		})
		u := one(t, s, storage.PutOptions{})
		if err := u.CopyPart(t.Context(), 2, storage.Info{Ref: storage.Ref{Bucket: "other", Key: "large"}, Size: 20_000_000, ETag: "e"}, 2, 2); err != nil {
			t.Fatal(err)
		}
		if want := `[create part 1 copy 2 GET part 2]`; fmt.Sprint(calls) != want {
			t.Errorf("%s: the calls were %v, want %s", code, calls, want)
		}
	}
}

func TestErrorsOfACompletionAreSortedByMeaning(t *testing.T) {
	transient := errors.New("none of the contract's errors")
	for _, test := range []struct {
		status int
		code   string
		want   error
	}{
		{http.StatusConflict, "ConditionalRequestConflict", storage.ErrConflict},
		{http.StatusPreconditionFailed, "PreconditionFailed", storage.ErrPrecondition},
		{http.StatusNotFound, "NoSuchUpload", fs.ErrNotExist},
		{http.StatusBadRequest, "InvalidPart", storage.ErrConflict},
		{http.StatusBadRequest, "EntityTooSmall", fs.ErrInvalid},
		{http.StatusServiceUnavailable, "SlowDown", transient},
		{http.StatusOK, "InternalError", transient}, // S3 may fail when it has begun to answer
	} {
		s := open(t, func(w http.ResponseWriter, r *http.Request) {
			if step(r) == "complete" {
				refuse(w, r, test.status, test.code)
				return
			}
			accept(w, r)
		})
		_, err := one(t, s, storage.PutOptions{IfNoneMatch: true}).Complete(t.Context())
		if got := meaning(err, transient); got != test.want {
			t.Errorf("%s gave %v, which means %v; want %v", test.code, err, got, test.want)
		}
	}
}

func TestCompletionThatFailsAsItIsAnsweredIsTriedAgain(t *testing.T) {
	n := 0
	s := open(t, func(w http.ResponseWriter, r *http.Request) {
		if step(r) == "complete" {
			if n++; n < 3 {
				refuse(w, r, http.StatusOK, "InternalError")
				return
			}
		}
		accept(w, r)
	})
	if info, err := one(t, s, storage.PutOptions{}).Complete(t.Context()); err != nil || info.ETag != "whole-3" {
		t.Errorf("complete gave %+v and %v after %d calls", info, err, n)
	}
}

// TestCompletionMayMeetItsOwnObjectAfterALostReply has the three answers that
// servers give to the second attempt.
func TestCompletionMayMeetItsOwnObjectAfterALostReply(t *testing.T) {
	for code, test := range map[string]struct {
		status int
		want   error
	}{
		"":                   {http.StatusOK, nil},
		"PreconditionFailed": {http.StatusPreconditionFailed, storage.ErrPrecondition},
		"NoSuchUpload":       {http.StatusNotFound, fs.ErrNotExist},
	} {
		written := false
		s := open(t, func(w http.ResponseWriter, r *http.Request) {
			switch {
			case step(r) == http.MethodHead && written:
				w.Header().Set("ETag", `"whole-3"`)
			case step(r) == "complete" && !written:
				_, _ = io.Copy(io.Discard, r.Body)
				written = true
				panic(http.ErrAbortHandler) // the reply is lost
			case step(r) == "complete" && code != "", step(r) == "abort":
				refuse(w, r, test.status, code)
			default:
				accept(w, r)
			}
		})
		u := one(t, s, storage.PutOptions{IfNoneMatch: true})
		_, err := u.Complete(t.Context())
		if !errors.Is(err, test.want) || test.want == nil && err != nil {
			t.Errorf("complete gave %v, want %v, as the contract warns", err, test.want)
		}
		if info, err := s.Head(t.Context(), ref); err != nil || info.ETag != "whole-3" {
			t.Errorf("head gave %+v and %v, want the object", info, err)
		}
	}
}

func TestAbortOfAnUploadThatIsGoneIsNoError(t *testing.T) {
	s := open(t, func(w http.ResponseWriter, r *http.Request) {
		if step(r) == "abort" {
			refuse(w, r, http.StatusNotFound, "NoSuchUpload")
			return
		}
		accept(w, r)
	})
	if err := one(t, s, storage.PutOptions{}).Abort(t.Context()); err != nil {
		t.Errorf("abort gave %v", err)
	}
}

func TestAbortThatFailsSaysSo(t *testing.T) {
	s := open(t, func(w http.ResponseWriter, r *http.Request) {
		if step(r) == "abort" {
			refuse(w, r, http.StatusForbidden, "AccessDenied")
			return
		}
		accept(w, r)
	})
	if err := one(t, s, storage.PutOptions{}).Abort(t.Context()); !errors.Is(err, storage.ErrForbidden) {
		t.Errorf("abort gave %v, want ErrForbidden", err)
	}
}
