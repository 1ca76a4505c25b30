package manifest_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"
	"testing"

	"github.com/penstock/penstock/storage"
	"github.com/penstock/penstock/storage/manifest"
	"github.com/penstock/penstock/storage/mem"
)

var list = storage.Ref{Bucket: "lists", Key: "list"}

// put makes a store that has the manifest.
func put(t testing.TB, body string) *mem.Store {
	t.Helper()
	store := mem.New("lists")
	if _, err := store.Put(t.Context(), list, []byte(body), storage.PutOptions{}); err != nil {
		t.Fatal(err)
	}
	return store
}

func zipped(s string) string {
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	_, err := z.Write([]byte(s))
	if err := errors.Join(err, z.Close()); err != nil {
		panic(err)
	}
	return b.String()
}

// read reads a manifest from a place to its end, and says what each entry is
// and what the places behind them are.
func read(t testing.TB, store storage.Reader, format manifest.Format, from manifest.Position) (entries []string, places []manifest.Position, err error) {
	t.Helper()
	r, err := manifest.Open(t.Context(), store, list, format, from)
	for err == nil {
		var e manifest.Entry
		if e, err = r.Next(); err != nil {
			break
		}
		text := e.Ref.String()
		if e.Err != nil {
			text = "error: " + e.Err.Error()
		}
		entries, places = append(entries, text), append(places, r.Position())
	}
	if errors.Is(err, io.EOF) {
		err = nil
	}
	return entries, places, err
}

func TestManifestsAreReadInEachFormatFromEveryPlace(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name, body string
		format     manifest.Format
		want       []string
	}{
		{
			"SageMaker's", `[{"prefix": "s3://uploads/in/"}, "a b.png", "c%20d/é.png", "\u00fc\n"]`, "",
			[]string{"s3://uploads/in/a b.png", "s3://uploads/in/c%20d/é.png", "s3://uploads/in/ü\n"},
		},
		{
			"SageMaker's with a prefix that is no folder", "\xef\xbb\xbf \n[ {\"prefix\": \"s3://uploads/in/2026-\"} ,\n\"01\"\n,\n\"02\"\n]\n", "",
			[]string{"s3://uploads/in/2026-01", "s3://uploads/in/2026-02"},
		},
		{
			"SageMaker's with two prefixes and none", `["s3://more/x",{"prefix":"s3://uploads/"},"a",{"prefix":"s3://more/"},"b"]`, "",
			[]string{"s3://more/x", "s3://uploads/a", "s3://more/b"},
		},
		{
			"SageMaker's with bad entries between", `[{"prefix":"s3://uploads/"},"a",7,{"prefx":1},["b"],"c"]`, "",
			[]string{
				"s3://uploads/a", `error: element 3: 7 is neither a key nor {"prefix": "s3://bucket/"}`,
				`error: element 4: {"prefx":1} is neither a key nor {"prefix": "s3://bucket/"}`, `error: element 5: ["b"] is neither a key nor {"prefix": "s3://bucket/"}`, "s3://uploads/c",
			},
		},
		{"SageMaker's of nothing", `[]`, "", nil},
		{"SageMaker's of a prefix alone", `[{"prefix":"s3://uploads/"}]`, "", nil},
		{"a key without a prefix", `["a"]`, "", []string{`error: element 1: the key "a" has no {"prefix": "s3://bucket/"} before it`}},
		{
			"S3 Batch Operations'", "uploads,in/a%20b.png\n\"uploads\",\"in/c+d%2Be%2Cf.png\"\r\nuploads,x,3/L4kqtJlcpXroDTDmJ+rmSpXd3dIbrHY\nuploads,y,null\nuploads,in/%E6%97%A5", "",
			[]string{
				"s3://uploads/in/a b.png", "s3://uploads/in/c d+e,f.png", "s3://uploads/x?versionId=3/L4kqtJlcpXroDTDmJ+rmSpXd3dIbrHY",
				"s3://uploads/y", "s3://uploads/in/日",
			},
		},
		{
			"S3 Batch Operations' with bad lines between", "uploads,a\nuploads\nup,b\nuploads,%zz\nuploads,\"c\nuploads,d,e,f\nuploads,\nuploads,z", "",
			[]string{
				"s3://uploads/a", "error: line 2: it has 1 columns; it must have the bucket, the key and, for a version, its id",
				`error: line 3: the bucket name "up" must have 3 to 63 characters`, `error: line 4: the key "%zz" is not URL-encoded: invalid URL escape "%zz"`,
				`error: line 5: it is no CSV: extraneous or missing " in quoted-field`,
				"error: line 6: it has 4 columns; it must have the bucket, the key and, for a version, its id",
				"error: line 7: s3://uploads/ names a bucket, not an object", "s3://uploads/z",
			},
		},
		{
			"plain", "\xef\xbb\xbfs3://uploads/in/a b.png\n\n  \r\ns3://uploads/in/c%20+.png\r\nin/d\ns3://uploads/e", "",
			[]string{"s3://uploads/in/a b.png", "s3://uploads/in/c%20+.png", `error: line 5: "in/d" is not an S3 URI: it must begin with s3://`, "s3://uploads/e"},
		},
		{"plain, said so", "in/d\ns3://uploads/e", manifest.List, []string{`error: line 1: "in/d" is not an S3 URI: it must begin with s3://`, "s3://uploads/e"}},
		{"plain, by its other name", "s3://uploads/e", "lines", []string{"s3://uploads/e"}},
		{"plain with comments", "# of March,\n#" + strings.Repeat("x", 40_000) + "\ns3://uploads/a\n#s3://uploads/b\n #c", "", []string{"s3://uploads/a", `error: line 5: "#c" is not an S3 URI: it must begin with s3://`}},
		{"empty", "", "", nil},
		{"of one long line", "s3://uploads/a\ns3://uploads/" + strings.Repeat("x", 40_000) + "\ns3://uploads/b", "", []string{"s3://uploads/a", "error: line 2: it is longer than 16384 bytes", "s3://uploads/b"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			for _, body := range []string{test.body, zipped(test.body)} {
				store := put(t, body)
				got, places, err := read(t, store, test.format, manifest.Position{})
				if err != nil || fmt.Sprintf("%q", got) != fmt.Sprintf("%q", test.want) {
					t.Fatalf("read\n%q, %v; want\n%q", got, err, test.want)
				}
				for i, place := range places {
					rest, _, err := read(t, store, "", place)
					if err != nil || fmt.Sprintf("%q", rest) != fmt.Sprintf("%q", test.want[i+1:]) {
						t.Errorf("from %+v it reads\n%q, %v; want\n%q", place, rest, err, test.want[i+1:])
					}
				}
			}
		})
	}
}

