package codec

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/penstock/penstock/worker/model"
)

// inPieces reads b in pieces of random sizes, none among them.
type inPieces struct {
	b []byte
	r *rand.Rand
}

func (p *inPieces) Read(to []byte) (int, error) {
	if len(p.b) == 0 {
		return 0, io.EOF
	}
	n := copy(to[:min(len(to), p.r.IntN(1<<p.r.IntN(12)+1))], p.b)
	p.b = p.b[n:]
	return n, nil
}

// streamInPieces reads body as records, in pieces and chunks of random sizes.
func streamInPieces(t *testing.T, body []byte, src Source, m model.Model, seed uint64) (chunks []*Chunk, err error) {
	t.Helper()
	r := rand.New(rand.NewPCG(seed, 1))
	open := OpenRecords
	if r.IntN(2) > 0 && !bytes.HasPrefix(body, []byte(gzipMagic)) {
		open = func(r io.Reader, src Source, m model.Model) (*Records, error) { return lazily(r, body, src, m) }
	}
	records, err := open(&inPieces{body, r}, src, m)
	if err != nil {
		return nil, err
	}
	return rest(records, func() int64 { return int64(1 + r.IntN(1<<r.IntN(8))) })
}

// checkStream reads body in pieces, as a whole and record by record: the same
// records are good, with the same rows, and the others bad for the same reason.
// Memory stays in proportion.
func checkStream(t *testing.T, body []byte, src Source, m model.Model, seed uint64) {
	t.Helper()
	whole, wholeErr := Decode(t.Context(), body, src, m)
	if !Streams(body, src, m) {
		return
	}
	var chunks []*Chunk
	var err error
	// As Decode; and a reader's buffers, and an error for each record.
	took := allocated(func() { chunks, err = streamInPieces(t, body, src, m, seed) })
	if limit := uint64(1024*len(body) + 512<<10); took > limit {
		t.Errorf("%d bytes of input took %d bytes of memory", len(body), took)
	}
	if _, ok := errors.AsType[*Error](err); err != nil && !ok {
		t.Fatalf("the error is no *Error: %v", err)
	}
	singles, otherErr := readAll(t, bytes.NewReader(body), src, m, 1)
	if a, b := plainStory(chunks), plainStory(singles); a != b || (err == nil) != (otherErr == nil) || err != nil && err.Error() != otherErr.Error() {
		t.Fatalf("in pieces:\n%s%v\nrecord by record:\n%s%v", a, err, b, otherErr)
	}
	sound := err == nil
	var joined [][]model.Tensor
	for _, c := range chunks {
		sound = sound && !slices.ContainsFunc(c.Records, func(r Record) bool { return r.Err != nil })
		if c.Input != nil {
			joined = append(joined, c.Input.Tensors)
		}
	}
	if wholeErr == nil != sound && len(joined) < 2 {
		t.Fatalf("as a whole: %v; in pieces:\n%s%v", wholeErr, plainStory(chunks), err)
	}
	if wholeErr != nil {
		return
	}
	tensors, err := model.Concat(joined)
	checkTensors(t, &Input{Tensors: tensors}, err, whole.Tensors...)
}

// plainStory is the story without the bars between chunks.
func plainStory(chunks []*Chunk) string { return strings.ReplaceAll(story(chunks), "--\n", "") }

// FuzzStreamOfLines: JSON lines and CSV.
func FuzzStreamOfLines(f *testing.F) {
	models := []*testModel{
		floats, text, both, sensors,
		newModel(info("x", model.Float32, -1, 2)), newModel(info("x", model.Float64, -1, -1)), newModel(info("x", model.String, -1, 2)),
		newModel(anyShape("x", model.Int16)), newModel(anyShape("x", model.String)),
	}
	types := []string{"application/jsonlines", "text/csv", "text/csv; header=present", "text/csv; header=absent"}
	for _, body := range []string{
		"1\n2\n", "[1, 2]\r\n\n[3]\n[4, 5]\n{]\n[6, 7]", "[1]\n[1,2]\n[3]\n{\"x\": [4]}", `{"a": 1, "b": 2}` + "\n{}\n" + `{"b": 3, "a": 4}`,
		"\ufeffx\n1\n2", "x[1],x[0]\n1,2\n3\n4,5", "a,b\n1,2\n\n3,x\n\"4\",5\n", "a\nb \"c\n\"d\ne\"\nf\"\n\"g\"h\n\"i\n", "\"a\"\"b\",\"\nc\"\n,\n", strings.Repeat("a", 70),
	} {
		for which := range models {
			f.Add([]byte(body), uint8(which), uint8(which+len(body)), uint16(0), uint64(which))
			f.Add([]byte(body), uint8(which), uint8(which), uint16(5), uint64(which))
		}
	}
	f.Fuzz(func(t *testing.T, body []byte, which, kind uint8, limit uint16, seed uint64) {
		src := Source{ContentType: types[int(kind)%len(types)], MaxRecordBytes: int64(limit)}
		checkStream(t, body, src, models[int(which)%len(models)], seed)
	})
}

// FuzzStreamOfTFRecords: frames around records, of which a few are damaged.
func FuzzStreamOfTFRecords(f *testing.F) {
	good := example("x", floatFeature(1, 2))
	f.Add([]byte(good+"\n"+example("x", floatFeature(3))+"\n"+good), uint8(0), uint16(0), uint16(0), uint64(1))
	f.Add([]byte(example("x", bytesFeature("a", ""))+"\n\n"+example("x", bytesFeature("b"))), uint8(3), uint16(0), uint16(20), uint64(2))
	f.Add([]byte("a\nbc\n\nd"), uint8(3), uint16(21), uint16(0), uint64(3))
	models := []*testModel{
		newModel(info("x", model.Float32, -1, 2)), newModel(info("x", model.Float32, -1, -1)), newModel(anyShape("x", model.Uint8)),
		newModel(info("x", model.String, -1)), newModel(anyShape("x", model.String)), both,
	}
	f.Fuzz(func(t *testing.T, body []byte, which uint8, damage, limit uint16, seed uint64) {
		file := tfrecord(strings.Split(string(body), "\n")...)
		if at := int(damage); at > 0 && at < len(file) {
			file[at] ^= 1
			file = file[:len(file)-at%7]
		}
		src := Source{ContentType: "application/x-tfrecord", MaxRecordBytes: int64(limit)}
		checkStream(t, file, src, models[int(which)%len(models)], seed)
	})
}

// FuzzStreamOfGzip: what unpacks as a whole does so in pieces, too.
func FuzzStreamOfGzip(f *testing.F) {
	f.Add([]byte(gzipped(f, "1\n2\n")+gzipped(f, "3\n")), uint64(1))
	f.Add([]byte(gzipped(f, "1\n2\n")), uint64(2))
	f.Fuzz(func(t *testing.T, body []byte, seed uint64) {
		checkStream(t, body, Source{Name: "a.csv.gz"}, floats, seed)
		var content []string
		for line := range bytes.Lines(body) {
			content = append(content, gzipped(t, string(line)))
		}
		checkStream(t, []byte(strings.Join(content, "")), Source{Name: "a.jsonl.gz"}, floats, seed)
	})
}
