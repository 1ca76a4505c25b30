package job

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/penstock/penstock/queue"
	queuemem "github.com/penstock/penstock/queue/mem"
	"github.com/penstock/penstock/queue/request"
	"github.com/penstock/penstock/storage"
	storemem "github.com/penstock/penstock/storage/mem"
	"github.com/penstock/penstock/storage/storagetest"
)

const bucket = "bucket"

var locations = request.Locations{
	Inputs:  []storage.Ref{{Bucket: bucket, Key: "in/"}},
	Output:  storage.Ref{Bucket: bucket, Key: "out/"},
	Failure: storage.Ref{Bucket: bucket, Key: "failed/"},
	State:   storage.Ref{Bucket: bucket, Key: ".penstock/"},
}

// plant is a store, a queue, and who works with them.
type plant struct {
	t     *testing.T
	store *storemem.Store
	queue *queuemem.Queue

	mu   sync.Mutex
	runs map[string]map[int64]int // how many runs an input, or the record at an offset of it, had
}

// in runs a story on a clock of its own.
func in(t *testing.T, story func(t *testing.T, p *plant)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		t.Helper()
		story(t, &plant{t: t, store: storemem.New(bucket), queue: queuemem.New(queuemem.Options{}), runs: map[string]map[int64]int{}})
	})
}

// process is a program that may die: from then on its calls have no effect.
type process struct {
	*plant
	store *storagetest.Hooked
	dead  atomic.Bool
	hook  func(call func() error) error // befalls every call; may be nil
	batch int                           // lines in a chunk
}

var errDead = errors.New("the process is dead")

func (p *plant) process() *process {
	w := &process{plant: p, store: &storagetest.Hooked{Store: p.store}, batch: 3}
	w.store.OnCall(func(_ context.Context, _ string, _ storage.Ref, call func() error) error { return w.through(call) })
	return w
}

func (w *process) through(call func() error) error {
	switch {
	case w.dead.Load():
		return errDead
	case w.hook != nil:
		return w.hook(call)
	}
	return call()
}

// Send implements queue.Sender.
func (w *process) Send(ctx context.Context, messages ...queue.Outgoing) (errs []error) {
	err := w.through(func() error { errs = w.queue.Send(ctx, messages...); return nil })
	if err != nil {
		return slices.Repeat([]error{err}, len(messages))
	}
	return errs
}

func (w *process) books() *Books { return &Books{Store: w.store, Locations: locations} }

func (w *process) planner() *Planner { return &Planner{Books: w.books(), Queue: w} }

// work is a worker: it ends with its process, or when the queue is empty.
func (w *process) work(ctx context.Context) {
	books := w.books()
	for !w.dead.Load() && ctx.Err() == nil {
		var got []*queue.Message
		err := w.through(func() (err error) { got, err = w.queue.Receive(ctx, 5, 30*time.Second, 0); return err })
		if err == nil && len(got) == 0 {
			if w.queue.Len() == 0 {
				return
			}
			time.Sleep(time.Second)
			continue
		}
		var wg sync.WaitGroup
		for _, m := range got {
			wg.Go(func() {
				if err := w.handle(ctx, books, m); err != nil {
					return // it comes again
				}
				_ = w.through(func() error { return errors.Join(w.queue.Delete(ctx, m)...) })
			})
		}
		wg.Wait()
	}
}

func (w *process) handle(ctx context.Context, books *Books, m *queue.Message) error {
	requests, err := request.Decode(m.Body)
	if err != nil {
		w.t.Errorf("a message can't be read: %v", err)
		return nil
	}
	item := requests[0].Job
	part := Part{item.Part, item.Items}
	spec, err := books.Spec(ctx, item.ID)
	if err != nil {
		return err
	}
	if m.ReceiveCount > 1 {
		if done, err := books.Finished(ctx, item.ID, part); done || err != nil {
			return err
		}
	}
	var verdicts []Verdict
	for _, r := range requests {
		cancelled, err := books.Cancelled(ctx, item.ID)
		if err != nil {
			return err
		}
		fate := Cancelled
		if !cancelled {
			if fate, err = w.run(ctx, spec.Apply(r)); err != nil {
				return err
			}
		}
		verdicts = append(verdicts, Verdict{r.Job.Item, fate})
	}
	return books.Settled(ctx, item.ID, part, verdicts)
}

func (w *process) ran(key string, at int64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.runs[key] == nil {
		w.runs[key] = map[int64]int{}
	}
	w.runs[key][at]++
}

// run takes an item to its terminal object: in capitals is its output, and
// whoever is called bad fails.
func (w *process) run(ctx context.Context, r request.Request) (Fate, error) {
	output, failure := locations.OutputOf(r.Whole()), locations.FailureOf(r.Whole())
	for fate, ref := range map[Fate]storage.Ref{Succeeded: output, Failed: failure} {
		if fate == Succeeded && r.Job.Range != nil {
			continue
		}
		if there, err := exists(ctx, w.store, ref); there || err != nil {
			return fate, err
		}
	}
	fail := func(code string) (Fate, error) {
		_, err := putNew(ctx, w.store, failure, request.Failure{Error: request.Problem{Code: code, Message: "it is bad"}, Input: r.Input.String()}.JSON(), storage.PutOptions{})
		return Failed, err
	}
	if r.Job.Range != nil {
		return w.runRange(ctx, r, fail)
	}
	body, err := read(ctx, w.store, r.Input, storage.GetOptions{})
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return fail(request.CodeNotFound)
	case err != nil:
		return 0, err
	}
	w.ran(r.Input.Key, 0)
	if strings.Contains(r.Input.Key, "bad") {
		return fail(request.CodeModelError)
	}
	_, err = putNew(ctx, w.store, output, bytes.ToUpper(body), storage.PutOptions{})
	return Succeeded, err
}

