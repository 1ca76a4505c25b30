//go:build cgo

package tf

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/bits"
	"slices"
	"strings"
	"time"

	"go.uber.org/zap"

	"github.com/penstock/penstock/worker/model"
	"github.com/penstock/penstock/worker/model/savedmodel"
)

// warmUpBytes bounds the made-up tensors of one run: what a run takes within
// TensorFlow is a multiple of it.
const warmUpBytes = 64 << 20

// maxToldRequests is how many requests of a warm-up file have a log line each
// when they fail.
const maxToldRequests = 10

// WarmUp runs the model, so that the first request doesn't pay for
// TensorFlow's preparations, and so that a model that can never run is found
// before it is used.
//
// It runs the requests in assets.extra/tf_serving_warmup_requests, TensorFlow
// Serving's file. One that fails is logged; that all fail is an error. Without
// the file it runs every signature on zeros and empty strings, with each number
// of rows that AllowedBatchSizes lists, else with one row and with
// Options.MaxBatchSize, or as many as 64 MiB hold. That a signature dislikes
// made-up input is logged, and no fault. That variables are missing always is.
func (m *Model) WarmUp(ctx context.Context) error {
	began := time.Now()
	ran, err := m.replay(ctx)
	if err == nil && ran == 0 {
		ran, err = m.rehearse(ctx)
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if err != nil {
		return fmt.Errorf("warm up model %s: %w", m.opts.Name, err)
	}
	m.opts.Logger.Debug("model warmed up", zap.String("model", m.opts.Name), zap.Int("runs", ran), zap.Duration("took", time.Since(began)))
	return nil
}

// replay runs the warm-up file's requests, and says how many went well.
func (m *Model) replay(ctx context.Context) (ran int, err error) {
	failed, told := 0, 0
	var last error
	for r, err := range warmUpRequests(m.dir) {
		if ctx.Err() != nil {
			return ran, context.Cause(ctx)
		}
		if err == nil {
			err = m.replayOne(ctx, r)
		}
		switch {
		case err == nil:
			ran++
			continue
		case lacksVariables(err):
			return ran, fmt.Errorf("%s: request %d: %w; %s", warmUpFile, r.number, err, m.remedy())
		case r.ran:
			failed++
		}
		last = err
		if told++; told <= maxToldRequests {
			m.opts.Logger.Warn("a warm-up request failed", zap.String("model", m.opts.Name), zap.String("file", warmUpFile),
				zap.Int("request", r.number), zap.Error(err))
		}
	}
	if told > maxToldRequests {
		m.opts.Logger.Warn("more warm-up requests failed", zap.String("model", m.opts.Name), zap.Int("in all", told))
	}
	if ran == 0 && failed > 0 {
		return 0, fmt.Errorf("%s: all %d requests that could be run failed; the last: %w", warmUpFile, failed, last)
	}
	return ran, nil
}

func (m *Model) replayOne(ctx context.Context, r *warmUpRequest) error {
	sig, err := m.warmUpSignature(r.signature)
	if err != nil {
		return err
	}
	part := make([]model.Tensor, len(sig.Inputs))
	for i, in := range sig.Inputs {
		t, ok := r.inputs[in.Name]
		if !ok {
			return fmt.Errorf("signature %q: input %q is missing; the request has %s", sig.Name, in.Name, strings.Join(slices.Sorted(maps.Keys(r.inputs)), ", "))
		}
		part[i] = t
	}
	r.ran = true
	_, err = m.Run(ctx, sig, [][]model.Tensor{part})
	return err
}

func (m *Model) warmUpSignature(name string) (*model.Signature, error) {
	if name == "" {
		name = "serving_default"
	}
	if sig := m.signatures[name]; sig != nil {
		return sig, nil
	}
	return nil, fmt.Errorf("there is no signature %q; there are %s", name, strings.Join(slices.Sorted(maps.Keys(m.signatures)), ", "))
}

// rehearse runs every signature on made-up input, and says how often.
func (m *Model) rehearse(ctx context.Context) (ran int, err error) {
	for _, name := range slices.Sorted(maps.Keys(m.signatures)) {
		sig := m.signatures[name]
		for _, rows := range m.warmUpRows(sig) {
			_, err := m.Run(ctx, sig, [][]model.Tensor{synthetic(sig, rows)})
			switch {
			case ctx.Err() != nil:
				return ran, context.Cause(ctx)
			case lacksVariables(err):
				return ran, fmt.Errorf("signature %q: %w; %s", name, err, m.remedy())
			case err != nil:
				m.opts.Logger.Warn("the warm-up run failed, which need not matter: it ran on zeros",
					zap.String("model", m.opts.Name), zap.String("signature", name), zap.Int64("rows", rows), zap.Error(err))
			default:
				ran++
			}
			if err != nil {
				break // with more rows it would fail alike
			}
		}
	}
	return ran, nil
}

// warmUpRows are the numbers of rows that a signature is rehearsed with: those
// that its batches will have, as far as they can be told before.
func (m *Model) warmUpRows(sig *model.Signature) []int64 {
	memory := int64(warmUpBytes / max(rowBytes(sig), 1))
	fixed, batched := sig.Batch()
	sizes := []int64{1}
	switch {
	case !batched: // one part, as it is
	case fixed >= 0: // a run fills it up to that
		memory /= max(fixed, 1)
	case len(m.opts.Config.AllowedBatchSizes) > 0:
		sizes = m.allowedRows()
	default:
		sizes = append(sizes, max(1, min(int64(m.maxRows()), memory)))
	}
	sizes = slices.DeleteFunc(slices.Compact(sizes), func(n int64) bool { return n > memory })
	if len(sizes) == 0 {
		m.opts.Logger.Warn("no warm-up run: its input would be too large", zap.String("model", m.opts.Name),
			zap.String("signature", sig.Name), zap.Int("limit", warmUpBytes))
	}
	return sizes
}

// maxRows is the most rows of a run that is bound by nothing else.
func (m *Model) maxRows() int {
	if n := m.opts.Config.MaxBatchSize; n > 0 {
		return min(n, m.opts.MaxBatchSize)
	}
	return m.opts.MaxBatchSize
}

// allowedRows are the allowed batch sizes that are used: those up to the
// worker's limit, or the least.
func (m *Model) allowedRows() (sizes []int64) {
	for i, n := range m.opts.Config.AllowedBatchSizes {
		if i == 0 || m.maxRows() <= 0 || n <= m.maxRows() {
			sizes = append(sizes, int64(n))
		}
	}
	return sizes
}

// rowBytes is the size of one made-up row of all inputs; 1<<62 stands for
// whatever is more.
func rowBytes(sig *model.Signature) (sum uint64) {
	for _, in := range sig.Inputs {
		n := uint64(max(in.DType.Size(), 1))
		if in.DType == model.String {
			n = stringBytes
		}
		for _, d := range syntheticShape(sig, in, 1) {
			hi, lo := bits.Mul64(n, uint64(d))
			if n = lo; hi != 0 || lo > 1<<62 {
				return 1 << 62
			}
		}
		if sum += n; sum > 1<<62 {
			return 1 << 62
		}
	}
	return sum
}

// syntheticShape is an input's shape with unknown dimensions 1, but for the
// rows of a batch.
func syntheticShape(sig *model.Signature, in model.TensorInfo, rows int64) []int64 {
	shape := slices.Clone(in.Shape)
	if in.UnknownRank {
		shape = []int64{1}
	}
	_, batched := sig.Batch()
	for d, n := range shape {
		if d == 0 && batched {
			shape[d] = rows
		} else if n < 0 {
			shape[d] = 1
		}
	}
	return shape
}

// synthetic is one part of zeros and empty strings.
func synthetic(sig *model.Signature, rows int64) []model.Tensor {
	part := make([]model.Tensor, len(sig.Inputs))
	for i, in := range sig.Inputs {
		t := model.Tensor{DType: in.DType, Shape: syntheticShape(sig, in, rows)}
		if n := model.Elements(t.Shape); in.DType == model.String {
			t.Bytes = make([][]byte, n)
		} else {
			t.Data = make([]byte, n*int64(in.DType.Size()))
		}
		part[i] = t
	}
	return part
}

// lacksVariables recognises the error of a model whose variables were never
// restored: tf.saved_model.save writes a Keras 3 model so.
func lacksVariables(err error) bool {
	e, ok := errors.AsType[*model.Error](err)
	return ok && e.Code == failedPrecondition && strings.Contains(e.Message, "Could not find variable")
}

func (m *Model) remedy() string {
	if !savedmodel.HasVariables(m.dir) {
		return savedmodel.NoCheckpoint
	}
	return savedmodel.Keras3Remedy
}
