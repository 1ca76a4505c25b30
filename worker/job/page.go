package job

import (
	"bytes"
	"encoding/json"
	"time"

	"github.com/penstock/penstock/queue/request"
	"github.com/penstock/penstock/storage"
	"github.com/penstock/penstock/storage/manifest"
)

// page is a piece of the plan: up to pageItems items. It is written before
// anything of it is sent, and says where planning goes on, so that whoever
// plans on need not know how it came so far.
type page struct {
	First int `json:"first"` // number of its first part
	// Packs are the parts of a job of references. There are none of a job of
	// record files, which has Files.
	Packs [][]reference `json:"packs,omitempty"`
	Files []file        `json:"files,omitempty"`
	Next  cursor        `json:"next"`
	End   bool          `json:"end,omitempty"` // the sources end with it: nothing is planned behind it
	Sum   seal          `json:"sum"`           // of this page and all before it
}

// pageItems is how many items a page has at most. A page of ranges has one
// group of parts, so that of a group one page tells all files: but for the last
// one, which nothing may follow, each is full.
const pageItems = groupParts

// reference is an object that is one request.
type reference struct {
	Input   string `json:"in"` // its URI
	Version string `json:"versionId,omitempty"`
	Size    int64  `json:"size,omitempty"`
}

// file is a file of records, as far as its ranges are in one page.
type file struct {
	Input    string    `json:"in"`
	Version  string    `json:"versionId,omitempty"` // where a manifest names one
	Size     int64     `json:"size"`
	ETag     string    `json:"etag"`
	Modified time.Time `json:"modified"`
	Type     string    `json:"type,omitempty"`     // of its content, where it was looked at
	Encoding string    `json:"encoding,omitempty"` // likewise
	Header   int64     `json:"header,omitempty"`   // bytes of a CSV's first record
	Part     int       `json:"part"`               // that of its first range, perhaps in an earlier page
	Ranges   []span    `json:"ranges"`             // those of this page
	Parts    int       `json:"parts,omitempty"`    // how many the whole file has, where the page has its last; else 0
}

// ends says whether the last range of the file is in this page.
func (f file) ends() bool { return f.Parts > 0 }

// span is a range of bytes: from, to.
type span [2]int64

// cursor is how far sources have been planned.
type cursor struct {
	Source   int               `json:"source,omitempty"`  // number of the source that comes next, or is being listed
	After    string            `json:"after,omitempty"`   // the last key that was seen of it
	Manifest manifest.Position `json:"manifest,omitzero"` // behind the last entry that was seen
	Open     *open             `json:"open,omitempty"`    // a file of which there is more
}

// open is a file that has ranges in earlier pages and will have some in later
// ones.
type open struct {
	file
	Offset int64 `json:"offset"` // the next range's first byte
}

// parts is how many parts the page has.
func (p *page) parts() int {
	n := len(p.Packs)
	for _, f := range p.Files {
		n += len(f.Ranges)
	}
	return n
}

// add adds what the page holds to the sums of those before it.
func (s seal) add(p *page) seal {
	s.Parts += p.parts()
	for _, pack := range p.Packs {
		s.Items += len(pack)
		s.Objects += len(pack)
		for _, r := range pack {
			s.Bytes += r.Size
		}
	}
	for _, f := range p.Files {
		s.Items += len(f.Ranges)
		if f.ends() {
			s.Objects++
			s.Bytes += f.Size
		}
	}
	return s
}

// seal ends the plan: it says what all pages hold together.
type seal struct {
	Parts   int   `json:"parts"`
	Items   int   `json:"items"`
	Objects int   `json:"objects"`
	Bytes   int64 `json:"bytes"`
	Skipped int   `json:"skipped,omitempty"` // objects that were listed and left out: folders, those that patterns leave out
	// Partial says that planning was broken off by a cancel: there is more in
	// the sources. Who resumes the job takes the seal off.
	Partial bool       `json:"partial,omitempty"`
	Time    *time.Time `json:"time,omitempty"`
}

// groups is how many groups the parts make.
func (s seal) groups() int { return (s.Parts + groupParts - 1) / groupParts }

// partsOf is how many parts a group has.
func (s seal) partsOf(g int) int { return min(groupParts, s.Parts-g*groupParts) }

// ref is the object that the file is.
func (f file) ref() (storage.Ref, error) {
	ref, err := storage.ParseRef(f.Input)
	ref.Version = f.Version
	return ref, err
}

// request is the request on the whole file.
func (f file) request(id string) (request.Request, error) {
	ref, err := f.ref()
	return request.Request{Input: ref, ETag: f.ETag, Size: f.Size, Job: &request.JobItem{ID: id, Part: f.Part, Items: 1}}, err
}

// requests are the items of every part of the page, part by part.
func (p *page) requests(id string) ([][]request.Request, error) {
	var parts [][]request.Request
	for _, pack := range p.Packs {
		var items []request.Request
		for i, r := range pack {
			ref, err := storage.ParseRef(r.Input)
			if err != nil {
				return nil, err
			}
			ref.Version = r.Version
			items = append(items, request.Request{
				Input: ref, Size: r.Size,
				Job: &request.JobItem{ID: id, Part: p.First + len(parts), Items: len(pack), Item: i},
			})
		}
		parts = append(parts, items)
	}
	for _, f := range p.Files {
		whole, err := f.request(id)
		if err != nil {
			return nil, err
		}
		for _, s := range f.Ranges {
			item := whole
			item.Job = &request.JobItem{ID: id, Part: p.First + len(parts), Items: 1, Range: &request.Range{From: s[0], To: s[1]}}
			if s[0] > 0 {
				item.Job.Range.Header = f.Header
			}
			parts = append(parts, []request.Request{item})
		}
	}
	return parts, nil
}

// same says whether two pages hold the same parts and end at the same point.
func (p *page) same(o *page) bool {
	a, errA := json.Marshal(p)
	b, errB := json.Marshal(o)
	return errA == nil && errB == nil && bytes.Equal(a, b)
}
