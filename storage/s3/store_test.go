package s3_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws/retry"
	"github.com/aws/aws-sdk-go-v2/credentials"
	awss3 "github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/penstock/penstock/storage"
	"github.com/penstock/penstock/storage/s3"
)

var ref = storage.Ref{Bucket: "bucket", Key: "dir/key"}

// open gives a store on a server that answers with handle, one call after the
// other: one that is made again can come before the connection that was cut under
// the first is done with.
func open(t *testing.T, handle http.HandlerFunc) *s3.Store {
	t.Helper()
	var mu sync.Mutex
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		handle(w, r)
	}))
	t.Cleanup(web.Close)
	return s3.New(awss3.New(awss3.Options{
		Region:       "us-east-1",
		BaseEndpoint: &web.URL,
		UsePathStyle: true,
		Credentials:  credentials.NewStaticCredentialsProvider("test", "test", ""),
		Retryer:      retry.AddWithMaxBackoffDelay(retry.NewStandard(), time.Millisecond),
	}))
}

// refuse writes an error as S3 does: to a HEAD without the code.
func refuse(w http.ResponseWriter, r *http.Request, status int, code string) {
	w.Header().Set("Content-Type", "application/xml")
	w.WriteHeader(status)
	if r.Method != http.MethodHead && code != "" {
		fmt.Fprintf(w, "<Error><Code>%s</Code><Message>because</Message></Error>", code)
	}
}

// each makes every call on a store.
func each(ctx context.Context, s *s3.Store, ref storage.Ref) map[string]error {
	_, headErr := s.Head(ctx, ref)
	_, getErr := s.Get(ctx, ref, storage.GetOptions{})
	_, putErr := s.Put(ctx, storage.Ref{Bucket: ref.Bucket, Key: ref.Key}, []byte("x"), storage.PutOptions{})
	var listErr error
	for _, err := range s.List(ctx, ref, "") {
		listErr = err
	}
	return map[string]error{
		"head": headErr, "get": getErr, "put": putErr, "list": listErr,
		"delete": s.Delete(ctx, ref, storage.DeleteOptions{IfMatch: "e"}),
	}
}

func TestErrorsAreSortedByMeaning(t *testing.T) {
	transient := errors.New("none of the contract's errors")
	for _, test := range []struct {
		status int
		code   string
		want   error
	}{
		{404, "NoSuchKey", fs.ErrNotExist},
		{404, "NoSuchBucket", fs.ErrNotExist},
		{404, "NoSuchVersion", fs.ErrNotExist},
		{404, "", fs.ErrNotExist},
		{412, "PreconditionFailed", storage.ErrPrecondition},
		{416, "InvalidRange", storage.ErrPrecondition},
		{304, "", storage.ErrPrecondition},
		{403, "AccessDenied", storage.ErrForbidden},
		{403, "", storage.ErrForbidden},
		{403, "InvalidObjectState", storage.ErrForbidden},
		{403, "InvalidAccessKeyId", transient},
		{403, "SignatureDoesNotMatch", transient},
		{400, "ExpiredToken", transient},
		{503, "SlowDown", transient},
		{500, "InternalError", transient},
		{400, "BadRequest", transient},
		{400, "InvalidRequest", transient},
		{400, "KeyTooLongError", fs.ErrInvalid},
		{400, "XMinioInvalidObjectName", fs.ErrInvalid},
		{400, "KMS.DisabledException", storage.ErrForbidden},
		{301, "PermanentRedirect", transient},
	} {
		t.Run(fmt.Sprint(test.status, test.code), func(t *testing.T) {
			s := open(t, func(w http.ResponseWriter, r *http.Request) { refuse(w, r, test.status, test.code) })
			for step, err := range each(t.Context(), s, ref) {
				if got := meaning(err, transient); got != test.want {
					t.Errorf("%s gave %v, which means %v; want %v", step, err, got, test.want)
				}
				if !strings.Contains(fmt.Sprint(err), ref.String()) {
					t.Errorf("%s gave %v, which does not name the object", step, err)
				}
			}
		})
	}
}

// meaning is the one error of the contract that err is.
func meaning(err, transient error) error {
	for _, known := range []error{fs.ErrNotExist, fs.ErrInvalid, storage.ErrPrecondition, storage.ErrConflict, storage.ErrForbidden} {
		if errors.Is(err, known) {
			return known
		}
	}
	if err == nil {
		return nil
	}
	return transient
}

func TestADeletionOnAConditionThatTheServerDoesNotHaveIsSaidAsSuch(t *testing.T) {
	s := open(t, func(w http.ResponseWriter, r *http.Request) {
		refuse(w, r, http.StatusNotImplemented, "NotImplemented")
	})
	if err := s.Delete(t.Context(), ref, storage.DeleteOptions{IfMatch: "e"}); !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("on a condition: %v, want ErrUnsupported", err)
	}
	if err := s.Delete(t.Context(), ref, storage.DeleteOptions{}); err == nil || errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("without one: %v, want a transient error", err)
	}
}

