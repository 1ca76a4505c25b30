package model

import (
	"fmt"
	"mime"
	"path"
	"slices"
	"strings"
)

// validate finds every fault that shows without the model.
func (c *Config) validate() error {
	var f faults
	c.validateLabels(&f)
	c.validateBatching(&f)
	c.validatePadding(&f)
	c.validateTypes(&f)
	if c.Image != nil {
		c.Image.validate(&f)
	}
	return f.join()
}

func (c *Config) validateLabels(f *faults) {
	labelled := c.LabelsFile != "" || len(c.Labels) > 0
	if c.LabelsFile != "" && len(c.Labels) > 0 {
		f.at("labels_file", "there are labels as well; give one of the two")
	}
	if c.LabelsFile != "" && (path.IsAbs(c.LabelsFile) || strings.Contains(c.LabelsFile, `\`)) {
		f.at("labels_file", "%q must be a path below the folder of %s, with slashes", c.LabelsFile, ConfigFile)
	}
	checkLabels(f, "labels[%d]", 0, c.Labels)
	if c.TopK < 0 {
		f.at("top_k", "it is %d; it must not be negative", c.TopK)
	}
	oneOf(f, "activation", c.Activation, Softmax, Sigmoid)
	for _, m := range []struct {
		name string
		set  bool
	}{
		{"label_output", c.LabelOutput != ""},
		{"top_k", c.TopK > 0},
		{"label_threshold", c.LabelThreshold != 0},
		{"activation", c.Activation != ""},
	} {
		if m.set && !labelled {
			f.at(m.name, "it says how labels are answered, but there are neither labels nor labels_file")
		}
	}
}

// checkLabels sees to it that each class has a name of its own.
func checkLabels(f *faults, where string, first int, labels []string) {
	seen := make(map[string]int, len(labels))
	for i, l := range labels {
		at := fmt.Sprintf(where, first+i)
		switch j, there := seen[l]; {
		case l == "":
			f.at(at, "a label must not be empty")
		case there:
			f.at(at, "%q is at %d already; each class needs a name of its own", l, first+j)
		default:
			seen[l] = i
		}
	}
}

func (c *Config) validateBatching(f *faults) {
	notNegative(f, "max_batch_size", int64(c.MaxBatchSize))
	notNegative(f, "max_concurrent_batches", int64(c.MaxConcurrentBatches))
	if c.BatchTimeoutMicros != nil {
		notNegative(f, "batch_timeout_micros", *c.BatchTimeoutMicros)
	}
	ascending(f, "allowed_batch_sizes", c.AllowedBatchSizes)
	if n := len(c.AllowedBatchSizes); n > 0 && c.MaxBatchSize > 0 && c.AllowedBatchSizes[n-1] != c.MaxBatchSize {
		f.at("max_batch_size", "it is %d, but the last of allowed_batch_sizes is %d; leave it out or make them equal", c.MaxBatchSize, c.AllowedBatchSizes[n-1])
	}
}

func (c *Config) validatePadding(f *faults) {
	for name, p := range sorted(c.Pad) {
		ascending(f, member("pad", name)+".sizes", p.Sizes)
	}
	for output, input := range sorted(c.Trim) {
		if _, ok := c.Pad[input]; !ok {
			f.at(member("trim", output), "it names input %q, which pad doesn't fill up", input)
		}
	}
}

func (c *Config) validateTypes(f *faults) {
	if c.ContentType != "" {
		if _, _, err := mime.ParseMediaType(c.ContentType); err != nil || !strings.Contains(c.ContentType, "/") {
			f.at("content_type", `%q is no media type, such as "image/jpeg"`, c.ContentType)
		}
	}
	if c.Accept != "" {
		for part := range strings.SplitSeq(c.Accept, ",") {
			if _, _, err := mime.ParseMediaType(part); err != nil {
				f.at("accept", `%q is no media range, such as "application/jsonlines"`, strings.TrimSpace(part))
			}
		}
	}
	oneOf(f, "record_errors", c.RecordErrors, "report", "fail")
}

// oneOf refuses a word that is none of those known, nor empty.
func oneOf[S ~string](f *faults, path string, word S, known ...S) {
	if word == "" || slices.Contains(known, word) {
		return
	}
	quoted := make([]string, len(known))
	names := make([]string, len(known))
	for i, k := range known {
		quoted[i], names[i] = fmt.Sprintf("%q", string(k)), string(k)
	}
	hint := ""
	if near := nearest(string(word), names); near != "" {
		hint = fmt.Sprintf("; did you mean %q?", near)
	}
	f.at(path, "it is %q; it must be one of %s%s", string(word), strings.Join(quoted, ", "), hint)
}

func notNegative(f *faults, path string, n int64) {
	if n < 0 {
		f.at(path, "it is %d; it must not be negative", n)
	}
}

// ascending refuses a list that is not of positive numbers, each larger than
// the one before.
func ascending[N int | int64](f *faults, path string, list []N) {
	for i, n := range list {
		switch {
		case n <= 0:
			f.at(fmt.Sprintf("%s[%d]", path, i), "it is %d; it must be positive", n)
		case i > 0 && n <= list[i-1]:
			f.at(fmt.Sprintf("%s[%d]", path, i), "it is %d, after %d; the numbers must ascend", n, list[i-1])
		}
	}
}
