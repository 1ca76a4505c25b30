package job

import (
	"errors"
	"fmt"
	"path"
	"strconv"
	"strings"

	"github.com/penstock/penstock/queue/request"
	"github.com/penstock/penstock/storage"
)

// groupParts is how many parts a group has. A worker that has ended one lists
// its group: that is one call of S3.
const groupParts = 1000

// MaxParts is how many parts a job may have: numbers in keys have nine digits,
// so that listings are in their order.
const MaxParts = 1_000_000_000

const jobsFolder = "jobs/"

// books is the folder of one job's books.
type books struct{ folder storage.Ref }

func booksOf(l request.Locations, id string) books {
	return books{storage.Ref{Bucket: l.State.Bucket, Key: l.State.Key + jobsFolder + id + "/"}}
}

func (b books) at(name string) storage.Ref {
	return storage.Ref{Bucket: b.folder.Bucket, Key: b.folder.Key + name}
}

func (b books) spec() storage.Ref    { return b.at("job.json") }
func (b books) cancel() storage.Ref  { return b.at("cancel") }
func (b books) summary() storage.Ref { return b.at("summary.json") }

func (b books) pages() storage.Ref          { return b.at("plan/") }
func (b books) page(first int) storage.Ref  { return b.at(fmt.Sprintf("plan/%09d", first)) }
func (b books) sealed() storage.Ref         { return b.at("plan/sealed") }
func (b books) sents() storage.Ref          { return b.at("sent/") }
func (b books) sent(first int) storage.Ref  { return b.at(fmt.Sprintf("sent/%09d", first)) }
func (b books) groups() storage.Ref         { return b.at("groups/") }
func (b books) group(g int) storage.Ref     { return b.at(fmt.Sprintf("groups/%06d", g)) }
func (b books) done(g int) storage.Ref      { return b.at(fmt.Sprintf("done/%06d/", g)) }
func (b books) allItems() storage.Ref       { return b.at("items/") }
func (b books) items(part int) storage.Ref  { return b.at(fmt.Sprintf("items/%09d/", part)) }
func (b books) allChunks() storage.Ref      { return b.at("chunks/") }
func (b books) chunks(part int) storage.Ref { return b.at(fmt.Sprintf("chunks/%09d/", part)) }
func (b books) chunk(part, seq int) storage.Ref {
	return b.at(fmt.Sprintf("chunks/%09d/%06d", part, seq))
}

// doneAs names the mark of a part that is done: its counts are in its key, so
// that a listing tells them.
func (b books) doneAs(part int, c Counts) storage.Ref {
	return b.at(fmt.Sprintf("done/%06d/%09d-%d-%d-%d", groupOf(part), part, c.Succeeded, c.Failed, c.Cancelled))
}

// doneAny is what all marks of a part begin with.
func (b books) doneAny(part int) storage.Ref {
	return b.at(fmt.Sprintf("done/%06d/%09d-", groupOf(part), part))
}

func (b books) item(part int, v Verdict) storage.Ref {
	return b.at(fmt.Sprintf("items/%09d/%05d-%c", part, v.Item, fateLetters[v.Fate]))
}

const fateLetters = "sfc"

func groupOf(part int) int { return part / groupParts }

// errForeign is the error of an object in the books that no Penstock wrote.
var errForeign = broken{errors.New("it is none of the names that Penstock writes there")}

// numbers reads the numbers of a name.
func numbers(ref storage.Ref, want int) ([]int, error) {
	fields := strings.Split(path.Base(ref.Key), "-")
	list := make([]int, len(fields))
	for i, f := range fields {
		n, err := strconv.Atoi(f)
		if err != nil || n < 0 {
			return nil, fmt.Errorf("%s: %w", ref, errForeign)
		}
		list[i] = n
	}
	if len(list) != want {
		return nil, fmt.Errorf("%s: %w", ref, errForeign)
	}
	return list, nil
}

// parseDone reads the mark of a part.
func parseDone(ref storage.Ref) (part int, c Counts, err error) {
	n, err := numbers(ref, 4)
	if err != nil {
		return 0, Counts{}, err
	}
	return n[0], Counts{Succeeded: n[1], Failed: n[2], Cancelled: n[3]}, nil
}

// parseItem reads the mark of an item.
func parseItem(ref storage.Ref) (part int, v Verdict, err error) {
	folder, name := path.Split(ref.Key)
	name, letter, ok := strings.Cut(name, "-")
	part, err1 := strconv.Atoi(path.Base(folder))
	item, err2 := strconv.Atoi(name)
	fate := strings.Index(fateLetters, letter)
	if !ok || err1 != nil || err2 != nil || part < 0 || item < 0 || fate < 0 || len(letter) != 1 {
		return 0, Verdict{}, fmt.Errorf("%s: %w", ref, errForeign)
	}
	return part, Verdict{Item: item, Fate: Fate(fate)}, nil
}

// parseChunk reads the name of a chunk.
func parseChunk(ref storage.Ref) (part, seq int, err error) {
	folder, _ := path.Split(ref.Key)
	part, err1 := strconv.Atoi(path.Base(folder))
	seq, err2 := strconv.Atoi(path.Base(ref.Key))
	if err1 != nil || err2 != nil || part < 0 || seq < 0 {
		return 0, 0, fmt.Errorf("%s: %w", ref, errForeign)
	}
	return part, seq, nil
}
