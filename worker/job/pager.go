package job

import (
	"context"
	"encoding/json"

	"github.com/penstock/penstock/queue"
)

// pager divides what a walk finds into parts and pages. What it has in memory is
// one page.
type pager struct {
	walker   *walker
	splitter *splitter
	packSize int // references in a message, at most
	emit     func(context.Context, *page) error

	page *page
	pack []reference
	size int  // of the pack's message, about
	sum  seal // of the pages that were emitted, and what was skipped since
}

// What a message takes beside its references, and a reference beside its URI.
const (
	messageBytes   = 1 << 10
	referenceBytes = 64
)

// run plans from a cursor on: its first part is the number first, and before it
// is what sum says.
func (p *pager) run(ctx context.Context, from cursor, first int, sum seal) error {
	p.page, p.sum = &page{First: first, Next: from}, sum
	if from.Open != nil {
		behind := from
		behind.Open = nil
		if err := p.file(ctx, *from.Open, behind); err != nil {
			return err
		}
	}
	for e, err := range p.walker.walk(ctx, from) {
		if err == nil {
			err = p.add(ctx, e)
		}
		if err != nil {
			return err
		}
	}
	p.closePack()
	if p.page.First == 0 && p.page.parts() == 0 {
		return nil
	}
	p.page.End = true // also of an empty page: of those who plan the job one says where it ends
	return p.flush(ctx)
}

// add takes an object into the plan.
func (p *pager) add(ctx context.Context, e entry) error {
	if e.skip {
		p.sum.Skipped++
		p.page.Next = e.next
		return nil
	}
	if !p.walker.spec.Records() {
		return p.reference(ctx, e)
	}
	o, ok, err := p.splitter.open(ctx, e.info)
	if err != nil {
		return err
	}
	if !ok {
		p.sum.Skipped++
		p.page.Next = e.next
		return nil
	}
	o.Part = p.page.First + p.page.parts()
	return p.file(ctx, o, e.next)
}

// reference adds one to the pack.
func (p *pager) reference(ctx context.Context, e entry) error {
	ref := e.info.Ref
	version := ref.Version
	ref.Version = ""
	text, err := json.Marshal(ref.String())
	if err != nil {
		return err
	}
	size := len(text) + len(version) + referenceBytes
	if len(p.pack) == p.packSize || p.size+size > queue.MaxMessageBytes-messageBytes {
		p.closePack()
	}
	p.pack = append(p.pack, reference{ref.String(), version, e.info.Size})
	p.size += size
	p.page.Next = e.next
	items := len(p.pack)
	for _, pack := range p.page.Packs {
		items += len(pack)
	}
	if items < pageItems/p.packSize*p.packSize {
		return nil
	}
	p.closePack()
	return p.flush(ctx)
}

func (p *pager) closePack() {
	if len(p.pack) > 0 {
		p.page.Packs = append(p.page.Packs, p.pack)
	}
	p.pack, p.size = nil, 0
}

// file adds the ranges of a file. behind is where the walk goes on after it.
func (p *pager) file(ctx context.Context, o open, behind cursor) error {
	begun := false // the file has ranges in this page
	return p.splitter.split(ctx, o, func(to, header int64) error {
		o.Header = header
		if !begun {
			p.page.Files = append(p.page.Files, o.file)
			begun = true
		}
		f := &p.page.Files[len(p.page.Files)-1]
		f.Header = header
		f.Ranges = append(f.Ranges, span{o.Offset, to})
		o.Offset = to
		p.page.Next = behind
		if to == o.Size {
			f.Parts = p.page.First + p.page.parts() - o.Part
		} else {
			rest := o
			p.page.Next.Open = &rest
		}
		if p.page.parts() < pageItems {
			return nil
		}
		begun = false
		return p.flush(ctx)
	})
}

// flush emits the page and begins the next.
func (p *pager) flush(ctx context.Context) error {
	full := p.page
	p.sum = p.sum.add(full)
	full.Sum = p.sum
	p.page = &page{First: full.First + full.parts(), Next: full.Next}
	return p.emit(ctx, full)
}
