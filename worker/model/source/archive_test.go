package source

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/penstock/penstock/storage/mem"
)

// pack makes a gzipped archive. A regular file without Size holds its own name.
func pack(t *testing.T, headers ...tar.Header) []byte {
	t.Helper()
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	w := tar.NewWriter(z)
	for _, h := range headers {
		if h.Typeflag != tar.TypeXGlobalHeader {
			h.Mode = 0o644
		}
		if h.Typeflag == tar.TypeReg {
			h.Size = int64(len(h.Name))
		}
		if err := w.WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
		if h.Typeflag == tar.TypeReg {
			if _, err := w.Write([]byte(h.Name)); err != nil {
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

func regular(names ...string) (headers []tar.Header) {
	for _, n := range names {
		headers = append(headers, tar.Header{Name: n, Typeflag: tar.TypeReg})
	}
	return headers
}

func TestOpenUnpacksSageMakersArchive(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	p := filepath.Join(dir, "model.tar.gz")
	b := pack(t, append([]tar.Header{
		{Typeflag: tar.TypeXGlobalHeader, PAXRecords: map[string]string{"comment": "made by git"}},
		{Name: "./export/Servo/7/", Typeflag: tar.TypeDir},
	}, regular("./export/Servo/7/saved_model.pb", "./export/Servo/6/saved_model.pb", "./export/Servo/7/assets/vocab", "code/inference.py", "./._x")...)...)
	writeFile(t, p, string(b))
	got, err := Open(t.Context(), nil, p, filepath.Join(dir, "cache"))
	if err != nil || got.Version != "7" {
		t.Fatalf("got %+v, %v", got, err)
	}
	if b, err := os.ReadFile(filepath.Join(got.Dir, "assets", "vocab")); err != nil || string(b) != "./export/Servo/7/assets/vocab" {
		t.Errorf("its vocabulary is %q, %v", b, err)
	}
}

func TestAnArchiveServesTheVersionThatIsNamed(t *testing.T) {
	t.Parallel()
	store := mem.New("bucket")
	put(t, store, "m.tar.gz", string(pack(t, regular("m/1/saved_model.pb", "m/2/saved_model.pb")...)))
	cache := &Cache{Dir: t.TempDir()}
	for setting, want := range map[string]string{"s3://bucket/m.tar.gz": "2", "s3://bucket/m.tar.gz?versions=1": "1"} {
		s := source(t, setting, store, cache)
		list, _ := versions(t, s)
		if l, graph := fetch(t, s, list[0]); l.Version != want || graph != "m/"+want+"/saved_model.pb" || !list[0].Atomic {
			t.Errorf("%s: version %s with %q, want %s", setting, l.Version, graph, want)
		}
	}
	s := source(t, "s3://bucket/m.tar.gz?versions=3", store, cache)
	list, _ := versions(t, s)
	if _, err := s.Fetch(t.Context(), list[0]); err == nil || !strings.Contains(err.Error(), "no version 3; it has 2, 1") {
		t.Errorf("version 3: %v", err)
	}
}

func TestAnArchivesIDIsItsContents(t *testing.T) {
	t.Parallel()
	p := filepath.Join(t.TempDir(), "m.tgz")
	one, two := pack(t, regular("1/saved_model.pb")...), pack(t, regular("2/saved_model.pb")...)
	s := func() *Source { return source(t, p, nil, &Cache{Dir: t.TempDir()}) }
	var ids []string
	writeFile(t, p, string(one))
	kept := s()
	for _, b := range [][]byte{one, two, one} {
		writeFile(t, p, string(b))
		list, _ := versions(t, kept)
		ids = append(ids, list[0].ID)
		if again, _ := versions(t, s()); again[0].ID != list[0].ID {
			t.Error("another source of the same file has another ID")
		}
	}
	if ids[0] != ids[2] || ids[0] == ids[1] {
		t.Errorf("the IDs are %v", ids)
	}
}

func TestAnArchiveCanNotWriteOutsideAndLeavesNothingHalf(t *testing.T) {
	t.Parallel()
	for name, h := range map[string]tar.Header{
		"parent":      {Name: "../../escaped", Typeflag: tar.TypeReg},
		"parent deep": {Name: "a/../../escaped", Typeflag: tar.TypeReg},
		"sums":        {Name: "../sha256sums", Typeflag: tar.TypeReg},
		"absolute":    {Name: "/escaped", Typeflag: tar.TypeReg},
		"link":        {Name: "x", Typeflag: tar.TypeSymlink, Linkname: "/etc/passwd"},
		"hard":        {Name: "x", Typeflag: tar.TypeLink, Linkname: "1/saved_model.pb"},
		"fifo":        {Name: "x", Typeflag: tar.TypeFifo},
		"device":      {Name: "x", Typeflag: tar.TypeChar},
		"twice":       {Name: "./1/saved_model.pb", Typeflag: tar.TypeReg},
		"a file's":    {Name: "1/saved_model.pb/x", Typeflag: tar.TypeReg},
		"the folder":  {Name: "1/.", Typeflag: tar.TypeReg},
	} {
		dir := t.TempDir()
		p := filepath.Join(dir, "m.tar.gz")
		writeFile(t, p, string(pack(t, append(regular("1/saved_model.pb"), h)...)))
		if got, err := Open(t.Context(), nil, p, filepath.Join(dir, "cache")); err == nil {
			t.Errorf("%s: got %+v, want an error", name, got)
		}
		if entries, _ := os.ReadDir(filepath.Join(dir, "cache")); len(entries) != 0 {
			t.Errorf("%s: %d entries are left in the cache", name, len(entries))
		}
		if entries, _ := os.ReadDir(dir); len(entries) != 2 {
			t.Errorf("%s: something was written beside the cache: %v", name, entries)
		}
	}
}

func TestAnArchiveThatIsCutOffOrDamagedIsRefused(t *testing.T) {
	t.Parallel()
	whole := pack(t, regular("1/saved_model.pb", "1/variables/variables.index", "1/variables/variables.data-00000-of-00001")...)
	lacking := pack(t, regular("1/saved_model.pb", "1/variables/variables.index")...)
	flipped := bytes.Clone(whole)
	flipped[len(flipped)-6] ^= 1 // in the checksum
	for name, b := range map[string][]byte{
		"empty": {}, "no gzip": []byte("PK\x03\x04"), "half": whole[:len(whole)/2], "without its checksum": whole[:len(whole)-8],
		"a wrong checksum": flipped, "a shard lacks": lacking, "no model": pack(t, regular("a/b")...),
	} {
		p := filepath.Join(t.TempDir(), "m.tar.gz")
		writeFile(t, p, string(b))
		if _, err := Open(t.Context(), nil, p, t.TempDir()); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

func TestAnArchiveHasLimits(t *testing.T) {
	t.Parallel()
	var many bytes.Buffer
	z := gzip.NewWriter(&many)
	w := tar.NewWriter(z)
	for range 2*maxFiles + 1 {
		if err := w.WriteHeader(&tar.Header{Name: "d/", Typeflag: tar.TypeDir}); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	cache := &Cache{Dir: t.TempDir()}
	_, err := cache.take(t.Context(), strings.Repeat("a", idLength), 0, func(tr *tree) error { return unpack(tr, &many) })
	if err == nil || !strings.Contains(err.Error(), "more than 20000 entries") {
		t.Errorf("many entries: %v", err)
	}
	// A bomb: 4 MiB of zeros in 4 KiB, where 1 MiB is left.
	for name, in := range map[string]string{"in a file": "1/saved_model.pb", "behind the end": ""} {
		var bomb bytes.Buffer
		z, zeros := gzip.NewWriter(&bomb), make([]byte, 4<<20)
		w := tar.NewWriter(z)
		if in != "" {
			if err := w.WriteHeader(&tar.Header{Name: in, Typeflag: tar.TypeReg, Size: int64(len(zeros))}); err != nil {
				t.Fatal(err)
			}
			_, _ = w.Write(zeros)
		}
		_ = w.Close()
		_, _ = z.Write(zeros)
		_ = z.Close()
		_, err := cache.take(t.Context(), strings.Repeat("b", idLength), 0, func(tr *tree) error {
			tr.left = 1 << 20
			return unpack(tr, &bomb)
		})
		if err == nil || !strings.Contains(err.Error(), "bytes") {
			t.Errorf("a bomb %s: %v", name, err)
		}
	}
}

func FuzzUnpack(f *testing.F) {
	f.Add([]byte("x"))
	f.Fuzz(func(t *testing.T, b []byte) {
		var packed bytes.Buffer
		z := gzip.NewWriter(&packed)
		_, _ = z.Write(b)
		_ = z.Close()
		dir := t.TempDir()
		cache := &Cache{Dir: filepath.Join(dir, "cache")}
		e, err := cache.take(t.Context(), strings.Repeat("c", idLength), 0, func(tr *tree) error {
			tr.left = 1 << 20
			return unpack(tr, &packed)
		})
		if err == nil {
			e.release()
			if err := verify(e.dir); err != nil {
				t.Errorf("what was unpacked is not what was summed up: %v", err)
			}
		}
		if entries, _ := os.ReadDir(dir); len(entries) > 1 {
			t.Errorf("something was written beside the cache: %v", entries)
		}
	})
}
