package source

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/penstock/penstock/storage"
	"github.com/penstock/penstock/storage/mem"
)

func TestParseNamesModels(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		setting string
		want    []Named
	}{
		{"models/digits", []Named{{"digits", "models/digits"}}},
		{"/m/digits/2/", []Named{{"digits", "/m/digits/2/"}}},
		{"s3://bucket/a/digits/", []Named{{"digits", "s3://bucket/a/digits/"}}},
		{"s3://bucket", []Named{{"bucket", "s3://bucket"}}},
		{"d=s3://b/m.tar.gz, e=/x", []Named{{"d", "s3://b/m.tar.gz"}, {"e", "/x"}}},
		{"/m/half.tgz", []Named{{"half", "/m/half.tgz"}}},
		{"/m/k=v/digits", []Named{{"digits", "/m/k=v/digits"}}},
	} {
		got, err := Parse(c.setting)
		if err != nil || !slices.Equal(got, c.want) {
			t.Errorf("Parse(%q) = %v, %v; want %v", c.setting, got, err, c.want)
		}
	}
	for _, bad := range []string{"", " , ", "=x", "a="} {
		if got, err := Parse(bad); err == nil {
			t.Errorf("Parse(%q) = %v, want an error", bad, got)
		}
	}
}

// write makes files below a new directory.
func files(t *testing.T, contents map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, s := range contents {
		p := filepath.Join(dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(p, []byte(s), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func TestOpenTakesTheHighestVersionAndTheNearestModelFile(t *testing.T) {
	t.Parallel()
	dir := files(t, map[string]string{
		"9/saved_model.pb": "nine", "010/saved_model.pb": "ten", "11/variables/x": "no graph",
		"penstock.json": `{"top_k":1,"labels":["a"]}`, "9/penstock.json": `{"top_k":9,"labels":["a"]}`,
	})
	got, err := Open(t.Context(), nil, dir, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	if got.Version != "10" || filepath.Base(got.Dir) != "010" || got.Config.TopK != 1 {
		t.Errorf("got %+v with %+v", got, got.Config)
	}
	got, err = Open(t.Context(), nil, filepath.Join(dir, "9"), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	if got.Version != "9" || got.Config.TopK != 9 {
		t.Errorf("got %+v with %+v", got, got.Config)
	}
}

func TestOpenSaysWhatIsMissing(t *testing.T) {
	t.Parallel()
	dir := files(t, map[string]string{"model.h5": "x"})
	for uri, want := range map[string]string{
		dir:                            "model.export",
		filepath.Join(dir, "nothere"):  "no such file",
		filepath.Join(dir, "model.h5"): "it is a file",
		"s3://bucket/none/":            "no S3 client",
	} {
		if _, err := Open(t.Context(), nil, uri, t.TempDir()); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("Open(%s): %v, want %q in it", uri, err, want)
		}
	}
}

func TestOpenDownloadsOneVersionFromS3(t *testing.T) {
	t.Parallel()
	store := mem.New("bucket")
	for key, s := range map[string]string{
		"m/1/saved_model.pb": "one", "m/2/saved_model.pb": "two", "m/2/variables/v": "vv",
		"m/penstock.json": `{"top_k":3,"labels":["a"]}`, "m/3/variables/v": "half uploaded",
	} {
		if _, err := store.Put(t.Context(), storage.Ref{Bucket: "bucket", Key: key}, []byte(s), storage.PutOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	cache := t.TempDir()
	for range 2 { // the second time from the cache
		got, err := Open(t.Context(), store, "s3://bucket/m", cache)
		if err != nil {
			t.Fatal(err)
		}
		b, _ := os.ReadFile(filepath.Join(got.Dir, "variables", "v"))
		if got.Version != "2" || got.Config.TopK != 3 || string(b) != "vv" {
			t.Errorf("got %+v, %+v, variables %q", got, got.Config, b)
		}
	}
	entries, _ := os.ReadDir(cache)
	if len(entries) != 1 {
		t.Errorf("the cache holds %d entries, want 1", len(entries))
	}
}

func archive(t *testing.T, headers ...tar.Header) []byte {
	t.Helper()
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	w := tar.NewWriter(z)
	for _, h := range headers {
		h.Mode = 0o644
		if h.Typeflag == tar.TypeReg {
			h.Size = 5
		}
		if err := w.WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
		if h.Typeflag == tar.TypeReg {
			if _, err := w.Write([]byte("graph")); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestOpenUnpacksSageMakersArchive(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	p := filepath.Join(dir, "model.tar.gz")
	b := archive(t, tar.Header{Name: "./export/Servo/7/", Typeflag: tar.TypeDir}, tar.Header{Name: "./export/Servo/7/saved_model.pb", Typeflag: tar.TypeReg})
	if err := os.WriteFile(p, b, 0o644); err != nil {
		t.Fatal(err)
	}
	got, err := Open(t.Context(), nil, p, filepath.Join(dir, "cache"))
	if err != nil || got.Version != "7" {
		t.Fatalf("got %+v, %v", got, err)
	}
}

func TestAnArchiveCanNotWriteOutsideAndLeavesNothingHalf(t *testing.T) {
	t.Parallel()
	for name, h := range map[string]tar.Header{
		"parent":   {Name: "../../escaped", Typeflag: tar.TypeReg},
		"absolute": {Name: "/escaped", Typeflag: tar.TypeReg},
		"link":     {Name: "saved_model.pb", Typeflag: tar.TypeSymlink, Linkname: "/etc/passwd"},
		"hard":     {Name: "saved_model.pb", Typeflag: tar.TypeLink, Linkname: "x"},
	} {
		dir := t.TempDir()
		p := filepath.Join(dir, "m.tar.gz")
		if err := os.WriteFile(p, archive(t, tar.Header{Name: "saved_model.pb", Typeflag: tar.TypeReg}, h), 0o644); err != nil {
			t.Fatal(err)
		}
		if got, err := Open(t.Context(), nil, p, filepath.Join(dir, "cache")); err == nil {
			t.Errorf("%s: got %+v, want an error", name, got)
		}
		if entries, _ := os.ReadDir(filepath.Join(dir, "cache")); len(entries) != 0 {
			t.Errorf("%s: %d entries are left in the cache", name, len(entries))
		}
	}
}
