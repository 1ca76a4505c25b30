package codec

import (
	"bytes"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"runtime"
	"runtime/metrics"
	"strings"
	"testing"

	"github.com/penstock/penstock/worker/model"
)

var streamBytes = flag.Int64("stream-bytes", 64<<20, "how many bytes of records a benchmark of streams reads")

// repeated reads head once, and then body again and again until at least n
// bytes were given.
type repeated struct {
	head, body []byte
	n          int64
	at         int
}

func (r *repeated) Read(p []byte) (n int, err error) {
	if len(r.head) > 0 {
		n = copy(p, r.head)
		r.head = r.head[n:]
		return n, nil
	}
	if r.n <= 0 && r.at == 0 {
		return 0, io.EOF
	}
	n = copy(p, r.body[r.at:])
	r.at = (r.at + n) % len(r.body)
	r.n -= int64(n)
	return n, nil
}

// benchRecords are 256 rows of 784 numbers in each format.
func benchRecords(contentType string) []byte {
	r := rand.New(rand.NewPCG(1, 2))
	var b bytes.Buffer
	row := make([]float32, 784)
	for range 256 {
		for i := range row {
			row[i] = r.Float32()
		}
		switch contentType {
		case "application/x-tfrecord":
			b.Write(tfrecord(example("x", floatFeature(row...))))
			continue
		case "application/jsonlines":
			b.WriteByte('[')
		}
		for i, v := range row {
			if i > 0 {
				b.WriteByte(',')
			}
			fmt.Fprint(&b, v)
		}
		if contentType == "application/jsonlines" {
			b.WriteByte(']')
		}
		b.WriteByte('\n')
	}
	return b.Bytes()
}

// heap is the memory of live and not yet collected objects.
func heap() uint64 {
	s := []metrics.Sample{{Name: "/memory/classes/heap/objects:bytes"}}
	metrics.Read(s)
	return s[0].Value.Uint64()
}

// drain reads all records of r, and gives their number and by how much the heap
// grew at most.
func drain(t testing.TB, r io.Reader, src Source, m model.Model, most int64) (n int64, peak uint64) {
	t.Helper()
	runtime.GC()
	before := heap()
	records, err := OpenRecords(r, src, m)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; ; i++ {
		c, err := records.Next(most)
		if err == io.EOF {
			return n, peak
		}
		if err != nil {
			t.Fatal(err)
		}
		n += int64(len(c.Records))
		if now := heap(); now > before {
			peak = max(peak, now-before)
		}
	}
}

// BenchmarkStream reads records in chunks of 64, as fast as they come. Its bytes
// are the decompressed ones.
func BenchmarkStream(b *testing.B) {
	m := newModel(info("x", model.Float32, -1, 784))
	for _, contentType := range []string{"application/jsonlines", "text/csv", "application/x-tfrecord", "application/jsonlines+gzip", "application/x-tfrecord+gzip"} {
		b.Run(contentType, func(b *testing.B) {
			contentType, isGzip := strings.CutSuffix(contentType, "+gzip")
			body, size := benchRecords(contentType), *streamBytes
			if isGzip {
				packed := []byte(gzipped(b, string(body)))
				size = size * int64(len(packed)) / int64(len(body))
				body = packed
			}
			b.SetBytes(*streamBytes)
			b.ReportAllocs()
			var peak uint64
			for b.Loop() {
				_, peak = drain(b, &repeated{body: body, n: size}, Source{ContentType: contentType}, m, 64)
			}
			b.ReportMetric(float64(peak)/(1<<20), "peak-MiB")
		})
	}
}
