package source

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/penstock/penstock/storage"
	"github.com/penstock/penstock/storage/mem"
)

// files makes files below a new directory.
func files(t *testing.T, contents map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, s := range contents {
		writeFile(t, filepath.Join(dir, filepath.FromSlash(name)), s)
	}
	return dir
}

func writeFile(t *testing.T, name, contents string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, []byte(contents), 0o644); err != nil {
		t.Fatal(err)
	}
}

// bucket makes a store with objects in the bucket "bucket".
func bucket(t *testing.T, contents map[string]string) *mem.Store {
	t.Helper()
	store := mem.New("bucket")
	for key, s := range contents {
		put(t, store, key, s)
	}
	return store
}

func put(t *testing.T, store *mem.Store, key, s string) {
	t.Helper()
	if _, err := store.Put(t.Context(), storage.Ref{Bucket: "bucket", Key: key}, []byte(s), storage.PutOptions{}); err != nil {
		t.Fatal(err)
	}
}

// source makes the only source of a setting.
func source(t *testing.T, setting string, store storage.Reader, cache *Cache) *Source {
	t.Helper()
	named, err := Parse(setting)
	if err != nil {
		t.Fatal(err)
	}
	s, err := New(named[0], store, cache)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// versions lists a source: "2", or "3 lacks FILE".
func versions(t *testing.T, s *Source) (list []Version, names string) {
	t.Helper()
	list, err := s.Versions(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, v := range list {
		name := v.Name
		if v.Missing != "" {
			name += " lacks " + v.Missing
		}
		all = append(all, name)
	}
	return list, strings.Join(all, ", ")
}

// fetch gives what lies beside the graph of a version: the graph's contents.
func fetch(t *testing.T, s *Source, v Version) (Local, string) {
	t.Helper()
	l, err := s.Fetch(t.Context(), v)
	if err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(filepath.Join(l.Dir, GraphFile))
	if err != nil {
		t.Fatal(err)
	}
	return l, string(b)
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
	for named, topK := range map[string]int{"9": 9, "010/": 1} {
		got, err = Open(t.Context(), nil, filepath.Join(dir, named), t.TempDir())
		if err != nil {
			t.Fatal(err)
		}
		if got.Version != trimVersion(strings.Trim(named, "/")) || got.Config.TopK != topK {
			t.Errorf("%s: got %+v with %+v", named, got, got.Config)
		}
	}
}

func TestAFaultOfTheModelFileSaysWhereTheModelIs(t *testing.T) {
	t.Parallel()
	dir := files(t, map[string]string{"3/saved_model.pb": "graph", "penstock.json": `{"top_k": -1}`})
	_, err := Open(t.Context(), nil, dir, t.TempDir())
	fault, ok := errors.AsType[*ModelFileError](err)
	if !ok || fault.Dir != filepath.Join(dir, "3") || filepath.Clean(fault.Place) != dir || !strings.Contains(err.Error(), "top_k") {
		t.Errorf("got %v", err)
	}
}

func TestOpenSaysWhatIsMissing(t *testing.T) {
	t.Parallel()
	dir := files(t, map[string]string{"model.h5": "x", "cut/saved_model.pb": "x", "cut/variables/variables.index": "x"})
	for uri, want := range map[string]string{
		filepath.Join(dir, "nothere"):  "no such file",
		filepath.Join(dir, "model.h5"): "call model.export(DIR)",
		files(t, map[string]string{"a/1/saved_model.pb": "x", "b/saved_model.pb": "x", "c/d/saved_model.pb": "x"}): "several models are there: a/, b/; name one",
		filepath.Join(dir, "cut"): "variables.data-00000-of-00001 is missing",
		"s3://bucket/none/":       "no S3 client",
		files(t, nil):             "model.export",
	} {
		if _, err := Open(t.Context(), nil, uri, t.TempDir()); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("Open(%s): %v, want %q in it", uri, err, want)
		}
	}
}

func TestVersionsAreFoundAlikeInDirectoriesAndS3(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		files map[string]string
		query string
		want  string
	}{
		"numbered":           {map[string]string{"m/2/saved_model.pb": "", "m/10/saved_model.pb": "", "m/003/saved_model.pb": "", "m/notes/x": ""}, "", "2, 3, 10"},
		"unversioned":        {map[string]string{"m/saved_model.pb": "", "m/variables/variables.index": "", "m/variables/variables.data-00000-of-00001": ""}, "", ""},
		"both":               {map[string]string{"m/saved_model.pb": "", "m/4/saved_model.pb": ""}, "", "4"},
		"below":              {map[string]string{"m/export/Servo/7/saved_model.pb": "", "m/export/Servo/8/saved_model.pb": ""}, "", "7, 8"},
		"the nearest counts": {map[string]string{"m/1/saved_model.pb": "", "m/1/old/9/saved_model.pb": "", "m/a/5/saved_model.pb": ""}, "", "1"},
		"twice the same":     {map[string]string{"m/3/saved_model.pb": "", "m/03/saved_model.pb": ""}, "", "3"},
		"no graph yet":       {map[string]string{"m/1/saved_model.pb": "", "m/2/variables/variables.index": ""}, "", "1"},
		"not all shards": {map[string]string{
			"m/1/saved_model.pb": "", "m/1/variables/variables.index": "", "m/1/variables/variables.data-00000-of-00002": "",
			"m/2/saved_model.pb": "", "m/2/variables/variables.data-00000-of-00001": "",
		}, "", "1 lacks variables/variables.data-00001-of-00002, 2 lacks variables/variables.index"},
		"specific": {map[string]string{"m/1/saved_model.pb": "", "m/2/saved_model.pb": "", "m/3/saved_model.pb": ""}, "?versions=1,3,9", "1, 3"},
	} {
		store := bucket(t, c.files)
		for place, s := range map[string]*Source{
			"local": source(t, filepath.Join(files(t, c.files), "m")+c.query, nil, nil),
			"s3":    source(t, "s3://bucket/m"+c.query, store, &Cache{Dir: t.TempDir()}),
		} {
			if _, got := versions(t, s); got != c.want {
				t.Errorf("%s, %s: %q, want %q", name, place, got, c.want)
			}
		}
	}
}

