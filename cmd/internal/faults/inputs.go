//go:build linux

package main

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/penstock/penstock/queue/request"
	"github.com/penstock/penstock/storage"
	"github.com/penstock/penstock/storage/s3"
	"github.com/penstock/penstock/worker/codec"
)

// kind is what an input is like, and so what must become of it.
type kind string

const (
	rows    kind = "rows"    // small, of one to four rows
	large   kind = "large"   // 20 rows or more, which no batch takes, in 100 KB
	digit   kind = "digit"   // a PNG for another model
	lines   kind = "lines"   // JSON lines of some hundred records, a few of them bad
	long    kind = "long"    // JSON lines of 9 MB or more: read in segments, answered in parts
	slow    kind = "slow"    // takes the model two seconds
	refused kind = "refused" // the model fails on it, softly
	broken  kind = "broken"  // is no JSON
	missing kind = "missing" // is not there
	expired kind = "expired" // was over its TTL when it was sent
	killer  kind = "killer"  // aborts the process
	hanging kind = "hanging" // keeps the model for an hour
)

// verdicts are the codes of the failure objects of kinds that must fail.
var verdicts = map[kind]string{
	refused: request.CodeModelError,
	broken:  codec.CodeMalformed,
	missing: request.CodeNotFound,
	expired: request.CodeExpired,
	killer:  request.CodePoison,
	hanging: request.CodeTimeout,
}

// buried are the kinds that belong in the dead-letter queue.
var buried = map[kind]bool{killer: true}

// input is one input and the answer to it.
type input struct {
	kind        kind
	request     request.Request
	body        []byte
	contentType string
	metadata    map[string]string
	etag        string

	rows       [][2]float32 // of all but the following
	label      string       // of digits
	records    []record     // of lines and long
	resultType string       // what the output's Content-Type must be

	sent time.Time
}

// locations of a scenario's bucket.
func locations(bucket string) (request.Locations, error) {
	at := "s3://" + bucket
	return request.ParseLocations(at+"/in/", at+"/out/", at+"/failed/", "")
}

// maker makes inputs from a seed.
type maker struct {
	dice   *rand.Rand
	bucket string
	digits []golden
}

// golden is a picture with its answer.
type golden struct {
	Image string
	Label int
	bytes []byte
}

// readDigits reads the pictures of the digits model.
func readDigits(dir string) ([]golden, error) {
	list, err := os.ReadFile(filepath.Join(dir, "golden.json"))
	if err != nil {
		return nil, err
	}
	var all []golden
	if err := json.Unmarshal(list, &all); err != nil {
		return nil, fmt.Errorf("golden.json: %w", err)
	}
	for i := range all {
		if all[i].bytes, err = os.ReadFile(filepath.Join(dir, "images", all[i].Image)); err != nil {
			return nil, err
		}
	}
	return all, nil
}

// make makes n inputs: so many of each special kind, at random places among
// ordinary ones.
func (m *maker) make(n int, special map[kind]int) []*input {
	kinds := make([]kind, n)
	for i := range kinds {
		switch p := m.dice.IntN(100); {
		case p < 10:
			kinds[i] = digit
		case p < 12:
			kinds[i] = large
		case p < 13:
			kinds[i] = lines
		default:
			kinds[i] = rows
		}
	}
	// Not among the first, which show what is normal. In a fixed order, or the
	// map's would change what a seed means.
	first := n / 10
	places := m.dice.Perm(n - first)
	for _, k := range []kind{slow, refused, broken, missing, expired, killer, hanging, lines, long} {
		for range special[k] {
			kinds[first+places[0]] = k
			places = places[1:]
		}
	}
	inputs := make([]*input, n)
	for i, k := range kinds {
		inputs[i] = m.one(i, k)
	}
	return inputs
}

func (m *maker) one(i int, k kind) *input {
	in := &input{kind: k, contentType: "application/json", resultType: "application/json"}
	in.request = request.Request{Input: storage.Ref{Bucket: m.bucket, Key: fmt.Sprintf("in/%02d/%05d-%s.json", i%20, i, k)}}
	if k == expired {
		in.request.TTL, in.request.Enqueued = time.Second, time.Now().Add(-time.Minute)
	}
	if m.dice.IntN(4) == 0 || k == expired {
		in.request.ID = "request-" + strconv.Itoa(i)
	}
	if k == digit {
		g := m.digits[m.dice.IntN(len(m.digits))]
		in.body, in.contentType, in.label = g.bytes, "image/png", strconv.Itoa(g.Label)
		in.chooses("digits")
		return in
	}
	if k.hasRecords() {
		m.records(in, i)
		return in
	}
	in.chooses("faulty")
	n := 1 + m.dice.IntN(4)
	if k == large {
		n = 20 + m.dice.IntN(40)
	}
	in.rows = make([][2]float32, n)
	for j := range in.rows {
		// No other row of the scenario is like it, so an answer that belongs to
		// another input is seen. 3,000 up is clear of the model's signals.
		in.rows[j] = [2]float32{float32(3000 + i), float32(j) + float32(m.dice.IntN(64))/64}
	}
	signal := map[kind]float32{slow: 555, refused: -1, killer: 666, hanging: 777}
	if v, ok := signal[k]; ok {
		in.rows[m.dice.IntN(n)][1] = v
	}
	in.body, _ = json.Marshal(map[string]any{"instances": in.rows}) // numbers always marshal
	switch k {
	case large:
		in.body = append(in.body, make([]byte, 100<<10)...)
		for j := len(in.body) - 100<<10; j < len(in.body); j++ {
			in.body[j] = ' '
		}
	case broken:
		in.body = in.body[:len(in.body)/2]
	}
	return in
}

// chooses names the model: an upload does it by metadata.
func (in *input) chooses(model string) {
	if in.request.Upload() {
		in.metadata = map[string]string{request.UploadModel: model}
		return
	}
	in.request.Model = model
}

// upload puts the inputs where they belong.
func upload(ctx context.Context, store *s3.Store, inputs []*input) error {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(8)
	for _, in := range inputs {
		if in.kind == missing {
			continue
		}
		g.Go(func() error {
			info, err := store.Put(ctx, in.request.Input, in.body, storage.PutOptions{ContentType: in.contentType, Metadata: in.metadata})
			in.etag = info.ETag
			return err
		})
	}
	return g.Wait()
}