func TestAManifestThatCanNotBeReadSaysWhy(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ name, body, why string }{
		{"gzip that is none", "\x1f\x8b\x08\x00", "gzip"},
		{"gzip that was cut", zipped(strings.Repeat("s3://uploads/a\n", 5000))[:60], "gzip"},
		{"text of no format", "what is this\n", `its first line, "what is this"`},
		{"S3 Inventory's own", `{"sourceBucket":"b","files":[]}`, "S3 Inventory"},
		{"cut", `[{"prefix":"s3://uploads/"},"a",`, "ends before"},
		{"cut in a string", `[{"prefix":"s3://uploads/"},"a`, "ends before"},
		{"no array behind its beginning", `["s3://uploads/a" "s3://uploads/b"]`, "no JSON array"},
		{"a prefix that is no URI", `[{"prefix":"uploads/"},"a"]`, ""},
		{"an element without end", `["` + strings.Repeat("x", 1<<20) + `"]`, "more than 16384 bytes"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			got, _, err := read(t, put(t, test.body), "", manifest.Position{})
			if test.why == "" {
				if err != nil || !strings.HasPrefix(got[0], "error: ") {
					t.Errorf("read %q, %v", got, err)
				}
				return
			}
			if _, ok := errors.AsType[*manifest.Error](err); !ok || !strings.Contains(err.Error(), test.why) {
				t.Errorf("error is %v, want an Error that says %q", err, test.why)
			}
		})
	}
	if _, err := manifest.Open(t.Context(), mem.New("lists"), list, "", manifest.Position{}); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a manifest that is not there gives %v", err)
	}
	if _, err := manifest.Open(t.Context(), put(t, "x"), list, "yaml", manifest.Position{}); err == nil || !strings.Contains(err.Error(), `"yaml"`) {
		t.Errorf("a format that is none gives %v", err)
	}
	for body, at := range map[string]manifest.Position{"s3://x": {Offset: 9}, zipped("s3://x"): {Offset: 9, Gzip: true}} {
		if _, err := manifest.Open(t.Context(), put(t, body), list, manifest.List, at); err == nil || !strings.Contains(err.Error(), "no place 9") {
			t.Errorf("a place behind the end gives %v", err)
		}
	}
}

// overwriting replaces the manifest before the nth read of its bytes.
type overwriting struct {
	*mem.Store
	before int
}

