package worker

import (
	"slices"
	"strconv"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"github.com/penstock/penstock/worker/model"
)

// maxPolicies is how many signatures the batcher remembers something of, and
// maxShapes how many shapes of each. Models are replaced and shapes are the
// clients', so there must be a bound; what is forgotten is learned again.
const (
	maxPolicies = 256
	maxShapes   = 256
)

type policyKey struct {
	model     model.Model
	signature *model.Signature
}

// policy is how the batches of one signature are made.
type policy struct {
	policyKey
	maxRows    int64         // of the items in a run
	sizes      []int64       // that a run may have, ascending; none is any up to maxRows
	fixed      bool          // the signature has one size only
	timeout    time.Duration // for a batch to fill
	concurrent int           // runs of the model at once; 0 is any number
	padding    *model.Padding
	single     atomic.Bool           // items run one by one and undivided; once set it stays
	costs      recent[string, *cost] // by shape: guarded by batcher.mu
}

// policyFor gives the policy of a model's signature.
func (b *batcher) policyFor(m model.Model, s *model.Signature) *policy {
	key := policyKey{m, s}
	if p, ok := b.policies.get(key); ok {
		return p
	}
	c := m.Config()
	p := &policy{
		policyKey: key, maxRows: int64(b.maxRows), timeout: b.timeout, concurrent: c.MaxConcurrentBatches,
		costs: recent[string, *cost]{most: maxShapes},
	}
	if c.MaxBatchSize > 0 {
		p.maxRows = min(p.maxRows, int64(c.MaxBatchSize))
	}
	if c.BatchTimeoutMicros != nil {
		p.timeout = time.Duration(*c.BatchTimeoutMicros) * time.Microsecond
	}
	var err error
	if p.padding, err = model.NewPadding(s, c); err != nil {
		b.log.Error("rows are not filled up", p.names(err)...)
	}
	switch fixed, ok := s.Batch(); {
	case !ok:
		p.single.Store(true)
		b.log.Info("runs one item at a time: it declares no first dimension that all inputs and outputs share", p.names(nil)...)
	case fixed > 0:
		p.sizes, p.fixed = []int64{fixed}, true
	default:
		p.sizes = allowed(c.AllowedBatchSizes, p.maxRows)
	}
	// A model that takes no less than some size takes that, whatever the
	// worker's limit: the alternative is not to run it.
	if n := len(p.sizes); n > 0 {
		p.maxRows = p.sizes[n-1]
	}
	b.policies.put(key, p)
	return p
}

// rowLimit is how many rows of the signature's one run takes; 1 when it takes
// one item at a time.
func (b *batcher) rowLimit(m model.Model, s *model.Signature) int64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	if p := b.policyFor(m, s); !p.single.Load() {
		return p.maxRows
	}
	return 1
}

// small is how many rows a small item has at most.
func (p *policy) small() int64 { return max(1, p.maxRows/2) }

// allowed gives the sizes of a model's file that are no larger than most; the
// least of them when all are.
func allowed(sizes []int, most int64) []int64 {
	var list []int64
	for _, n := range slices.Sorted(slices.Values(sizes)) {
		if n > 0 && (int64(n) <= most || len(list) == 0) {
			list = append(list, int64(n))
		}
	}
	return slices.Compact(list)
}

func (p *policy) names(err error) []zap.Field {
	return []zap.Field{
		zap.String("model", p.model.Name()), zap.String("version", p.model.Version()),
		zap.String("signature", p.signature.Name), zap.Error(err),
	}
}

// unbatchable notes that outputs of the signature are not of the rows that went
// in, and says so the first time.
func (b *batcher) unbatchable(p *policy, why error) {
	if !p.single.Swap(true) {
		b.log.Warn("runs one item at a time from now on: its outputs are not of the rows that went in", p.names(why)...)
	}
}

// size is how many rows a run of that many has once it is filled up.
func (p *policy) size(rows int64) int64 {
	if p.single.Load() && !p.fixed {
		return rows
	}
	for _, n := range p.sizes {
		if n >= rows {
			return n
		}
	}
	return rows
}

// shapeOf gives what tensors have to share with others to be in one run: their
// type, and all dimensions but the first, as they are when they are filled up.
func (p *policy) shapeOf(tensors []model.Tensor) string {
	b := make([]byte, 0, 64)
	for i, t := range tensors {
		b = strconv.AppendInt(b, int64(t.DType), 10)
		b = append(b, ':')
		for _, n := range p.padding.RowShape(i, t) {
			b = strconv.AppendInt(b, n, 10)
			b = append(b, ' ')
		}
	}
	return string(b)
}

// elements counts those of an item, in all inputs, as they came and as they
// are in a run.
func (p *policy) elements(tensors []model.Tensor) (own, run int64) {
	for i, t := range tensors {
		own += model.Elements(t.Shape)
		if len(t.Shape) == 0 {
			run++
			continue
		}
		run += t.Shape[0] * model.Elements(p.padding.RowShape(i, t))
	}
	return own, run
}

// costOf gives what was learned of runs of one shape.
func (p *policy) costOf(shape string) *cost {
	c, ok := p.costs.get(shape)
	if !ok {
		c = new(cost)
		p.costs.put(shape, c)
	}
	return c
}
