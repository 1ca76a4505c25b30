package job

import (
	"context"
	"time"

	"github.com/penstock/penstock/queue"
)

// Estimate is what a job would be, and cost.
type Estimate struct {
	Objects  int           `json:"objects"`
	Skipped  int           `json:"skipped"` // seen and left out
	Bytes    int64         `json:"bytes"`
	Parts    int           `json:"parts"` // messages
	Calls    Calls         `json:"calls"`
	Dollars  float64       `json:"dollars"` // of the calls, at the prices below
	Work     time.Duration `json:"-"`       // of one worker; 0: nothing is known
	WorkSecs float64       `json:"workSeconds,omitempty"`
}

// Calls are the calls of S3 and SQS as they are billed: SQS counts each 64 KiB
// that a call carries.
type Calls struct {
	Reads  int64 `json:"s3Reads"`  // GET, HEAD
	Writes int64 `json:"s3Writes"` // PUT, COPY, LIST
	SQS    int64 `json:"sqs"`
}

// Prices in us-east-1, in dollars a call. docs/batch.md has the table.
const (
	priceRead  = 0.0004 / 1000
	priceWrite = 0.005 / 1000
	priceSQS   = 0.40 / 1_000_000
	billed     = 64 << 10 // bytes of a call of SQS that are one request
)

// Dollars is what the calls cost, without a free tier.
func (c Calls) Dollars() float64 {
	return float64(c.Reads)*priceRead + float64(c.Writes)*priceWrite + float64(c.SQS)*priceSQS
}

func (c *Calls) add(o Calls) {
	c.Reads += o.Reads
	c.Writes += o.Writes
	c.SQS += o.SQS
}

// What things cost. TestTheEstimateIsWhatAJobCosts compares them with calls that
// were counted.
var (
	callsOfPage  = Calls{Reads: 2, Writes: 3}  // the page, is it cancelled, it was sent; what was listed
	callsOfItem  = Calls{Reads: 2, Writes: 1}  // the input, is there an old failure; the output
	callsOfPart  = Calls{Writes: 1}            // the mark
	callsOfEnd   = Calls{Reads: 8, Writes: 12} // spec, seal, summary, looking for them
	callsOfGroup = Calls{Reads: 3, Writes: 2}  // its account
)

// partsPerLook is how many parts end for each listing of their group: one where
// they end slowly, some dozens where they end fast.
const partsPerLook = 4

// readBytes is how much of a range one call of a worker reads; a chunk of
// results is taken to come of as much.
const readBytes = 8 << 20

// Estimate goes through the sources of a job as Submit would, and writes and
// sends nothing.
func (p *Planner) Estimate(ctx context.Context, spec Spec) (Estimate, error) {
	spec, err := spec.Complete(p.Locations)
	if err != nil {
		return Estimate{}, err
	}
	w, err := p.walker(spec)
	if err != nil {
		return Estimate{}, err
	}
	var e Estimate
	e.Calls = callsOfEnd
	pg := &pager{walker: w, splitter: p.splitter(spec), packSize: p.packSize(spec)}
	pg.emit = func(_ context.Context, full *page) error {
		p.tell(func(d *Planned) {
			d.Objects, d.Skipped, d.Parts, d.Bytes = full.Sum.Objects, full.Sum.Skipped, full.Sum.Parts, full.Sum.Bytes
		})
		return e.add(full, spec)
	}
	if err := pg.run(ctx, cursor{}, 0, seal{}); err != nil {
		return e, err
	}
	if pg.sum.Objects == 0 {
		return e, nothingToDo(pg.sum.Skipped)
	}
	e.Objects, e.Skipped, e.Bytes, e.Parts = pg.sum.Objects, pg.sum.Skipped, pg.sum.Bytes, pg.sum.Parts
	for range pg.sum.groups() {
		e.Calls.add(callsOfGroup)
	}
	e.Calls.Writes += int64(e.Parts / partsPerLook)
	e.Dollars = e.Calls.Dollars()
	if !spec.Records() { // of a record nobody has learned what it costs
		e.Work = p.Cost * time.Duration(e.Objects)
		e.WorkSecs = e.Work.Seconds()
	}
	return e, nil
}

// add adds what a page costs.
func (e *Estimate) add(full *page, spec Spec) error {
	e.Calls.add(callsOfPage)
	parts, err := full.requests(spec.ID)
	if err != nil {
		return err
	}
	sizes := make([]int, len(parts))
	for i, items := range parts {
		m, err := message(spec.ID, items)
		if err != nil {
			return err
		}
		sizes[i] = m.Size()
		e.Calls.add(callsOfPart)
		if spec.Records() {
			r := items[0].Job.Range
			e.Calls.add(callsOfRange(r.To - r.From))
			continue
		}
		for range items {
			e.Calls.add(callsOfItem)
		}
	}
	for _, f := range full.Files {
		if f.ends() {
			// The output, the errors, and what an earlier run left.
			e.Calls.add(Calls{Reads: 2, Writes: 3})
		}
	}
	e.Calls.SQS += sqsCalls(sizes)
	return nil
}

// callsOfRange are a worker's reads and chunks, and what assembles these.
func callsOfRange(bytes int64) Calls {
	pieces := (bytes + readBytes - 1) / readBytes
	return Calls{Reads: 1 + 3*pieces, Writes: 2 + pieces}
}

// sqsCalls are those of messages of these sizes: sent and received in batches,
// and deleted.
func sqsCalls(sizes []int) (calls int64) {
	count, size := 0, 0
	flush := func() {
		if count > 0 {
			units := int64(max(1, (size+billed-1)/billed))
			calls += 2*units + 1
		}
		count, size = 0, 0
	}
	for _, s := range sizes {
		if count == queue.MaxBatch || size+s > queue.MaxMessageBytes {
			flush()
		}
		count, size = count+1, size+s
	}
	flush()
	return calls
}
