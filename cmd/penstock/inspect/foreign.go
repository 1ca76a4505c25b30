package inspect

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"

	"github.com/penstock/penstock/storage"
	"github.com/penstock/penstock/worker/model/savedmodel"
)

// What is no SavedModel, by the ending of its name, and what to do about it.
// %s is the file.
const (
	kerasFile      = "%s is a Keras file; make a SavedModel of it: python deploy/keras/export.py %[1]s DIR, or in Python: keras.saving.load_model(%[1]q).export(\"DIR\")"
	checkpoint     = "%s is of a checkpoint: weights without a graph; build the model in Python, restore them into it, and write it with model.export(\"DIR\") or tf.saved_model.save"
	frozenGraph    = "%s looks like a frozen graph of TensorFlow 1, which has no signatures; in Python, import it with tf.compat.v1.import_graph_def and write it with tf.compat.v1.saved_model.simple_save(session, \"DIR\", inputs, outputs)"
	textGraph      = "%s is a graph in text form; save the model in the binary form, as saved_model.pb"
	otherArchive   = "%s is an archive, but no .tar.gz; unpack it, or pack it again with tar -czf"
	pythonPickle   = "%s is a pickle of Python, which TensorFlow can't load"
	exportOriginal = "; write a SavedModel from the model it was made of, with model.export(\"DIR\") or tf.saved_model.save"
)

var foreign = map[string]string{
	".keras": kerasFile, ".h5": kerasFile, ".hdf5": kerasFile,
	".tflite": "%s is a TensorFlow Lite model, which only the Lite runtime loads" + exportOriginal,
	".onnx":   "%s is an ONNX model, which another runtime loads" + exportOriginal,
	".pt":     "%s is a PyTorch model" + exportOriginal, ".pth": "%s is a PyTorch model" + exportOriginal,
	".safetensors": "%s holds weights without a graph" + exportOriginal,
	".mlmodel":     "%s is a Core ML model" + exportOriginal,
	".ckpt":        checkpoint, ".index": checkpoint,
	".pb": frozenGraph, ".pbtxt": textGraph,
	".zip": otherArchive, ".tar": otherArchive, ".bz2": otherArchive, ".xz": otherArchive, ".7z": otherArchive, ".zst": otherArchive,
	".pkl": pythonPickle, ".pickle": pythonPickle, ".joblib": pythonPickle,
}

// advice says what a file is and what to do with it, or nothing.
func advice(file string) string {
	if path.Base(file) == savedmodel.File {
		return file + " is the graph of a SavedModel; name the directory that it lies in"
	}
	if text, ok := foreign[strings.ToLower(path.Ext(file))]; ok {
		return fmt.Sprintf(text, file)
	}
	return ""
}

// checkName reports a URI that names a file of another kind. A folder may have
// any name.
func checkName(uri string) error {
	if !strings.HasPrefix(uri, "s3://") {
		if info, err := os.Stat(uri); err != nil || info.IsDir() {
			return nil // which is for others to tell
		}
	} else if strings.HasSuffix(uri, "/") {
		return nil
	}
	if text := advice(local(uri)); text != "" {
		return notOneError{fmt.Errorf("model %s: %s", uri, text)}
	}
	return nil
}

// local is what a file at uri is called on this machine.
func local(uri string) string {
	if strings.HasPrefix(uri, "s3://") {
		return path.Base(uri)
	}
	return uri
}

// notOneError is of a place with no SavedModel in it.
type notOneError struct{ error }

// ErrNotOne is what errors of a place without a SavedModel are, for errors.Is.
var ErrNotOne = errors.New("not a SavedModel")

func (e notOneError) Is(target error) bool { return target == ErrNotOne }
func (e notOneError) Unwrap() error        { return e.error }

// explain says what is at uri when no model was found there. The error of the
// search stays where it is about something else.
func explain(ctx context.Context, uri string, store storage.Reader, cause error) error {
	if errors.Is(cause, fs.ErrNotExist) { // the bucket, or an archive
		return cause
	}
	files, err := listing(ctx, uri, store)
	if err != nil || slices.ContainsFunc(files, func(name string) bool { return path.Base(name) == savedmodel.File }) {
		return cause
	}
	if len(files) == 0 {
		return notOneError{fmt.Errorf("model %s: nothing is there; name the folder of a SavedModel, or the one above its versions 1/, 2/, …", uri)}
	}
	text := fmt.Sprintf("model %s: not a SavedModel: there is no %s, neither in it nor in a version folder (1/, 2/, …); there is %s",
		uri, savedmodel.File, strings.Join(tops(files), ", "))
	for _, name := range files {
		if a := advice(local(strings.TrimRight(uri, "/") + "/" + name)); a != "" && !strings.Contains(name, "variables/") {
			return notOneError{errors.New(text + ". " + a)}
		}
	}
	if slices.ContainsFunc(files, func(name string) bool { return strings.HasSuffix(name, "variables/variables.index") }) {
		return notOneError{errors.New(text + ". The variables are here without their graph: copy the whole SavedModel again")}
	}
	return notOneError{errors.New(text + ". Write one with model.export(\"DIR\") or tf.saved_model.save")}
}

// enoughFiles is how many files are looked at to say what a place holds.
const enoughFiles = 2000

// listing gives the names of the files at a place, from there.
func listing(ctx context.Context, uri string, store storage.Reader) ([]string, error) {
	var files []string
	if strings.HasPrefix(uri, "s3://") {
		ref, err := storage.ParseRef(uri)
		if err != nil {
			return nil, err
		}
		if ref.Key != "" && !strings.HasSuffix(ref.Key, "/") {
			ref.Key += "/"
		}
		for info, err := range store.List(ctx, ref, "") {
			if err != nil {
				return nil, err
			}
			if name := strings.TrimPrefix(info.Ref.Key, ref.Key); name != "" {
				files = append(files, name)
			}
			if len(files) == enoughFiles {
				break
			}
		}
		return files, nil
	}
	err := fs.WalkDir(os.DirFS(uri), ".", func(name string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case len(files) == enoughFiles:
			return fs.SkipAll
		case !d.IsDir():
			files = append(files, name)
		}
		return nil
	})
	return files, err
}

// tops are the files and folders at the top, as a person lists them.
func tops(files []string) []string {
	var list []string
	for _, name := range files {
		if top, _, below := strings.Cut(name, "/"); below {
			name = top + "/"
		}
		if !slices.Contains(list, name) {
			list = append(list, name)
		}
	}
	slices.Sort(list)
	if more := len(list) - 8; more > 1 {
		list = append(list[:8], fmt.Sprintf("and %d more", more))
	}
	return list
}
