//go:build !race

// Memory is measured without the race detector, which keeps some of its own for
// each byte of Go's.

package codec

import (
	"bytes"
	"encoding/binary"
	"runtime/debug"
	"strings"
	"testing"

	"github.com/penstock/penstock/worker/model"
)

// However large the input, and however many records are asked for at once,
// memory is bounded by a few chunks and the longest record that is allowed.
func TestMemoryDoesNotGrowWithTheInput(t *testing.T) {
	defer debug.SetGCPercent(debug.SetGCPercent(100)) // whatever GOGC says
	rows, words := newModel(info("x", model.Float32, -1, 784)), newModel(info("x", model.String, -1))
	open := newModel(info("x", model.Float32, -1, -1))
	line := []byte(strings.Repeat("a", 1<<20))
	long := binary.LittleEndian.AppendUint64(nil, 1<<40)
	long = binary.LittleEndian.AppendUint32(long, maskedChecksum(long))
	const all = 1 << 40
	for name, c := range map[string]struct {
		model      *testModel
		src        Source
		head, body []byte
		size       int64
		most       int64
		limit      uint64 // MiB
	}{
		"TFRecords":           {rows, asTFRecord, nil, benchRecords("application/x-tfrecord"), 200 << 20, 64, 96},
		"TFRecords, all":      {rows, asTFRecord, nil, benchRecords("application/x-tfrecord"), 64 << 20, all, 128},
		"lines":               {rows, asLines, nil, benchRecords("application/jsonlines"), 16 << 20, 64, 64},
		"lines, all":          {rows, asLines, nil, benchRecords("application/jsonlines"), 16 << 20, all, 128},
		"lines of text":       {words, asLines, nil, []byte("\"a\"\n\"b\\n\"\n"), 2 << 20, all, 128},
		"CSV":                 {rows, asCSV, nil, benchRecords("text/csv"), 16 << 20, 64, 64},
		"other shapes":        {open, asLines, nil, []byte("[1]\n[1, 2]\n"), 1 << 18, all, 64},
		"bad lines":           {rows, asLines, nil, []byte("[\n"), 1 << 19, all, 64},
		"blank lines":         {words, asCSV, []byte("a\n"), bytes.Repeat([]byte("\n"), 4<<10), 2 << 20, all, 64},
		"a long line":         {words, asLines, []byte("\"a\"\n\""), line, 200 << 20, 64, 128},
		"a long line of CSV":  {words, asCSV, []byte("a\n"), line, 200 << 20, 64, 128},
		"quoted lines of CSV": {words, asCSV, []byte("a\n"), []byte("\"b\n\"\n"), 2 << 20, all, 128},
		"a long TFRecord":     {words, asTFRecord, append(tfrecord("a"), long...), line, 200 << 20, 64, 64},
		"gzip":                {words, asCSV, nil, []byte(gzipped(t, strings.Repeat(strings.Repeat("a", 100)+"\n", 10_000))), 1 << 17, 64, 64},
	} {
		t.Run(name, func(t *testing.T) {
			n, peak := drain(t, &repeated{head: c.head, body: c.body, n: c.size}, c.src, c.model, c.most)
			t.Logf("%d records took up to %.1f MiB", n, float64(peak)/(1<<20))
			if n == 0 || peak > c.limit<<20 {
				t.Errorf("%d records took up to %d MiB, more than %d", n, peak>>20, c.limit)
			}
		})
	}
}

// A record that is made of as many pieces as it has room for takes no more than a
// few times its text.
func TestWideRecordsTakeBoundedMemory(t *testing.T) {
	defer debug.SetGCPercent(debug.SetGCPercent(10)) // what is counted is not garbage
	wide := func(begin, value, comma, end string) string {
		n := DefaultMaxRecordBytes - len(begin+value+end)
		return begin + strings.Repeat(value+comma, n/len(value+comma)) + value + end
	}
	rows, words := newModel(info("x", model.Float32, -1, 784)), newModel(info("x", model.String, -1, -1))
	ints := newModel(info("x", model.Int64, -1, 784))
	for name, c := range map[string]struct {
		model        *testModel
		src          Source
		first, after string // records
	}{
		"numbers of CSV":        {rows, asCSV, "", wide("", "0", ",", "\n")},
		"words of CSV":          {words, asCSV, "a\n", wide("", "", ",", "\n")},
		"numbers of JSON":       {rows, asLines, "", wide("[", "0", ",", "]\n")},
		"words of JSON":         {words, asLines, "[]\n", wide("[", `""`, ",", "]\n")},
		"words of JSON objects": {words, asLines, `{"x": []}` + "\n", wide(`{"x": [`, `""`, ",", "]}\n")},
		"words of TFRecord":     {words, asTFRecord, "", string(tfrecord(example("x", proto(1, strings.Repeat("\n\x00", 8<<20-50)))))},
		"numbers of TFRecord":   {ints, asTFRecord, "", string(tfrecord(example("x", proto(3, proto(1, strings.Repeat("\x01", 16<<20-50))))))},
	} {
		t.Run(name, func(t *testing.T) {
			n, peak := drain(t, &repeated{head: []byte(c.first), body: []byte(c.after), n: 3 * int64(len(c.after))}, c.src, c.model, 1<<40)
			t.Logf("%d records took up to %.1f MiB", n, float64(peak)/(1<<20))
			if n < 3 || n > 4 || peak > 128<<20 {
				t.Errorf("%d records took up to %d MiB, more than 128", n, peak>>20)
			}
		})
	}
}

func TestGzipBombsAreRefused(t *testing.T) {
	words := newModel(info("x", model.String, -1))
	member := []byte(gzipped(t, strings.Repeat(strings.Repeat("a", 1<<10)+"\n", 1<<10))) // a thousandfold
	records, err := OpenRecords(&repeated{body: member, n: 1 << 30}, asCSV, words)
	for read := int64(0); err == nil; {
		var c *Chunk
		if c, err = records.Next(1000); err == nil {
			if read += int64(len(c.Records)) << 10; read > 512<<20 {
				t.Fatal("half a GiB was read")
			}
		}
	}
	checkError(t, err, CodeTooLarge, "compressed bytes became", "more than 64 MiB, and 200 times as many", "uncompressed")
}
