package codec

import (
	"fmt"
	"mime"
	"slices"
	"strconv"
	"strings"

	"github.com/penstock/penstock/worker/model"
)

// result is what Encode is to write.
type result struct {
	in      *Input
	outputs []model.Tensor
	config  *model.Config
	column  bool // each output is written whole
	// What Accept says of the form that was chosen.
	mediaType string // of the encoding's, the one that was asked for
	raw       bool   // labels are not wanted
	header    header // of CSV
}

// encoding is one form of a result.
type encoding struct {
	mediaTypes []string               // the first is what it is called if none was asked for
	refuses    func(r *result) string // why r can't be written so; empty when it can
	encode     func(r *result) ([]byte, error)
	// stream says how results are written record by record; nil when they
	// can't be.
	stream *rowWriting
}

// encodings is all that Encode writes, the default first.
var encodings = []*encoding{
	{mediaTypes: []string{"application/json"}, refuses: func(*result) string { return "" }, encode: encodeJSON, stream: streamJSON},
	{mediaTypes: jsonLinesTypes, refuses: refusesRows, encode: encodeJSONLines, stream: streamJSONLines},
	{mediaTypes: []string{"text/csv", "application/csv"}, refuses: refusesCSV, encode: encodeCSV, stream: streamCSV},
	{mediaTypes: []string{"application/x-npy"}, refuses: refusesNPY, encode: encodeNPY},
	{mediaTypes: []string{"application/x-npz"}, refuses: refusesNPZ, encode: encodeNPZ},
}

// accepted is one media range of an Accept header.
type accepted struct {
	mediaRange string // "application/json", "application/*" or "*/*"
	q          float64
	raw        bool   // carries Penstock's own parameter raw=true
	header     string // text/csv's parameter of that name
}

// parseAccept reads an Accept header, best range first. What is not of the
// header's grammar is passed over.
func parseAccept(accept string) []accepted {
	var ranges []accepted
	for part := range strings.SplitSeq(accept, ",") {
		mediaRange, params, err := mime.ParseMediaType(part)
		if err != nil {
			continue
		}
		a := accepted{mediaRange: mediaRange, q: 1, raw: strings.EqualFold(params["raw"], "true"), header: params["header"]}
		if q, ok := params["q"]; ok {
			if a.q, err = strconv.ParseFloat(q, 64); err != nil {
				continue
			}
		}
		ranges = append(ranges, a)
	}
	slices.SortStableFunc(ranges, func(a, b accepted) int {
		switch {
		case a.q > b.q:
			return -1
		case a.q < b.q:
			return 1
		}
		return 0
	})
	return ranges
}

// choice is which of an encoding's media types the range means, or none.
func (a accepted) choice(mediaTypes []string) (mediaType string, ok bool) {
	if slices.Contains(mediaTypes, a.mediaRange) {
		return a.mediaRange, true
	}
	family, _, _ := strings.Cut(mediaTypes[0], "/")
	switch a.mediaRange {
	case family + "/*", "*/*", "*":
		return mediaTypes[0], true
	}
	return "", false
}

// negotiate picks the encoding that accept likes best of those that don't
// refuse r. Where accept leaves the choice open, the model file has it.
func negotiate(accept string, r *result, refuses func(e *encoding) string) (*encoding, error) {
	if strings.TrimSpace(accept) == "" {
		accept = r.config.Accept
	}
	if strings.TrimSpace(accept) == "" {
		r.mediaType = encodings[0].mediaTypes[0]
		return encodings[0], nil
	}
	ranges := preferring(parseAccept(r.config.Accept), parseAccept(accept))
	var reasons []string
	for _, a := range ranges {
		for _, e := range encodings {
			mediaType, ok := a.choice(e.mediaTypes)
			ruledOut := func(a accepted) bool { return a.q <= 0 && a.mediaRange == mediaType }
			if a.q <= 0 || !ok || slices.ContainsFunc(ranges, ruledOut) {
				continue
			}
			if why := refuses(e); why != "" {
				reasons = append(reasons, fmt.Sprintf("; %s can't hold this result: %s", mediaType, why))
				continue
			}
			r.mediaType, r.raw = mediaType, a.raw
			return e, r.setHeader(a.header)
		}
	}
	names := make([]string, len(encodings))
	for i, e := range encodings {
		names[i] = e.mediaTypes[0]
	}
	return nil, &Error{
		Code:    CodeNotAcceptable,
		Message: fmt.Sprintf("no result can be written as %q; there are: %s%s", accept, strings.Join(names, ", "), strings.Join(reasons, "")),
		Hint:    "ask for application/json, or leave Accept out",
	}
}

// preferring puts the usual ranges, those of a model's file, before any range
// that is of everything.
func preferring(usual, ranges []accepted) []accepted {
	var all []accepted
	for _, a := range ranges {
		if a.q > 0 && (a.mediaRange == "*/*" || a.mediaRange == "*") && !a.raw && a.header == "" {
			all = append(all, usual...)
		}
		all = append(all, a)
	}
	return all
}

// checkOutputs refuses tensors that contradict themselves, so that the writers
// need not look.
func checkOutputs(sig *model.Signature, outputs []model.Tensor) error {
	if len(outputs) != len(sig.Outputs) || len(outputs) == 0 {
		return badOutput("signature %q has %d outputs, but the model gave %d tensors", sig.Name, len(sig.Outputs), len(outputs))
	}
	for i, t := range outputs {
		n, there := model.Elements(t.Shape), int64(len(t.Bytes))
		if size := t.DType.Size(); size > 0 {
			there = int64(len(t.Data) / size)
		}
		if !t.DType.Known() || slices.ContainsFunc(t.Shape, func(d int64) bool { return d < 0 }) || n != there {
			return badOutput("output %q is a %v tensor of shape %v with %d elements", sig.Outputs[i].Name, t.DType, t.Shape, there)
		}
	}
	return nil
}

// refusesRows says why r can't be written row by row.
func refusesRows(r *result) string {
	for i, t := range r.outputs {
		name := r.in.Signature.Outputs[i].Name
		switch {
		case len(t.Shape) == 0:
			return fmt.Sprintf("output %q is a single value, not one a row", name)
		case t.Shape[0] != r.in.Rows:
			return fmt.Sprintf("output %q has %d rows, but the input has %d", name, t.Shape[0], r.in.Rows)
		}
	}
	return ""
}

func badOutput(format string, args ...any) *Error {
	return &Error{Code: CodeBadOutput, Message: fmt.Sprintf(format, args...)}
}