// runRange is a worker's of JSON lines: a line that holds "bad" is, and has an
// empty object in its place.
func (w *process) runRange(ctx context.Context, r request.Request, fail func(string) (Fate, error)) (Fate, error) {
	chunks := Chunks{Store: w.store, Locations: locations}
	seq, p, ok, err := chunks.Last(ctx, r.Job.ID, r.Job.Part)
	if err != nil {
		return 0, err
	}
	at := r.Job.Range.From
	if seq++; !ok {
		seq = 0
	} else {
		at = p.NextOffset
	}
	for !p.Done {
		body, err := read(ctx, w.store, r.Input, storage.GetOptions{
			IfMatch: r.ETag, Offset: max(0, at-1), Length: max(0, r.Job.Range.To-at) + 5000, // no line is longer
		})
		if errors.Is(err, storage.ErrPrecondition) || errors.Is(err, fs.ErrNotExist) {
			return fail(request.CodeChanged)
		}
		if err != nil {
			return 0, err
		}
		c, next := w.chunk(r, body, at, p)
		adopted, _, err := chunks.PutChunk(ctx, r.Job.ID, r.Job.Part, seq, c, next)
		if err != nil {
			return 0, err
		}
		p, at = adopted, adopted.NextOffset
		seq++
	}
	return Succeeded, nil
}

// chunk works on a few lines of a range. body begins a byte before at.
func (w *process) chunk(r request.Request, body []byte, at int64, p Progress) (Chunk, Progress) {
	c := Chunk{ContentType: "application/jsonlines", Model: "upper"}
	if at > 0 {
		if before := body[0]; before != '\n' { // the line belongs to the range before
			n := bytes.IndexByte(body[1:], '\n')
			if n < 0 {
				n = len(body) - 2
			}
			body, at = body[1+n:], at+int64(n)+1
		}
		body = body[1:]
	}
	for range w.batch {
		if at >= r.Job.Range.To || len(body) == 0 {
			p.Done, p.NextOffset = true, at
			return c, p
		}
		line, rest, _ := bytes.Cut(body, []byte("\n"))
		w.ran(r.Input.Key, at)
		p.Records++
		if bytes.Contains(line, []byte("bad")) {
			p.Bad++
			c.Output = append(c.Output, "{}\n"...)
			c.Errors = AppendError(c.Errors, RecordError{Record: p.Records, Offset: at, Code: "Bad", Message: "it is bad"})
		} else {
			c.Output = append(append(c.Output, bytes.ToUpper(line)...), '\n')
		}
		at += int64(len(body) - len(rest))
		body = rest
	}
	p.NextOffset = at
	return c, p
}

func (p *plant) put(key, body string) storage.Info {
	p.t.Helper()
	info, err := p.store.Put(p.t.Context(), storage.Ref{Bucket: bucket, Key: key}, []byte(body), storage.PutOptions{})
	if err != nil {
		p.t.Fatal(err)
	}
	return info
}

func (p *plant) get(key string) string {
	p.t.Helper()
	o, err := p.store.Get(p.t.Context(), storage.Ref{Bucket: bucket, Key: key}, storage.GetOptions{})
	if err != nil {
		p.t.Errorf("get %s: %v", key, err)
		return ""
	}
	defer o.Body.Close()
	body, err := io.ReadAll(o.Body)
	if err != nil {
		p.t.Fatal(err)
	}
	return string(body)
}

func (p *plant) keys(prefix string) []string {
	p.t.Helper()
	var keys []string
	for info, err := range p.store.List(p.t.Context(), storage.Ref{Bucket: bucket, Key: prefix}, "") {
		if err != nil {
			p.t.Fatal(err)
		}
		keys = append(keys, info.Ref.Key)
	}
	return keys
}

// summary is that of a job, or nil.
func (p *plant) summary(id string) *Summary {
	p.t.Helper()
	var s Summary
	err := readNote(p.t.Context(), p.store, booksOf(locations, id).summary(), &s)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		p.t.Fatal(err)
	}
	var copied Summary
	if err := json.Unmarshal([]byte(p.get("out/jobs/"+id+"/summary.json")), &copied); err != nil || copied.State != s.State {
		p.t.Errorf("the copy of the summary is another: %v", err)
	}
	return &s
}

// ended is the summary of a job that must have one.
func (p *plant) ended(id string) *Summary {
	p.t.Helper()
	s := p.summary(id)
	if s == nil {
		p.t.Fatalf("the job has no summary; in its books are %q", p.keys(".penstock/"))
	}
	return s
}

func (w *process) submit(spec Spec) Planned {
	w.t.Helper()
	done, err := w.planner().Submit(w.t.Context(), spec)
	if err != nil {
		w.t.Fatal(err)
	}
	return done
}

// prefix is a job over everything.
func prefix(id string) Spec {
	return Spec{ID: id, Sources: []string{"s3://bucket/in/"}}
}