func TestErrorsOfWritesAreSortedByMeaning(t *testing.T) {
	for code, want := range map[string]error{
		"ConditionalRequestConflict": storage.ErrConflict,
		"OperationAborted":           storage.ErrConflict,
		"ExistingObjectIsDirectory":  fs.ErrInvalid,
	} {
		s := open(t, func(w http.ResponseWriter, r *http.Request) { refuse(w, r, http.StatusConflict, code) })
		if _, err := s.Put(t.Context(), ref, nil, storage.PutOptions{IfNoneMatch: true}); !errors.Is(err, want) {
			t.Errorf("%s gave %v, want %v", code, err, want)
		}
	}
}

// One such object must not look like a fault of the store: workers stop
// receiving for that.
func TestAnObjectThatIsLockedSaysSoAndWhatToDo(t *testing.T) {
	for _, test := range []struct {
		status                     int
		code, message, why, remedy string
	}{
		{403, "InvalidObjectState", "The operation is not valid for the object's storage class", "archived", "restore"},
		{400, "KMS.DisabledException", "arn:aws:kms:eu-west-1:1:key/k is disabled.", "KMS.DisabledException", "key"},
		{400, "KMS.KMSInvalidStateException", "arn:aws:kms:eu-west-1:1:key/k is pending deletion.", "KMS.KMSInvalidStateException", "key"},
		{400, "KMS.NotFoundException", "Invalid arn", "KMS.NotFoundException", "key"},
		{400, "InvalidRequest", "The object was stored using a form of Server Side Encryption. The correct parameters must be provided to retrieve the object.", "SSE-C", "SSE-KMS"},
	} {
		s := open(t, func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "application/xml")
			w.WriteHeader(test.status)
			if r.Method != http.MethodHead {
				fmt.Fprintf(w, "<Error><Code>%s</Code><Message>%s</Message></Error>", test.code, test.message)
			}
		})
		_, headErr := s.Head(t.Context(), ref)
		_, getErr := s.Get(t.Context(), ref, storage.GetOptions{})
		for _, err := range []error{headErr, getErr} {
			locked, ok := errors.AsType[*storage.LockedError](err)
			if !ok || !errors.Is(err, storage.ErrForbidden) {
				t.Errorf("%s gave %v, want a LockedError that is ErrForbidden", test.code, err)
				continue
			}
			if !strings.Contains(locked.Why, test.why) || !strings.Contains(locked.Remedy, test.remedy) || strings.Contains(err.Error(), "s3:ListBucket") {
				t.Errorf("%s gave %v; to do: %s", test.code, err, locked.Remedy)
			}
		}
	}
}

// Servers on file systems answer such keys with a 400 or a 500 that says
// nothing, each time anew.
func TestAKeyThatNoFileSystemHoldsIsInvalidThere(t *testing.T) {
	for _, status := range []int{http.StatusBadRequest, http.StatusInternalServerError} {
		s := open(t, func(w http.ResponseWriter, r *http.Request) { refuse(w, r, status, "") })
		for key, invalid := range map[string]bool{"..": true, "in/.": true, "../in/x": true, "in/a\x00b": true, "in/...": false, "in/a..b": false} {
			_, err := s.Get(t.Context(), storage.Ref{Bucket: "bucket", Key: key}, storage.GetOptions{})
			if err == nil || errors.Is(err, fs.ErrInvalid) != invalid {
				t.Errorf("%d for the key %q gave %v; is it to be fs.ErrInvalid: %t", status, key, err, invalid)
			}
		}
	}
}

func TestVersionThatIsADeleteMarkerDoesNotExist(t *testing.T) {
	s := open(t, func(w http.ResponseWriter, r *http.Request) {
		refuse(w, r, http.StatusMethodNotAllowed, "MethodNotAllowed")
	})
	version := ref
	version.Version = "v"
	_, headErr := s.Head(t.Context(), version)
	_, getErr := s.Get(t.Context(), version, storage.GetOptions{})
	if !errors.Is(headErr, fs.ErrNotExist) || !errors.Is(getErr, fs.ErrNotExist) {
		t.Errorf("head gave %v and get %v, want fs.ErrNotExist", headErr, getErr)
	}
}

