package source

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/penstock/penstock/worker/model"
)

// Limits of a model that comes from outside.
const (
	maxFiles = 10_000
	maxBytes = 32 << 30
)

// file is one file of a model, wherever it lies.
type file struct {
	name  string // from where the model was named, with slashes
	size  int64
	stamp string // changes with the content: an ETag, or the time of its last change
}

// maxDepth is how far below the named place a SavedModel may lie: archives of
// SageMaker's layout have some folders around it.
const maxDepth = 5

// scan finds the versions of a model among the files of a place. They lie in
// one folder, the one nearest to the top: "1/", "2/" in it, or, when none of
// these is there, the folder itself. Of several models as near nobody could tell
// which is meant.
func scan(files []file) ([]Version, error) {
	slices.SortFunc(files, func(a, b file) int { return cmp.Compare(a.name, b.name) })
	var home string // the folder that the versions lie in
	var dirs, others []string
	for _, f := range files {
		dir, base := path.Split(f.name)
		if base != GraphFile || strings.Count(dir, "/") > maxDepth {
			continue
		}
		above := dir
		if isVersion(path.Base(dir)) {
			above = dir[:len(dir)-len(path.Base(dir))-1]
		}
		if depth := strings.Count(above, "/") - strings.Count(home, "/"); dirs == nil || depth < 0 {
			home, dirs, others = above, nil, nil
		} else if above != home {
			if depth == 0 && !slices.Contains(others, above) {
				others = append(others, above)
			}
			continue
		}
		dirs = append(dirs, dir)
	}
	if len(dirs) == 0 {
		return nil, fmt.Errorf("no %s is there, neither in it nor in a version folder (1/, 2/, …); %d files are. Name a SavedModel's directory, or one with version folders below it. A .keras or .h5 file is none: load it in Python and call model.export(DIR)", GraphFile, len(files))
	}
	if len(others) > 0 {
		return nil, fmt.Errorf("several models are there: %s; name one of them, or each as NAME=URI with commas between", strings.Join(append([]string{home}, others...), ", "))
	}
	if versioned := slices.DeleteFunc(slices.Clone(dirs), func(dir string) bool { return dir == home }); len(versioned) > 0 {
		dirs = versioned
	}
	var list []Version
	for _, dir := range dirs {
		v := newVersion(files, home, dir)
		// 3/ and 03/ are the same version: the first one counts.
		if !slices.ContainsFunc(list, func(o Version) bool { return o.Name == v.Name }) {
			list = append(list, v)
		}
	}
	return list, nil
}

// newVersion describes the version in the folder dir. Its files are those of
// the folder and, when it has no model file of its own but home has one, those
// in home, of which the model file may name some.
func newVersion(files []file, home, dir string) Version {
	v := Version{dir: dir}
	if dir != home {
		v.Name = trimVersion(path.Base(dir))
	}
	own, shared := false, false
	var beside []file
	for _, f := range files {
		rest, ok := strings.CutPrefix(f.name, dir)
		switch {
		case strings.HasSuffix(f.name, "/"): // a folder, as some tools mark it
		case ok:
			own = own || rest == model.ConfigFile
			v.files = append(v.files, f)
		case path.Dir(f.name) == path.Clean(home):
			shared = shared || path.Base(f.name) == model.ConfigFile
			beside = append(beside, f)
		}
	}
	if shared && !own {
		v.files = append(v.files, beside...)
	}
	sum := sha256.New()
	for _, f := range v.files {
		fmt.Fprintf(sum, "%q %q %d\n", v.target(f), f.stamp, f.size)
		v.Bytes += f.size
	}
	v.ID = hex.EncodeToString(sum.Sum(nil))[:idLength]
	v.Missing = missing(v.files, dir)
	return v
}

// modelDir is where the files of a version lie in its entry of the cache. What
// belongs to all versions lies beside it.
const modelDir = "model"

// target is where a file of the version goes in its entry of the cache.
func (v *Version) target(f file) string {
	if rest, ok := strings.CutPrefix(f.name, v.dir); ok {
		return modelDir + "/" + rest
	}
	return path.Base(f.name) // beside it
}

var shard = regexp.MustCompile(`^variables\.data-(\d{5})-of-(\d{5})$`)

// missing names a file of the checkpoint that has to be there but is not. A
// model without variables has no checkpoint at all, so that none is there
// proves nothing.
func missing(files []file, dir string) string {
	index, shards := false, map[string]bool{}
	total := 0
	for _, f := range files {
		name, ok := strings.CutPrefix(f.name, dir+"variables/")
		if !ok {
			continue
		}
		index = index || name == "variables.index"
		if m := shard.FindStringSubmatch(name); m != nil {
			shards[m[1]] = true
			total, _ = strconv.Atoi(m[2])
		}
	}
	switch {
	case !index && len(shards) == 0:
		return ""
	case !index:
		return "variables/variables.index"
	case total == 0:
		total = 1
	}
	for i := range total {
		if !shards[fmt.Sprintf("%05d", i)] {
			return fmt.Sprintf("variables/variables.data-%05d-of-%05d", i, total)
		}
	}
	return ""
}

// sortVersions sorts by the number.
func sortVersions(list []Version) {
	slices.SortFunc(list, func(a, b Version) int { return CompareVersions(a.Name, b.Name) })
}

// CompareVersions orders the names of versions by their number; the empty one
// comes first.
func CompareVersions(a, b string) int {
	return cmp.Or(cmp.Compare(len(a), len(b)), strings.Compare(a, b))
}
