package model

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Check holds what the model file says against what the model has, and reports
// every contradiction at once. What goes for several signatures must fit the
// one that runs by default, and one at least.
func (c *Config) Check(signatures map[string]*Signature) error {
	k := checker{config: c}
	for _, s := range sorted(signatures) {
		k.all = append(k.all, s)
	}
	k.usual = c.usual(signatures)
	k.signature()
	if len(c.Labels) > 0 {
		k.someFit(k.misfitsLabels)
	}
	if c.Image != nil {
		k.someFit(k.misfitsImage)
	}
	k.padding()
	k.trimming()
	k.batching()
	return k.join()
}

// usual is the signature that runs where nobody names one; nil when there is
// none.
func (c *Config) usual(signatures map[string]*Signature) *Signature {
	if c.Signature != "" {
		return signatures[c.Signature]
	}
	if s, ok := signatures["serving_default"]; ok || len(signatures) != 1 {
		return s
	}
	for _, only := range signatures {
		return only
	}
	return nil
}

// checker collects what of a model file doesn't fit a model.
type checker struct {
	config *Config
	all    []*Signature // in the order of their names
	usual  *Signature   // or nil
	faults
}

func (k *checker) signature() {
	if name := k.config.Signature; name != "" && k.usual == nil {
		k.at("signature", "the model has no signature %q; it has: %s", name, k.names())
	}
}

func (k *checker) names() string {
	names := make([]string, len(k.all))
	for i, s := range k.all {
		names[i] = s.Name
	}
	return strings.Join(names, ", ")
}

// misfit is a fault that a signature has.
type misfit struct{ path, text string }

// someFit adds the faults of the usual signature. One that is not concerned,
// which misfits says by ok, is passed over: then some other must fit.
func (k *checker) someFit(misfits func(*Signature) (faults []misfit, ok bool)) {
	candidates := slices.Clone(k.all)
	if k.usual != nil {
		candidates = slices.Insert(candidates, 0, k.usual)
	}
	var first, concerned []misfit
	for _, s := range candidates {
		list, ok := misfits(s)
		if ok && len(list) == 0 {
			return
		}
		if first == nil {
			first = list
		}
		if ok && concerned == nil {
			concerned = list
		}
		if ok && s == k.usual {
			break // the others don't matter
		}
	}
	if concerned == nil {
		concerned = first
	}
	for _, m := range concerned {
		k.at(m.path, "%s", m.text)
	}
}

// labelled is the output of sig that the labels name.
func (c *Config) labelled(sig *Signature) (TensorInfo, bool) {
	if c.LabelOutput == "" && len(sig.Outputs) == 1 {
		return sig.Outputs[0], true
	}
	return find(sig.Outputs, c.LabelOutput)
}

func find(infos []TensorInfo, name string) (TensorInfo, bool) {
	i := slices.IndexFunc(infos, func(t TensorInfo) bool { return t.Name == name })
	if i < 0 {
		return TensorInfo{}, false
	}
	return infos[i], true
}

func (k *checker) misfitsLabels(sig *Signature) ([]misfit, bool) {
	out, ok := k.config.labelled(sig)
	switch {
	case ok:
	case k.config.LabelOutput == "":
		return []misfit{{"label_output", fmt.Sprintf("signature %q has several outputs: say which of %s the labels name", sig.Name, list(sig.Outputs))}}, true
	default:
		return []misfit{{"label_output", fmt.Sprintf("signature %q has no output %q; it has: %s", sig.Name, k.config.LabelOutput, list(sig.Outputs))}}, false
	}
	where := "labels"
	if k.config.LabelsFile != "" {
		where = "labels_file"
	}
	n, first := int64(len(k.config.Labels)), 0
	if _, batched := sig.Batch(); batched {
		first = 1
	}
	switch last := len(out.Shape) - 1; {
	case out.DType == String || out.DType == Bool:
		return []misfit{{where, fmt.Sprintf("output %v has no scores: it must be numbers", out)}}, true
	case out.UnknownRank:
	case last < first || out.Shape[last] >= 0 && out.Shape[last] != n:
		return []misfit{{where, fmt.Sprintf("there are %d, but output %v must have as many in its last dimension", n, out)}}, true
	}
	return nil, true
}

func list(infos []TensorInfo) string {
	texts := make([]string, len(infos))
	for i, t := range infos {
		texts[i] = t.String()
	}
	return strings.Join(texts, ", ")
}

// varies says whether the signature leaves a dimension behind the first open.
func (t TensorInfo) varies() bool {
	return t.UnknownRank || len(t.Shape) > 1 && slices.Contains(t.Shape[1:], -1)
}

func (k *checker) padding() {
	for name, p := range sorted(k.config.Pad) {
		path := member("pad", name)
		info, sig := k.named(name, func(s *Signature) []TensorInfo { return s.Inputs })
		switch {
		case sig == nil:
			k.at(path, "the model has no input %q; it has: %s", name, k.everyName(func(s *Signature) []TensorInfo { return s.Inputs }))
			continue
		case !info.varies():
			k.at(path, "input %v of signature %q leaves no dimension open to be filled up", info, sig.Name)
		}
		if _, err := info.DType.element(p.Value); err != nil {
			k.at(path+".value", "%v, which is what input %q takes", err, name)
		}
	}
}

func (k *checker) trimming() {
	for output := range sorted(k.config.Trim) {
		info, sig := k.named(output, func(s *Signature) []TensorInfo { return s.Outputs })
		switch {
		case sig == nil:
			k.at(member("trim", output), "the model has no output %q; it has: %s", output, k.everyName(func(s *Signature) []TensorInfo { return s.Outputs }))
		case !info.varies():
			k.at(member("trim", output), "output %v of signature %q leaves no dimension open to be cut back", info, sig.Name)
		}
	}
}

// named is the input or output of that name, of the signature that leaves most
// of it open.
func (k *checker) named(name string, of func(*Signature) []TensorInfo) (info TensorInfo, sig *Signature) {
	for _, s := range k.all {
		if t, ok := find(of(s), name); ok && (sig == nil || !info.varies()) {
			info, sig = t, s
		}
	}
	return info, sig
}

func (k *checker) everyName(of func(*Signature) []TensorInfo) string {
	names := make(map[string]bool)
	for _, s := range k.all {
		for _, t := range of(s) {
			names[t.Name] = true
		}
	}
	return strings.Join(slices.Sorted(maps.Keys(names)), ", ")
}

func (k *checker) batching() {
	if len(k.config.AllowedBatchSizes) == 0 {
		return
	}
	batched := false
	for _, s := range k.all {
		rows, ok := s.Batch()
		batched = batched || ok
		if ok && rows > 0 && !slices.Contains(k.config.AllowedBatchSizes, int(rows)) {
			k.at("allowed_batch_sizes", "signature %q takes %d rows, no more and no fewer; that must be one of them", s.Name, rows)
		}
	}
	if !batched {
		k.at("allowed_batch_sizes", "no signature of the model has a batch dimension")
	}
}
