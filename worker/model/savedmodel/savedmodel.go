// Package savedmodel reads what a SavedModel says of itself: its graph, its
// signatures, and what is there instead when it is none. It needs no
// TensorFlow, so that programs without it can look at a model too.
package savedmodel

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	corepb "github.com/galeone/tensorflow/tensorflow/go/core/protobuf/for_core_protos_go_proto"
	"google.golang.org/protobuf/proto"
)

const (
	// File is the file that makes a directory a SavedModel.
	File = "saved_model.pb"
	// ServeTag is the tag of the graph that is meant for serving.
	ServeTag = "serve"

	exportHint = `write it as a SavedModel with model.export("DIR")`
)

// ReadMetaGraph reads the graph that is meant for serving from a SavedModel's
// directory, and says what to do when there is none.
func ReadMetaGraph(dir string) (*corepb.MetaGraphDef, error) {
	saved, err := read(dir)
	if err != nil {
		return nil, err
	}
	return serving(saved)
}

func read(dir string) (*corepb.SavedModel, error) {
	b, err := os.ReadFile(filepath.Join(dir, File))
	if err != nil {
		return nil, explainNoModel(dir, err)
	}
	var saved corepb.SavedModel
	if err := proto.Unmarshal(b, &saved); err != nil {
		return nil, fmt.Errorf("%s: damaged or cut off after %d bytes; copy the model again: %w", File, len(b), err)
	}
	if len(saved.GetMetaGraphs()) == 0 {
		return nil, fmt.Errorf("%s: no graph in its %d bytes: it is empty or cut off; copy the model again", File, len(b))
	}
	return &saved, nil
}

// serving picks the graph for serving.
func serving(saved *corepb.SavedModel) (*corepb.MetaGraphDef, error) {
	var tagSets []string
	for _, g := range saved.GetMetaGraphs() {
		tags := g.GetMetaInfoDef().GetTags()
		if slices.Equal(tags, []string{ServeTag}) {
			return g, nil
		}
		tagSets = append(tagSets, "{"+strings.Join(tags, ", ")+"}")
	}
	return nil, fmt.Errorf("%s: no graph is tagged {%s}, there is only %s; export the model for serving",
		File, ServeTag, strings.Join(tagSets, " "))
}

// explainNoModel says what is in dir instead of a readable saved_model.pb.
func explainNoModel(dir string, cause error) error {
	if info, err := os.Stat(dir); err == nil && !info.IsDir() {
		if isKerasFile(dir) {
			return fmt.Errorf("this is a Keras file, not a SavedModel directory; load it in Keras and %s", exportHint)
		}
		return errors.New("this is a file; a SavedModel is a directory that holds " + File)
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	if !errors.Is(cause, fs.ErrNotExist) {
		return cause
	}
	return fmt.Errorf("there is no %s; %s", File, describe(entries))
}

// describe lists a directory and guesses what its owner meant.
func describe(entries []fs.DirEntry) string {
	if len(entries) == 0 {
		return "the directory is empty"
	}
	var names, versions, keras []string
	for _, e := range entries {
		name := e.Name()
		switch {
		case e.IsDir() && strings.Trim(name, "0123456789") == "":
			versions = append(versions, name)
		case isKerasFile(name):
			keras = append(keras, name)
		}
		if e.IsDir() {
			name += "/"
		}
		names = append(names, name)
	}
	has := func(name string) bool { return slices.Contains(names, name) }
	hint := ""
	switch {
	case len(versions) > 0:
		hint = fmt.Sprintf("; these look like versions of a model: name one of them, such as %s/", versions[len(versions)-1])
	case len(keras) > 0:
		hint = fmt.Sprintf("; %s is a Keras file: load it in Keras and %s", keras[0], exportHint)
	case has(File + "txt"):
		hint = "; the text form isn't supported: save it in the binary form"
	case has("variables/"):
		hint = "; the variables are here without their graph: copy the whole SavedModel again"
	}
	if more := len(names) - 10; more > 0 {
		names = append(names[:10], fmt.Sprintf("and %d more", more))
	}
	return "there is " + strings.Join(names, ", ") + hint
}

func isKerasFile(name string) bool {
	return slices.Contains([]string{".keras", ".h5", ".hdf5"}, strings.ToLower(filepath.Ext(name)))
}

// HasVariables says whether the checkpoint of the SavedModel in dir is there.
func HasVariables(dir string) bool {
	_, err := os.Stat(filepath.Join(dir, "variables", "variables.index"))
	return err == nil
}
