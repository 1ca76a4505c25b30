package inspect

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/dustin/go-humanize"

	"github.com/penstock/penstock/cmd/internal/inspection"
	"github.com/penstock/penstock/storage"
	"github.com/penstock/penstock/worker/model"
	"github.com/penstock/penstock/worker/model/savedmodel"
	"github.com/penstock/penstock/worker/model/source"
)

// Model is a model that was found, in a local directory.
type Model struct {
	Report     *Report
	Dir        string             // holds saved_model.pb
	ModelFile  string             // the path of a good penstock.json, or empty
	Signatures []*model.Signature // those that can be served

	local source.Local
}

// Release says that Dir is not used any more.
func (m *Model) Release() { m.local.Release() }

// UnservableError says that there is a SavedModel that can't be served, nor
// described.
type UnservableError struct{ error }

func (e UnservableError) Unwrap() error { return e.error }

// Open finds the model that named means and reads what it says of itself. What
// lies in S3 or in an archive is put below cache first, which may take a
// while: say is told of it. store may be nil when the model is local. What is
// wrong with a model that can be described is in the report; the error is that
// of a place with no model in it, or of the way to it.
func Open(ctx context.Context, named source.Named, store storage.Reader, cache string, say func(doing string)) (*Model, error) {
	if err := checkName(named.URI); err != nil {
		return nil, err
	}
	src, err := source.New(named, store, &source.Cache{Dir: cache})
	if err != nil {
		return nil, err
	}
	list, err := src.Versions(ctx)
	if err != nil {
		return nil, explain(ctx, named.URI, store, err)
	}
	r := &Report{URI: named.URI, Name: named.Name, Versions: []Version{}, LeftOut: []string{}, Faults: []string{}}
	pick := list[len(list)-1]
	for _, v := range list {
		if v.Name != "" {
			r.Versions = append(r.Versions, Version{v.Name, v.Bytes, v.Missing})
		}
		if v.Missing == "" {
			pick = v
		}
	}
	m := &Model{Report: r}
	if strings.HasPrefix(named.URI, "s3://") {
		say(fmt.Sprintf("download %s (%s)", versionName(pick.Name), humanize.Bytes(uint64(pick.Bytes))))
	}
	if m.local, err = m.fetch(ctx, src, pick); err != nil {
		return nil, err
	}
	if err := m.describe(pick); err != nil {
		m.Release()
		return nil, err
	}
	return m, nil
}

func versionName(name string) string {
	if name == "" {
		return "the model"
	}
	return "version " + name
}

// fetch makes a version available locally. A model file at fault is no error
// here: it is in the report.
func (m *Model) fetch(ctx context.Context, src *source.Source, v source.Version) (source.Local, error) {
	local, err := src.Fetch(ctx, v)
	if fault, ok := errors.AsType[*source.ModelFileError](err); ok {
		local, err = source.Local{Dir: fault.Dir, Version: v.Name}, nil
		m.Report.ModelFile = newModelFile(fault.Dir, fault.Place)
		m.Report.ModelFile.addFaults(fault.Err)
	} else if err == nil {
		m.findModelFile(local)
	}
	return local, err
}

// findModelFile looks for the model file that was read.
func (m *Model) findModelFile(l source.Local) {
	for _, place := range []string{l.Dir, filepath.Join(l.Dir, "..")} {
		if place != l.Dir && l.Version == "" {
			return
		}
		if _, err := os.Stat(filepath.Join(place, model.ConfigFile)); err == nil {
			m.ModelFile = filepath.Join(place, model.ConfigFile)
			m.Report.ModelFile = newModelFile(l.Dir, place)
			m.Report.ModelFile.Labels = len(l.Config.Labels)
			return
		}
	}
}

func newModelFile(dir, place string) *ModelFile {
	f := &ModelFile{Path: model.ConfigFile, Sets: []string{}}
	if filepath.Clean(place) != filepath.Clean(dir) {
		f.Path = "../" + model.ConfigFile
	}
	if b, err := os.ReadFile(filepath.Join(place, model.ConfigFile)); err == nil {
		f.Sets = members(b)
	}
	return f
}

// members are the names of a JSON object's members, as far as it is one.
func members(b []byte) []string {
	names := []string{}
	d := json.NewDecoder(bytes.NewReader(b))
	if t, err := d.Token(); err != nil || t != json.Delim('{') {
		return names
	}
	for d.More() {
		name, err := d.Token()
		if err != nil {
			return names
		}
		names = append(names, fmt.Sprint(name))
		var value json.RawMessage
		if d.Decode(&value) != nil {
			return names
		}
	}
	return names
}

// describe reads what the model says of itself.
func (m *Model) describe(v source.Version) error {
	r := m.Report
	m.Dir = m.local.Dir
	r.Version = m.local.Version
	d, err := savedmodel.Describe(m.Dir)
	if err != nil {
		return UnservableError{fmt.Errorf("model %s: %w", r.URI, err)}
	}
	r.TensorFlow, r.Tags = d.TensorFlow, d.TagSets
	if r.Size, r.WarmUpFile, err = sizes(m.Dir); err != nil {
		return err
	}
	r.Size.Operations = d.Operations
	r.Parameters = Parameters{d.Variables.Elements, d.Variables.Count, d.Variables.Unknown}
	m.Signatures = d.Signatures
	r.Signatures = []Signature{}
	for _, s := range d.Signatures {
		r.Signatures = append(r.Signatures, newSignature(s))
	}
	slices.SortStableFunc(r.Signatures, func(a, b Signature) int {
		switch inspection.DefaultSignature {
		case a.Name:
			return -1
		case b.Name:
			return 1
		}
		return 0
	})
	for _, err := range d.LeftOut {
		r.LeftOut = append(r.LeftOut, err.Error())
	}
	if v.Missing != "" {
		r.Faults = append(r.Faults, fmt.Sprintf("%s is missing: copy the whole SavedModel again", v.Missing))
	}
	for _, err := range d.Faults {
		r.Faults = append(r.Faults, err.Error())
	}
	m.checkModelFile()
	return nil
}

// checkModelFile holds the model file against the signatures.
func (m *Model) checkModelFile() {
	f := m.Report.ModelFile
	if f == nil {
		return
	}
	if m.ModelFile != "" && len(m.Signatures) > 0 {
		byName := make(map[string]*model.Signature)
		for _, s := range m.Signatures {
			byName[s.Name] = s
		}
		if err := m.local.Config.Check(byName); err != nil {
			m.ModelFile = ""
			f.addFaults(err)
		}
	}
	m.Report.Faults = append(m.Report.Faults, f.Faults...)
}

// addFaults adds all that a joined error holds.
func (f *ModelFile) addFaults(err error) {
	for line := range strings.SplitSeq(err.Error(), "\n") {
		f.Faults = append(f.Faults, line)
	}
}

// warmUpFile is TensorFlow Serving's, seen from the model's folder.
const warmUpFile = "assets.extra/tf_serving_warmup_requests"

// sizes adds up the files below dir.
func sizes(dir string) (s Size, warmUp int64, err error) {
	err = fs.WalkDir(os.DirFS(dir), ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		info, err := os.Stat(filepath.Join(dir, name)) // that of what a link points to
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		s.Total += info.Size()
		top, _, _ := strings.Cut(name, "/")
		switch {
		case name == savedmodel.File:
			s.Graph = info.Size()
		case name == warmUpFile:
			warmUp = info.Size()
		case top == "variables":
			s.Variables += info.Size()
		case top == "assets":
			s.Assets += info.Size()
		}
		return nil
	})
	return s, warmUp, err
}