func TestAVersionThatIsNotThereIsNamedWithThoseThatAre(t *testing.T) {
	t.Parallel()
	for want, contents := range map[string]map[string]string{
		"there is no version 3; there is 1, 2":                     {"m/1/saved_model.pb": "", "m/2/saved_model.pb": ""},
		"there is no version 3; there is a model without versions": {"m/saved_model.pb": ""},
	} {
		_, err := source(t, filepath.Join(files(t, contents), "m")+"?versions=3", nil, nil).Versions(t.Context())
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
}

func TestTheIDFollowsTheContent(t *testing.T) {
	t.Parallel()
	dir := files(t, map[string]string{"1/saved_model.pb": "one", "2/saved_model.pb": "two"})
	store := bucket(t, map[string]string{"m/1/saved_model.pb": "one", "m/2/saved_model.pb": "two"})
	for place, c := range map[string]struct {
		source *Source
		write  func(name, contents string)
	}{
		"local": {source(t, dir, nil, nil), func(name, s string) { writeFile(t, filepath.Join(dir, name), s) }},
		"s3":    {source(t, "s3://bucket/m", store, &Cache{Dir: t.TempDir()}), func(name, s string) { put(t, store, "m/"+name, s) }},
	} {
		last, _ := versions(t, c.source)
		for _, step := range []struct {
			file, contents string
			changed        []bool // of versions 1 and 2
		}{
			{"README", "read me", []bool{false, false}},
			{"2/variables/variables.index", "x", []bool{false, true}},
			{"2/saved_model.pb", "longer", []bool{false, true}},
			{"penstock.json", `{"top_k":1}`, []bool{true, true}}, // which takes README in: it may name any file beside it
			{"labels.txt", "a", []bool{true, true}},
			{"1/penstock.json", `{"top_k":2}`, []bool{true, false}},
			{"penstock.json", `{"top_k":33}`, []bool{false, true}},
			{"labels.txt", "aa", []bool{false, true}},
		} {
			c.write(step.file, step.contents)
			now, _ := versions(t, c.source)
			for i := range now {
				if changed := now[i].ID != last[i].ID; changed != step.changed[i] {
					t.Errorf("%s: after %s, version %s changed: %v", place, step.file, now[i].Name, changed)
				}
			}
			last = now
		}
	}
}

func TestADirectoryIsFollowedThroughLinks(t *testing.T) {
	t.Parallel()
	dir := files(t, map[string]string{"releases/a/saved_model.pb": "a", "releases/.b/9/saved_model.pb": "hidden"})
	current := filepath.Join(dir, "current")
	if err := os.Symlink(filepath.Join(dir, "releases"), current); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("a", filepath.Join(dir, "releases", "5")); err != nil {
		t.Fatal(err)
	}
	s := source(t, "m="+current, nil, nil)
	list, names := versions(t, s)
	if names != "5" {
		t.Fatalf("versions %s, want 5", names)
	}
	if _, graph := fetch(t, s, list[0]); graph != "a" {
		t.Errorf("version 5 is %q", graph)
	}
}

func TestFetchDownloadsOneVersionFromS3Once(t *testing.T) {
	t.Parallel()
	store := bucket(t, map[string]string{
		"m/1/saved_model.pb": "one", "m/2/saved_model.pb": "two", "m/2/assets/deep/er/vocab": "a b", "m/2/": "",
		"m/penstock.json": `{"top_k":3,"labels":["a"]}`, "m/labels.txt": "a", "m/3/variables/v": "half uploaded",
	})
	cache := t.TempDir()
	reads := &counted{Store: store}
	for range 2 { // the second time from the cache
		got, err := Open(t.Context(), reads, "s3://bucket/m", cache)
		if err != nil {
			t.Fatal(err)
		}
		b, _ := os.ReadFile(filepath.Join(got.Dir, "assets", "deep", "er", "vocab"))
		if got.Version != "2" || got.Config.TopK != 3 || string(b) != "a b" {
			t.Errorf("got %+v, %+v, the vocabulary %q", got, got.Config, b)
		}
		if b, _ := os.ReadFile(filepath.Join(got.Dir, "..", "labels.txt")); string(b) != "a" {
			t.Errorf("the labels beside the versions are %q", b)
		}
		got.Release()
	}
	if entries, _ := os.ReadDir(cache); len(entries) != 1 || reads.gets != 4 {
		t.Errorf("the cache holds %d entries, want 1, of %d reads, want 4", len(entries), reads.gets)
	}
}

// counted counts reads, and breaks off as its hooks say.
type counted struct {
	*mem.Store
	gets  int
	after func(get int) (n int64, err error) // how many bytes a read gives, and how it ends
	then  func(get int)
}

func (c *counted) Get(ctx context.Context, ref storage.Ref, o storage.GetOptions) (*storage.Object, error) {
	c.gets++
	object, err := c.Store.Get(ctx, ref, o)
	if err == nil && c.after != nil {
		n, end := c.after(c.gets)
		object.Body = io.NopCloser(io.MultiReader(io.LimitReader(object.Body, n), failing{end}))
	}
	if c.then != nil {
		c.then(c.gets)
	}
	return object, err
}

type failing struct{ error }

func (f failing) Read([]byte) (int, error) { return 0, f.error }

func TestADownloadGoesOnWhereItBroke(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		store := &counted{Store: bucket(t, map[string]string{"m/saved_model.pb": strings.Repeat("0123456789", 10)})}
		broken := errors.New("connection reset")
		store.after = func(get int) (int64, error) {
			if get%3 == 0 {
				return 0, broken
			}
			return 7, broken
		}
		_, graph := fetchOnly(t, store, t.TempDir())
		if graph != strings.Repeat("0123456789", 10) {
			t.Errorf("got %q", graph)
		}
		store.after = func(int) (int64, error) { return 0, broken }
		s := source(t, "s3://bucket/m", store, &Cache{Dir: t.TempDir()})
		list, _ := versions(t, s)
		if _, err := s.Fetch(t.Context(), list[0]); !errors.Is(err, broken) || !strings.Contains(err.Error(), "download s3://bucket/m/saved_model.pb") {
			t.Errorf("a store that gives nothing: %v", err)
		}
	})
}

