package worker

import (
	"fmt"
	"strings"
	"testing"

	"github.com/penstock/penstock/storage"
	"github.com/penstock/penstock/worker/codec"
	"github.com/penstock/penstock/worker/job"
)

// processed is a job with Batch Transform's data processing.
func processed(key, input, join, output string) job.Spec {
	spec := ranges(key)
	spec.InputFilter, spec.JoinSource, spec.OutputFilter = input, join, output
	return spec
}

// The model gets what the input filter selects, and the result keeps what the
// output filter does, in each record's place, however the file is divided and
// whoever dies over it.
func TestFiltersHoldAcrossRangesAndCrashes(t *testing.T) {
	const n = 1200
	const error = `{"error":{"code":"`
	for story, c := range map[string]struct {
		key, input, join, output string
		line                     func(i int) (in, out string)
		packed, ends             bool // CRLF
		head, headed             string
		contentType              string
	}{
		"JSON lines": {
			key: "f.jsonl", input: "$.features", join: job.JoinInput, output: "$['id','SageMakerOutput']",
			line: func(i int) (in, out string) {
				id := fmt.Sprintf(`"é%d"`, i)
				switch i {
				case 0, 300, 1199:
					return `{"id": ` + id + `}`, `{"id":` + id + `,"SageMakerOutput":` + error + codec.CodeNothingSelected
				case 77:
					return fmt.Sprintf(`{"features": [%d]}`, i), `{"SageMakerOutput":` + error + codec.CodeNothingSelected
				case 78:
					return "{]", `{"SageMakerOutput":` + error + codec.CodeMalformed
				}
				return fmt.Sprintf(`{"id": %s, "features": [%d], "rest": {"features": 7}}`, id, i), fmt.Sprintf(`{"id":%s,"SageMakerOutput":[%d.0]}`, id, 2*i)
			},
		},
		"JSON lines, compressed": {
			key: "f.jsonl.gz", input: "$[1:]", join: job.JoinNone, output: "$[0]", packed: true,
			line: func(i int) (in, out string) {
				if i%400 == 0 {
					return fmt.Sprintf("[%d]", i), error + codec.CodeNothingSelected
				}
				return fmt.Sprintf(`["id", %d]`, i), fmt.Sprintf("%d.0", 2*i)
			},
		},
		"CSV": {
			key: "f.csv", input: "$[1]", join: job.JoinInput, output: "$[0,-1]", contentType: "text/csv", ends: true,
			head: `"the ""id""",h,"w, too"`, headed: `"the ""id""",y[0]`,
			line: func(i int) (in, out string) {
				id, spaces := fmt.Sprintf(`"é, %d"`, i), strings.Repeat(" ", 250)
				switch i % 400 {
				case 0:
					return id + ",x," + spaces, id + ","
				case 1:
					return id + "," + spaces, id + "," // too short; with its columns of results it has enough for the output
				case 2:
					return `"b"ad` + spaces, ""
				}
				return fmt.Sprintf(`%s,%d,%s`, id, i, spaces), fmt.Sprintf("%s,%d.0", id, 2*i)
			},
		},
	} {
		t.Run(story, func(t *testing.T) {
			in(t, func(t *testing.T, p *plant) {
				var lines, want []string
				for i := range n {
					in, out := c.line(i)
					lines, want = append(lines, in), append(want, out)
				}
				body := padded(300, lines...)
				if c.ends {
					body = c.head + "\r\n\r\n" + strings.Join(lines, "\r\n") + "\r\n"
					want = append([]string{c.headed}, want...)
				}
				if c.packed {
					body = gzipped(body)
				}
				p.file(c.key, c.contentType, body)
				p.submitJob(processed(c.key, c.input, c.join, c.output))
				s := p.killedOnTheWay()
				p.wantCounts(s, 1, 0, 0)
				bad := int64(0)
				for _, out := range want[len(want)-n:] {
					if strings.Contains(out, error) || out == "" || c.ends && strings.HasSuffix(out, ",") {
						bad++
					}
				}
				if records := (job.Records{Submitted: n, Good: n - bad, Bad: bad}); *s.Records != records || !c.packed && s.Parts.Submitted < 4 {
					t.Errorf("the summary counts %+v in %d parts, want %+v", *s.Records, s.Parts.Submitted, records)
				}
				p.wantJoined(c.key, want)
				said, _, _ := p.body(storage.Ref{Bucket: "results", Key: "out/jobs/nightly/" + c.key + "-errors.jsonl"})
				if got := int64(strings.Count(said, `"record":`)); got != bad {
					t.Errorf("the error file has %d lines, want %d:\n%s", got, bad, said)
				}
			})
		})
	}
}

// A bad record of an output filter fails its file where one is asked to.
func TestARecordThatAFilterRefusesFailsTheFileWhereThatIsAskedFor(t *testing.T) {
	in(t, func(t *testing.T, p *plant) {
		p.file("f.jsonl", "", "[1]\n[2]\n")
		spec := processed("f.jsonl", "$", job.JoinNone, "$[1]")
		spec.RecordErrors = "fail"
		p.submitJob(spec)
		p.start(behindQueue())
		p.wantCounts(p.summary("nightly"), 0, 1, 0)
		p.wantJobFailure("f.jsonl", "the output filter $[1] finds nothing: there is no [1] of 1")
	})
}

// A path of members fails a file of CSV at once, and no other.
func TestAPathThatIsNotForAFileFailsThatFileAlone(t *testing.T) {
	in(t, func(t *testing.T, p *plant) {
		p.file("a/f.csv", "text/csv", "1,2\n3,4\n")
		p.file("a/f.jsonl", "", `{"x":[1]}`+"\n")
		p.submitJob(processed("a/", "$.x", job.JoinNone, "$"))
		p.start(behindQueue())
		p.wantCounts(p.summary("nightly"), 1, 1, 0)
		p.wantJobFailure("a/f.csv", "a record of CSV has columns only")
		p.wantJoined("a/f.jsonl", []string{"[2.0]"})
	})
}

// Of two jobs that differ in a filter each is one of its own.
func TestAnotherFilterIsAnotherJob(t *testing.T) {
	in(t, func(t *testing.T, p *plant) {
		p.file("f.jsonl", "", "[1]\n")
		p.submitJob(processed("f.jsonl", "$", job.JoinInput, ""))
		p.submitJob(processed("f.jsonl", "", job.JoinInput, "$")) // the same
		for _, spec := range []job.Spec{processed("f.jsonl", "$[0]", job.JoinInput, ""), processed("f.jsonl", "", job.JoinInput, "$.SageMakerOutput")} {
			_, err := p.planner(p.jobs).Submit(t.Context(), spec)
			if want := fmt.Sprintf("Filter: none there, %q here", spec.InputFilter+spec.OutputFilter); err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "version") {
				t.Errorf("the submit of another filter ends with %v, want %s", err, want)
			}
		}
	})
}