func (s *overwriting) Get(ctx context.Context, ref storage.Ref, opts storage.GetOptions) (*storage.Object, error) {
	if s.before--; s.before == 0 {
		if _, err := s.Put(ctx, ref, []byte("other"), storage.PutOptions{}); err != nil {
			return nil, err
		}
	}
	return s.Store.Get(ctx, ref, opts)
}

func TestAManifestIsReadInOneVersionAndInChunks(t *testing.T) {
	t.Parallel()
	body := strings.Repeat("s3://uploads/in/"+strings.Repeat("x", 83)+"\n", 25_000) // 2.5 MB
	got, _, err := read(t, put(t, body), "", manifest.Position{})
	if err != nil || len(got) != 25_000 {
		t.Errorf("%d entries, %v; want 25000", len(got), err)
	}
	got, _, err = read(t, &overwriting{put(t, body), 2}, "", manifest.Position{})
	if _, ok := errors.AsType[*manifest.Error](err); !ok || !errors.Is(err, manifest.ErrChanged) || len(got) >= 25_000 {
		t.Errorf("%d entries of a manifest that was overwritten meanwhile, error %v", len(got), err)
	}
}

// cut ends the nth body before its end, as a lost connection does.
type cut struct {
	*mem.Store
	nth int
}

func (s *cut) Get(ctx context.Context, ref storage.Ref, opts storage.GetOptions) (*storage.Object, error) {
	o, err := s.Store.Get(ctx, ref, opts)
	if s.nth--; s.nth == 0 && err == nil {
		o.Body = io.NopCloser(io.LimitReader(o.Body, 1000))
	}
	return o, err
}

// Who meets such a fault may go on from the last place; who took it for the
// manifest's would give up, or worse, take it for the end.
func TestAFaultOfTheStoreIsNotTheManifests(t *testing.T) {
	t.Parallel()
	var uris strings.Builder
	for i := range 60_000 {
		fmt.Fprintf(&uris, "s3://uploads/in/%d-%x\n", i, sha256.Sum256([]byte{byte(i), byte(i >> 8)}))
	}
	array := `["` + strings.ReplaceAll(strings.TrimSpace(uris.String()), "\n", `","`) + `"]`
	for name, body := range map[string]string{
		"list": uris.String(), "array": array, "list, compressed": zipped(uris.String()), "array, compressed": zipped(array),
	} {
		for nth := 1; nth <= 2; nth++ {
			store := &cut{put(t, body), nth}
			got, places, err := read(t, store, "", manifest.Position{})
			if _, ok := errors.AsType[*manifest.Error](err); ok || !errors.Is(err, io.ErrUnexpectedEOF) {
				t.Fatalf("%s: a body that was cut off gives %v", name, err)
			}
			var at manifest.Position
			if len(places) > 0 {
				at = places[len(places)-1]
			}
			rest, _, err := read(t, store, "", at)
			if err != nil || len(got)+len(rest) != 60_000 || rest[len(rest)-1] != fmt.Sprintf("s3://uploads/in/59999-%x", sha256.Sum256([]byte{95, 234})) {
				t.Errorf("%s: %d entries, and %d from there, error %v", name, len(got), len(rest), err)
			}
		}
	}
}

// FuzzRead holds: whatever a manifest is, reading it ends, and to go on from
// any place in it gives the rest.
func FuzzRead(f *testing.F) {
	for _, body := range []string{
		`[{"prefix":"s3://uploads/"},"a", "b"]`, "uploads,a\nuploads,b%20,v\n", "s3://uploads/a\n\ns3://uploads/b", "[1,2", "{}", "\xef\xbb\xbf[]", `[[],{"prefix":"s3://x"},""]`, `[[],]`, `["s3://uploads/a" ]`,
	} {
		f.Add(body, "", uint8(1))
		f.Add(body, "sagemaker", uint8(0))
		f.Add(zipped(body), "", uint8(1))
	}
	f.Fuzz(func(t *testing.T, body, format string, n uint8) {
		store := put(t, body)
		all, places, err := read(t, store, manifest.Format(format), manifest.Position{})
		if len(all) == 0 {
			return
		}
		i := int(n) % len(all)
		rest, _, again := read(t, store, "", places[i])
		if fmt.Sprintf("%q", rest) != fmt.Sprintf("%q", all[i+1:]) || (err == nil) != (again == nil) {
			t.Errorf("behind entry %d it reads\n%q, %v; all of it was\n%q, %v", i+1, rest, again, all, err)
		}
	})
}