func fetchOnly(t *testing.T, store storage.Reader, cache string) (Local, string) {
	t.Helper()
	s := source(t, "s3://bucket/m", store, &Cache{Dir: cache})
	list, _ := versions(t, s)
	return fetch(t, s, list[0])
}

func TestWhatChangesDuringItsDownloadIsNotMixed(t *testing.T) {
	t.Parallel()
	inner := bucket(t, map[string]string{"m/saved_model.pb": "old", "m/variables/a": "old", "m/variables/b": "old"})
	store := &counted{Store: inner}
	store.then = func(get int) {
		if get == 1 {
			put(t, inner, "m/variables/b", "new")
		}
	}
	cache := t.TempDir()
	s := source(t, "s3://bucket/m", store, &Cache{Dir: cache})
	list, _ := versions(t, s)
	_, err := s.Fetch(t.Context(), list[0])
	if err == nil || !strings.Contains(err.Error(), "changed meanwhile") {
		t.Errorf("got %v, want that it was changed", err)
	}
	if entries, _ := os.ReadDir(cache); len(entries) != 0 {
		t.Errorf("%d entries are left in the cache", len(entries))
	}
	if list, _ = versions(t, s); list[0].ID == "" {
		t.Error("no ID")
	}
	if _, graph := fetch(t, s, list[0]); graph != "old" {
		t.Errorf("got %q", graph)
	}
}

func TestAListThatIsTooLongIsRefused(t *testing.T) {
	t.Parallel()
	store := mem.New("bucket")
	for i := range maxFiles + 1 {
		put(t, store, "m/1/assets/"+strings.Repeat("x", i%100)+string(rune('0'+i/100)), "")
	}
	_, err := source(t, "s3://bucket/m", store, &Cache{Dir: t.TempDir()}).Versions(t.Context())
	if err == nil || !strings.Contains(err.Error(), "more than 10000 objects") {
		t.Errorf("got %v", err)
	}
}

func TestCompareVersionsGoesByTheNumber(t *testing.T) {
	t.Parallel()
	list := []string{"10", "9", "", "100", "1"}
	slices.SortFunc(list, CompareVersions)
	if want := []string{"", "1", "9", "10", "100"}; !slices.Equal(list, want) {
		t.Errorf("got %v, want %v", list, want)
	}
}