func TestRefusedHeadIsExplainedByAGet(t *testing.T) {
	for code, forbidden := range map[string]bool{"AccessDenied": true, "InvalidAccessKeyId": false, "SignatureDoesNotMatch": false} {
		var ranges []string
		s := open(t, func(w http.ResponseWriter, r *http.Request) {
			if r.Method == http.MethodGet {
				ranges = append(ranges, r.Header.Get("Range"))
			}
			refuse(w, r, http.StatusForbidden, code)
		})
		_, err := s.Head(t.Context(), ref)
		if errors.Is(err, storage.ErrForbidden) != forbidden || !strings.Contains(fmt.Sprint(err), code) {
			t.Errorf("%s gave %v; is it to be ErrForbidden: %t", code, err, forbidden)
		}
		if fmt.Sprint(ranges) != "[bytes=0-0]" {
			t.Errorf("the ranges read are %q, want one byte", ranges)
		}
	}
}

func TestHeadRefusedForAMomentIsTransient(t *testing.T) {
	s := open(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodHead {
			refuse(w, r, http.StatusForbidden, "")
		}
	})
	if _, err := s.Head(t.Context(), ref); err == nil || errors.Is(err, storage.ErrForbidden) {
		t.Errorf("head gave %v, want a transient error", err)
	}
}

func TestForbiddenReadSaysWhatElseItMayBe(t *testing.T) {
	s := open(t, func(w http.ResponseWriter, r *http.Request) { refuse(w, r, http.StatusForbidden, "AccessDenied") })
	if _, err := s.Get(t.Context(), ref, storage.GetOptions{}); !strings.Contains(fmt.Sprint(err), "s3:ListBucket") {
		t.Errorf("get gave %v, want a hint at s3:ListBucket", err)
	}
}

func TestThrottledCallsAreTriedAgain(t *testing.T) {
	var bodies []string
	s := open(t, func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		if bodies = append(bodies, string(body)); len(bodies) < 3 {
			refuse(w, r, http.StatusServiceUnavailable, "SlowDown")
			return
		}
		w.Header().Set("ETag", `"e"`)
	})
	info, err := s.Put(t.Context(), ref, []byte("whole"), storage.PutOptions{})
	if err != nil || info.ETag != "e" {
		t.Fatalf("put gave %+v and %v", info, err)
	}
	if fmt.Sprint(bodies) != "[whole whole whole]" {
		t.Errorf("the bodies sent are %q, want the whole one three times", bodies)
	}
}

func TestPutMayMeetItsOwnObjectAfterALostReply(t *testing.T) {
	written := false
	s := open(t, func(w http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		if written {
			refuse(w, r, http.StatusPreconditionFailed, "PreconditionFailed")
			return
		}
		written = true
		panic(http.ErrAbortHandler) // the reply is lost
	})
	_, err := s.Put(t.Context(), ref, []byte("x"), storage.PutOptions{IfNoneMatch: true})
	if !errors.Is(err, storage.ErrPrecondition) {
		t.Errorf("put gave %v, want ErrPrecondition, as the contract warns", err)
	}
}

func TestPutSendsConditionsAndMetadata(t *testing.T) {
	var got http.Header
	s := open(t, func(w http.ResponseWriter, r *http.Request) {
		got = r.Header
		w.Header().Set("ETag", `"e2"`)
		w.Header().Set("x-amz-version-id", "v2")
	})
	info, err := s.Put(t.Context(), ref, []byte("body"), storage.PutOptions{
		ContentType: "text/plain", ContentEncoding: "br", IfMatch: "e1",
		Metadata: map[string]string{"Name": "Größe"},
	})
	if err != nil {
		t.Fatal(err)
	}
	if info.ETag != "e2" || info.Size != 4 || info.Ref.Version != "v2" {
		t.Errorf("put gave %+v", info)
	}
	for name, want := range map[string]string{
		"If-Match": `"e1"`, "If-None-Match": "", "Content-Type": "text/plain", "Content-Encoding": "br",
		"X-Amz-Meta-Name": "=?utf-8?b?R3LDtsOfZQ==?=",
	} {
		if got.Get(name) != want {
			t.Errorf("%s is %q, want %q", name, got.Get(name), want)
		}
	}
	if _, err := s.Put(t.Context(), ref, nil, storage.PutOptions{IfNoneMatch: true}); err != nil {
		t.Fatal(err)
	}
	if got.Get("If-None-Match") != "*" || got.Get("If-Match") != "" {
		t.Errorf("the headers of a new object are %v", got)
	}
}

func TestHeadersAreRead(t *testing.T) {
	s := open(t, func(w http.ResponseWriter, _ *http.Request) {
		h := w.Header()
		h.Set("ETag", `W/"e-2"`)
		h.Set("Content-Encoding", "aws-chunked, gzip")
		h.Set("Content-Type", "image/png")
		h.Set("Content-Length", "4")
		h.Set("Last-Modified", "Thu, 01 Jan 2026 00:00:00 GMT")
		h.Set("x-amz-version-id", "v1")
		h.Set("x-amz-meta-One", "=?UTF-8?B?R3LDtsOfZQ==?=")
		h.Set("x-amz-meta-two", "=?broken")
		w.Write([]byte("body"))
	})
	head, err := s.Head(t.Context(), ref)
	if err != nil {
		t.Fatal(err)
	}
	object, err := s.Get(t.Context(), ref, storage.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer object.Body.Close()
	for step, info := range map[string]storage.Info{"head": head, "get": object.Info} {
		if info.Ref.Version != "v1" || info.Size != 4 || info.ETag != "e-2" || info.ContentType != "image/png" ||
			info.ContentEncoding != "gzip" || !info.Modified.Equal(time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)) {
			t.Errorf("%s gave %+v", step, info)
		}
		if want := map[string]string{"one": "Größe", "two": "=?broken"}; !maps.Equal(info.Metadata, want) {
			t.Errorf("%s: metadata is %q, want %q", step, info.Metadata, want)
		}
	}
}

