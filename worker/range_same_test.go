package worker

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"math"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/penstock/penstock/storage"
	"github.com/penstock/penstock/worker/job"
)

// However small the ranges are that a file is cut into, its output and its errors
// are those of the file in one piece, byte for byte.
func TestAFileInRangesIsTheFileInOnePiece(t *testing.T) {
	for kind, record := range map[string]func(*rand.Rand, int) string{"jsonl": anyLine, "csv": anyRow, "tfrecord": anyExample} {
		for seed := range uint64(8) {
			if testing.Short() && seed%3 != 0 {
				continue
			}
			t.Run(fmt.Sprint(kind, " ", seed), func(t *testing.T) {
				in(t, func(t *testing.T, p *plant) {
					rnd := rand.New(rand.NewPCG(seed, 5))
					var b strings.Builder
					if kind != "tfrecord" && seed%2 == 1 {
						b.WriteString("\ufeff\r\n\n")
					}
					if kind == "csv" && seed%3 == 0 {
						b.WriteString("\"x\"\r\n")
					}
					for i := 0; b.Len() < 6*leastPart; i++ {
						b.WriteString(record(rnd, i))
					}
					body := b.String()
					if kind != "tfrecord" && seed > 3 {
						body = strings.TrimSpace(body)
					}
					key := "f." + kind
					p.file(key, "", body)
					of := func(id string, bytes int64, join bool) (out, faults string, s job.Summary) {
						spec := ranges(key)
						spec.ID, spec.PartBytes = id, bytes
						if kind == "tfrecord" {
							spec.SplitType = job.SplitTFRecord
						} else if join {
							spec.JoinSource = job.JoinInput
						}
						p.submitJob(spec)
						s = p.summary(id)
						folder := "out/jobs/" + id + "/" + key
						out, _, _ = p.body(storage.Ref{Bucket: "results", Key: folder + ".out"})
						faults, _, _ = p.body(storage.Ref{Bucket: "results", Key: folder + "-errors.jsonl"})
						return out, faults, s
					}
					p.start(behindQueue())
					for _, join := range []bool{false, true} {
						whole, faults, s := of(fmt.Sprint("whole-", join), 1<<30, join)
						out, errors, c := of(fmt.Sprint("cut-", join), leastPart, join)
						if s.Objects.Succeeded != 1 || s.Parts.Submitted != 1 || c.Parts.Submitted < 2 || s.Records.Bad == 0 || s.Records.Good == 0 || *s.Records != *c.Records {
							t.Errorf("in one piece it is %+v, %+v, and cut %+v, %+v", s, s.Records, c, c.Records)
						}
						if i := differs(out, whole); i >= 0 {
							t.Errorf("joined %t: the outputs differ at byte %d: %.200q and %.200q", join, i, out[i:], whole[i:])
						}
						if i := differs(errors, faults); i >= 0 {
							t.Errorf("joined %t: the errors differ at byte %d: %.200q and %.200q", join, i, errors[i:], faults[i:])
						}
					}
				})
			})
		}
	}
}

// differs is where two texts do, or -1.
func differs(a, b string) int {
	for i := range min(len(a), len(b)) {
		if a[i] != b[i] {
			return i
		}
	}
	if len(a) == len(b) {
		return -1
	}
	return min(len(a), len(b))
}

var lineEnds = []string{"\n", "\n", "\n", "\r\n", "\n\n", "\n\r\n"}

func anyLine(rnd *rand.Rand, i int) string {
	line := fmt.Sprintf("[%d]", i)
	switch n := rnd.IntN(40); {
	case n == 0:
		line = "oops"
	case n == 1:
		line = "{]" + strings.Repeat("x", rnd.IntN(2*leastPart))
	case n == 2:
		line = "\x00\xff"
	case n < 20:
		line = strings.Repeat(" ", rnd.IntN(300)) + fmt.Sprintf(`{"x": [%d]}`, i) + strings.Repeat("\t", rnd.IntN(300))
	}
	return line + lineEnds[rnd.IntN(len(lineEnds))]
}

func anyRow(rnd *rand.Rand, i int) string {
	row := fmt.Sprint(i)
	switch n := rnd.IntN(40); {
	case n == 0:
		row = "oops"
	case n == 1:
		row = "\"two\nlines, and \"\"quotes\"\"" + strings.Repeat("\n", rnd.IntN(leastPart)) + "\""
	case n == 2:
		row = "1,\"2\r\n\",3"
	case n == 3:
		row = "a\"b"
	case n < 20:
		row = `"` + row + `"`
	case n < 30:
		row = strings.Repeat(" ", rnd.IntN(300)) + row
	}
	return row + lineEnds[rnd.IntN(len(lineEnds))]
}

// anyExample is a tf.Example of one float, in its frame.
func anyExample(rnd *rand.Rand, i int) string {
	value := binary.LittleEndian.AppendUint32(nil, math.Float32bits(float32(i)))
	field := func(tag byte, b []byte) []byte { return append([]byte{tag, byte(len(b))}, b...) }
	feature := field(0x0a, append(field(0x0a, []byte("x")), field(0x12, field(0x12, field(0x0a, value)))...))
	record := field(0x0a, feature)
	if rnd.IntN(10) == 0 {
		record = []byte(strings.Repeat("x", rnd.IntN(2000)))
	}
	sum := func(b []byte) []byte {
		c := crc32.Checksum(b, crc32.MakeTable(crc32.Castagnoli))
		return binary.LittleEndian.AppendUint32(nil, (c>>15|c<<17)+0xa282ead8)
	}
	length := binary.LittleEndian.AppendUint64(nil, uint64(len(record)))
	tail := sum(record)
	if rnd.IntN(50) == 0 {
		tail[0]++
	}
	return string(length) + string(sum(length)) + string(record) + string(tail)
}
