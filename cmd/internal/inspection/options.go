package inspection

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Options say what to run. They are the command line of `worker inspect`.
type Options struct {
	Dir        string             // the SavedModel's directory
	ModelFile  string             // its penstock.json; empty when there is none
	Signature  string             // the only one to run; empty runs all that differ
	Shapes     map[string][]int64 // of inputs with open dimensions; see Row
	BatchSizes []int              // rows a run; none is DefaultBatchSizes
	Time       time.Duration      // for all runs together, about; 0 is DefaultTime
	InputFile  string             // a file whose rows are the input, instead of made-up ones
}

// DefaultTime is how long is measured unless something else is asked for.
const DefaultTime = 10 * time.Second

// DefaultBatchSizes are measured unless others are asked for.
func DefaultBatchSizes() []int { return []int{1, 8, 32} }

// MaxBatchSize is the largest batch that can be measured, in rows.
const MaxBatchSize = 1 << 16

// Args are o as command-line arguments, which Parse understands.
func (o Options) Args() []string {
	var args []string
	add := func(name, value string) {
		if value != "" {
			args = append(args, "-"+name, value)
		}
	}
	add("model-file", o.ModelFile)
	add("signature", o.Signature)
	for _, name := range slices.Sorted(maps.Keys(o.Shapes)) {
		add("shape", name+"="+joinInts(o.Shapes[name]))
	}
	add("batch-sizes", joinInts(o.BatchSizes))
	if o.Time != 0 {
		add("time", o.Time.String())
	}
	add("input-file", o.InputFile)
	return append(args, "--", o.Dir)
}

// Parse reads the arguments of `worker inspect`. Usage goes to w.
func Parse(args []string, w io.Writer) (Options, error) {
	o := Options{Shapes: map[string][]int64{}}
	f := flag.NewFlagSet("worker inspect", flag.ContinueOnError)
	f.SetOutput(w)
	f.Usage = func() {
		fmt.Fprintln(w, "usage: worker inspect [flags] DIRECTORY\n\nIt runs the SavedModel in a directory and tells of it in lines of JSON, for\n`penstock model inspect`.")
		f.PrintDefaults()
	}
	f.StringVar(&o.ModelFile, "model-file", "", "the model's penstock.json")
	f.StringVar(&o.Signature, "signature", "", "the only signature to run")
	f.Func("shape", "an input's shape, NAME=1,224,224,3; once for each input", func(s string) error {
		return addShape(o.Shapes, s)
	})
	f.Func("batch-sizes", "rows a run, with commas between (default 1,8,32)", func(s string) (err error) {
		o.BatchSizes, err = ParseBatchSizes(s)
		return err
	})
	f.DurationVar(&o.Time, "time", DefaultTime, "for all runs together")
	f.StringVar(&o.InputFile, "input-file", "", "a file to run on, in a format that the worker takes")
	if err := f.Parse(args); err != nil {
		return o, err
	}
	if f.NArg() != 1 {
		return o, errors.New("inspect takes one directory")
	}
	o.Dir = f.Arg(0)
	if len(o.BatchSizes) == 0 {
		o.BatchSizes = DefaultBatchSizes()
	}
	return o, nil
}

// ParseBatchSizes reads "1,8,32": ascending, without repetitions.
func ParseBatchSizes(s string) ([]int, error) {
	var sizes []int
	for part := range strings.SplitSeq(s, ",") {
		n, err := strconv.Atoi(strings.TrimSpace(part))
		if err != nil || n < 1 || n > MaxBatchSize {
			return nil, fmt.Errorf("%q is no batch size; write numbers of rows from 1 to %d with commas between, such as 1,8,32", part, MaxBatchSize)
		}
		sizes = append(sizes, n)
	}
	slices.Sort(sizes)
	return slices.Compact(sizes), nil
}

// ParseShapes reads shapes of inputs, each "NAME=1,224,224,3", or without the
// name where the model has one input.
func ParseShapes(list []string) (map[string][]int64, error) {
	shapes := make(map[string][]int64, len(list))
	var errs []error
	for _, s := range list {
		errs = append(errs, addShape(shapes, s))
	}
	return shapes, errors.Join(errs...)
}

func addShape(shapes map[string][]int64, s string) error {
	// An input's name may hold anything, dimensions hold digits alone.
	i := strings.LastIndex(s, "=")
	name, dims := s[:max(i, 0)], s[i+1:]
	if _, ok := shapes[name]; ok {
		return fmt.Errorf("%q: the shape of input %q is given already", s, name)
	}
	shape := []int64{}
	for part := range strings.SplitSeq(dims, ",") {
		n, err := strconv.ParseInt(strings.TrimSpace(part), 10, 32)
		if err != nil || n < 0 {
			return fmt.Errorf("%q is no shape; write NAME=1,224,224,3", s)
		}
		shape = append(shape, n)
	}
	shapes[name] = shape
	return nil
}

func joinInts[T int | int64](list []T) string {
	var parts []string
	for _, n := range list {
		parts = append(parts, strconv.FormatInt(int64(n), 10))
	}
	return strings.Join(parts, ",")
}