func TestGetRefusesARangeThatIsNotTheOneAskedFor(t *testing.T) {
	for _, contentRange := range []string{"", "bytes 0-3/4", "bytes 20-29/100", "bytes 2-3/*"} {
		s := open(t, func(w http.ResponseWriter, _ *http.Request) {
			if contentRange != "" {
				w.Header().Set("Content-Range", contentRange)
			}
			w.Write([]byte("body"))
		})
		if _, err := s.Get(t.Context(), ref, storage.GetOptions{Offset: 2}); err == nil {
			t.Errorf("a reply with Content-Range %q gave no error", contentRange)
		}
	}
}

func TestBodyCutShortIsAnError(t *testing.T) {
	s := open(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", "100")
		w.Write([]byte("a part"))
	})
	object, err := s.Get(t.Context(), ref, storage.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer object.Body.Close()
	if _, err := io.ReadAll(object.Body); err == nil {
		t.Error("the body was read without an error")
	}
}

func TestListDecodesKeysAndTurnsPages(t *testing.T) {
	var queries []string
	s := open(t, func(w http.ResponseWriter, r *http.Request) {
		q := r.URL.Query()
		queries = append(queries, fmt.Sprintf("%s after %s from %s as %s", q.Get("prefix"), q.Get("start-after"), q.Get("continuation-token"), q.Get("encoding-type")))
		more := q.Get("continuation-token") == ""
		fmt.Fprintf(w, `<ListBucketResult><EncodingType>url</EncodingType><IsTruncated>%t</IsTruncated><NextContinuationToken>t2</NextContinuationToken>
			<Contents><Key>dir/a+b%%2Bc%%0A%d</Key><Size>%d</Size><ETag>&quot;e&quot;</ETag><LastModified>2026-01-01T00:00:00Z</LastModified></Contents></ListBucketResult>`,
			more, len(queries), len(queries))
	})
	var got []string
	for info, err := range s.List(t.Context(), storage.Ref{Bucket: "bucket", Key: "dir/"}, "dir/a") {
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, fmt.Sprintf("%q %d %s %d", info.Ref.Key, info.Size, info.ETag, info.Modified.Year()))
	}
	if want := []string{`"dir/a b+c\n1" 1 e 2026`, `"dir/a b+c\n2" 2 e 2026`}; fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("the list is %q, want %q", got, want)
	}
	if want := []string{"dir/ after dir/a from  as url", "dir/ after dir/a from t2 as url"}; fmt.Sprint(queries) != fmt.Sprint(want) {
		t.Errorf("the queries are %q, want %q", queries, want)
	}
}

func TestListStopsAtAnError(t *testing.T) {
	calls := 0
	s := open(t, func(w http.ResponseWriter, r *http.Request) {
		if calls++; calls > 1 {
			refuse(w, r, http.StatusForbidden, "AccessDenied")
			return
		}
		fmt.Fprint(w, `<ListBucketResult><IsTruncated>true</IsTruncated><NextContinuationToken>t</NextContinuationToken><Contents><Key>a</Key></Contents></ListBucketResult>`)
	})
	var keys []string
	var errs []error
	for info, err := range s.List(t.Context(), storage.Ref{Bucket: "bucket"}, "") {
		keys, errs = append(keys, info.Ref.Key), append(errs, err)
	}
	if len(errs) != 2 || errs[0] != nil || !errors.Is(errs[1], storage.ErrForbidden) || keys[1] != "" {
		t.Errorf("the list gave %q and %v, want one key and then ErrForbidden", keys, errs)
	}
}

func TestDeleteOfAMissingObjectIsNoError(t *testing.T) {
	s := open(t, func(w http.ResponseWriter, r *http.Request) { refuse(w, r, http.StatusNotFound, "NoSuchKey") })
	if err := s.Delete(t.Context(), ref, storage.DeleteOptions{}); err != nil {
		t.Errorf("delete gave %v", err)
	}
	if err := s.Delete(t.Context(), ref, storage.DeleteOptions{IfMatch: "e"}); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a conditional delete gave %v, want fs.ErrNotExist", err)
	}
}
