package codec

import (
	"bytes"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/penstock/penstock/worker/model"
)

// readAll gives all chunks, and the error that ended them unless that is io.EOF.
func readAll(t *testing.T, r io.Reader, src Source, m model.Model, most int64) (chunks []*Chunk, err error) {
	t.Helper()
	records, err := OpenRecords(r, src, m)
	if err != nil {
		return nil, err
	}
	defer records.Close()
	for {
		c, err := records.Next(most)
		if err == io.EOF {
			return chunks, nil
		}
		if err != nil {
			return chunks, err
		}
		chunks = append(chunks, c)
	}
}

// story tells chunks: a line for each record, its row or what is wrong with it,
// and a bar between chunks.
func story(chunks []*Chunk) string {
	var b strings.Builder
	for i, c := range chunks {
		if i > 0 {
			b.WriteString("--\n")
		}
		row := int64(0)
		for _, r := range c.Records {
			fmt.Fprintf(&b, "%d@%d", r.Number, r.Offset)
			if r.Err != nil {
				fmt.Fprintf(&b, " %s: %s\n", r.Err.Code, r.Err.Message)
				continue
			}
			for _, t := range c.Input.Tensors {
				if _, batched := c.Input.Signature.Batch(); batched {
					t = t.Slice(row, row+1)
				}
				fmt.Fprintf(&b, " %v", values(t))
				if t.DType == model.String {
					fmt.Fprintf(&b, "=%s", bytes.Join(t.Bytes, []byte("|")))
				}
			}
			b.WriteString("\n")
			row++
		}
	}
	return b.String()
}

func TestRecordsAreReadInTheirPlaces(t *testing.T) {
	src := Source{ContentType: "application/jsonlines"}
	m := newModel(info("x", model.Float32, -1, 2))
	body := "\ufeff[1, 2]\r\n\n[3]\n[4, 5]\n{]\n[6, 7]"
	chunks, err := readAll(t, iotest.OneByteReader(strings.NewReader(body)), src, m, 3)
	if err != nil {
		t.Fatal(err)
	}
	t.Log(story(chunks))
}
