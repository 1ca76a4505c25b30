package job

import (
	"errors"
	"fmt"
	"strings"

	"github.com/penstock/penstock/queue/request"
	"github.com/penstock/penstock/storage"
	"github.com/penstock/penstock/storage/manifest"
	"github.com/penstock/penstock/worker/codec"
	"github.com/penstock/penstock/worker/jsonpath"
)

// Defaults of a spec.
const (
	DefaultReferences = 100
	leastPartBytes    = 64 << 10
	mostPartBytes     = 5 << 30
)

// Complete fills in what s leaves open, and reports what is wrong with it, all
// at once.
func (s Spec) Complete(l request.Locations) (Spec, error) {
	s.Version = 1
	fill := func(field *string, value string) {
		if *field == "" {
			*field = value
		}
	}
	fill(&s.SplitType, SplitNone)
	fill(&s.BatchStrategy, MultiRecord)
	fill(&s.JoinSource, JoinNone)
	for _, filter := range []*string{&s.InputFilter, &s.OutputFilter} {
		if *filter == "$" {
			*filter = ""
		}
		if *filter != "" {
			s.Version = specVersion
		}
	}
	if s.Records() {
		fill(&s.AssembleWith, AssembleLine)
	} else {
		fill(&s.AssembleWith, AssembleNone)
		if s.ReferencesPerMessage == 0 {
			s.ReferencesPerMessage = DefaultReferences
		}
	}
	return s, errors.Join(s.faults(l)...)
}

func (s Spec) faults(l request.Locations) (errs []error) {
	fault := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if err := request.ValidateJobID(s.ID); err != nil {
		errs = append(errs, err)
	}
	switch {
	case s.Manifest != "" && len(s.Sources) > 0:
		fault("a job has a manifest or sources, not both")
	case s.Manifest == "" && len(s.Sources) == 0:
		fault("a job needs an input: s3://bucket/prefix/, objects, or a manifest")
	case s.Manifest != "":
		if _, err := storage.ParseRef(s.Manifest); err != nil {
			fault("manifest: %w", err)
		}
	}
	if err := manifest.Format(s.ManifestFormat).Validate(); err != nil {
		errs = append(errs, err)
	}
	for _, uri := range s.Sources {
		ref, err := storage.ParseRef(uri)
		if err == nil {
			err = checkSource(ref, l)
		}
		if err != nil {
			errs = append(errs, err)
		}
	}
	if _, err := NewChooser(s.Include, s.Exclude); err != nil {
		errs = append(errs, err)
	}
	return append(errs, s.optionFaults()...)
}

// checkSource reports a source whose objects no worker may read.
func checkSource(ref storage.Ref, l request.Locations) error {
	var places []string
	for _, in := range l.Inputs {
		if in.Contains(ref) {
			return nil
		}
		places = append(places, in.String())
	}
	return fmt.Errorf("%s lies in no input location (%s)", ref, strings.Join(places, ", "))
}

// filterFaults are those of the filters, as far as they show before a file is
// read.
func (s Spec) filterFaults() (errs []error) {
	f, err := s.Filters()
	if err != nil {
		return []error{err}
	}
	if f.Input.All() && f.Output.All() {
		return nil
	}
	fault := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	const lines = "it goes with the split type Line, for files of JSON lines or CSV"
	switch {
	case s.SplitType == SplitTFRecord && !f.Input.All():
		fault("the input filter %v can't be applied to records of TFRecord, which are no text: %s", f.Input, lines)
	case !s.Records():
		for _, path := range []jsonpath.Path{f.Input, f.Output} {
			if !path.All() {
				fault("the filter %v can't be applied to whole objects: %s; a file of one record is one, too", path, lines)
			}
		}
	}
	csv := codec.IsCSV(nil, codec.Source{ContentType: s.ContentType})
	columns := "has columns only: choose them by their numbers, which count from 0, such as $[1:], $[0,4] or $[-1]"
	if csv && !f.Input.OfColumns() {
		fault("the input filter %v finds nothing in %s: a record %s", f.Input, s.ContentType, columns)
	}
	if (csv && s.JoinSource == JoinInput || codec.IsCSV(nil, codec.Source{ContentType: s.Accept})) && !f.Output.OfColumns() {
		fault("the output filter %v finds nothing in results of CSV: a line %s", f.Output, columns)
	}
	return errs
}

// optionFaults are those of Batch Transform's options, which are refused by
// name where Penstock doesn't do what they ask for.
func (s Spec) optionFaults() (errs []error) {
	fault := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	switch s.SplitType {
	case SplitNone, SplitLine, SplitTFRecord:
	case "RecordIO":
		fault("the split type RecordIO is not supported: write the records as TFRecord, JSON lines or CSV")
	default:
		fault("the split type is %q; it must be %s, %s or %s", s.SplitType, SplitNone, SplitLine, SplitTFRecord)
	}
	switch s.BatchStrategy {
	case MultiRecord, SingleRecord:
	default:
		fault("the batch strategy is %q; it must be %s or %s", s.BatchStrategy, MultiRecord, SingleRecord)
	}
	switch {
	case s.Records() && s.AssembleWith == AssembleNone:
		fault("a file that is split is assembled: -assemble-with None goes with -split-type None")
	case !s.Records() && s.AssembleWith == AssembleLine:
		fault("the outputs of whole objects are not assembled: -assemble-with Line goes with -split-type Line or TFRecord")
	case s.AssembleWith != AssembleNone && s.AssembleWith != AssembleLine:
		fault("assemble with is %q; it must be %s or %s", s.AssembleWith, AssembleNone, AssembleLine)
	}
	switch {
	case s.JoinSource != JoinNone && s.JoinSource != JoinInput:
		fault("the join source is %q; it must be %s or %s", s.JoinSource, JoinNone, JoinInput)
	case s.JoinSource == JoinInput && s.SplitType == SplitTFRecord:
		fault("records of TFRecord can't be joined with their results: they are no lines of text. Line n of an output is the result of record n, so that both can be read side by side; or write the records as JSON lines or CSV, and split them at Line")
	case s.JoinSource == JoinInput && !s.Records():
		fault("whole objects can't be joined with their results: the join source Input goes with the split type Line, for files of JSON lines or CSV. The result of an object has its name, and its path below the job's folder")
	}
	errs = append(errs, s.filterFaults()...)
	if s.PartBytes != 0 && (s.PartBytes < leastPartBytes || s.PartBytes > mostPartBytes) {
		fault("a part of %d bytes: it must have %d to %d", s.PartBytes, leastPartBytes, int64(mostPartBytes))
	}
	if !s.Records() && (s.ReferencesPerMessage < 1 || s.ReferencesPerMessage > pageItems) {
		fault("%d references a message: it must be 1 to %d", s.ReferencesPerMessage, pageItems)
	}
	if s.MaxConcurrency < 0 {
		fault("the maximum concurrency is %d; it can't be negative", s.MaxConcurrency)
	}
	// The rest is checked as of any request.
	probe := s.Apply(request.Request{Input: storage.Ref{Bucket: "any", Key: "any"}})
	if err := probe.Validate(); err != nil {
		errs = append(errs, err)
	}
	return errs
}
