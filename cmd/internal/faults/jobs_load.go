//go:build linux

package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/penstock/penstock/storage"
	"github.com/penstock/penstock/worker/job"
)

// What is bad among the inputs: one in so many is no row, or one that the model
// refuses, for which its batch is halved until it stands alone.
const (
	malformedEvery = 5003
	refusedEvery   = 50_021
)

// row is a record. The model doubles it.
func row(i int) string {
	switch {
	case i%malformedEvery == 1:
		return fmt.Sprintf(`["no row", %d]`, i)
	case i%refusedEvery == 2:
		return fmt.Sprintf("[-1, %d]", i)
	}
	return fmt.Sprintf("[%d, 1]", i)
}

func isBad(i int) bool { return i%malformedEvery == 1 || i%refusedEvery == 2 }

// oneFile sends a file of records through workers that are killed.
func (p *jobProof) oneFile(ctx context.Context) error {
	var b bytes.Buffer
	offsets := make([]int64, p.records)
	bad := 0
	for i := range p.records {
		offsets[i] = int64(b.Len())
		fmt.Fprintln(&b, row(i))
		if isBad(i) {
			bad++
		}
	}
	if err := p.upload(ctx, at("in/file/rows.jsonl"), b.Bytes()); err != nil {
		return err
	}
	took, kills, err := p.through(ctx, p.killFile, p.fileJob("file")...)
	if err != nil {
		return err
	}
	if err := p.checkFile("file", offsets); err != nil {
		return err
	}
	s, err := p.summary(ctx, "file")
	if err != nil {
		return err
	}
	if want := (job.Records{Submitted: int64(p.records), Good: int64(p.records - bad), Bad: int64(bad)}); s.Records == nil || *s.Records != want || s.State != job.StateSucceeded {
		return fmt.Errorf("the summary says %s and %+v, want %+v", s.State, s.Records, want)
	}
	p.say("one file", "%d records of one file, %d of them bad, in %.1f s (%.0f a second) and %d parts, with %d workers killed: counts, order and errors exact",
		p.records, bad, took.Seconds(), float64(p.records)/took.Seconds(), s.Parts.Submitted, kills)
	return nil
}

// fileJob is a job over the file.
func (p *jobProof) fileJob(id string) []string {
	return append(slices.Clone(p.split), "-id", id, "-split-type", "Line", "-accept", "application/jsonlines", "s3://"+jobBucket+"/in/file/rows.jsonl")
}

// upload writes an object of any size.
func (p *jobProof) upload(ctx context.Context, ref storage.Ref, body []byte) error {
	_, err := p.servers.store.Put(ctx, ref, body, storage.PutOptions{})
	return err
}

func (p *jobProof) summary(ctx context.Context, id string) (s job.Summary, err error) {
	body, err := p.read(ctx, job.CopyOf(p.places, id))
	if err == nil {
		err = json.Unmarshal(body, &s)
	}
	return s, err
}

func (p *jobProof) read(ctx context.Context, ref storage.Ref) ([]byte, error) {
	o, err := p.servers.store.Get(ctx, ref, storage.GetOptions{})
	if err != nil {
		return nil, err
	}
	defer o.Body.Close()
	return io.ReadAll(o.Body)
}

// checkFile reads the output of rows, line by line, and the error file.
func (p *jobProof) checkFile(id string, offsets []int64) error {
	ctx := context.Background()
	body, err := p.read(ctx, at("out/jobs/"+id+"/file/rows.jsonl.out"))
	if err != nil {
		return err
	}
	faults, err := p.read(ctx, at("out/jobs/"+id+"/file/rows.jsonl-errors.jsonl"))
	if err != nil {
		return err
	}
	errs := bufio.NewScanner(bytes.NewReader(faults))
	n := 0
	for line := range bytes.Lines(body) {
		if n >= len(offsets) {
			return fmt.Errorf("the output has more than %d lines", len(offsets))
		}
		if !isBad(n) {
			var got []float32
			if err := json.Unmarshal(line, &got); err != nil || len(got) != 2 || got[0] != float32(2*n) || got[1] != 2 {
				return fmt.Errorf("line %d is %q, want %d doubled: %w", n+1, line, n, err)
			}
		} else if err := checkBad(line, errs, n, offsets[n]); err != nil {
			return err
		}
		n++
	}
	if n != len(offsets) || errs.Scan() {
		return fmt.Errorf("the output has %d lines, want %d; the error file goes on with %q", n, len(offsets), errs.Text())
	}
	return nil
}

// checkBad checks what stands in the place of a bad record, and its line in the
// error file.
func checkBad(line []byte, errs *bufio.Scanner, n int, offset int64) error {
	if !bytes.Contains(line, []byte(`"error"`)) {
		return fmt.Errorf("line %d is %q, want an error", n+1, line)
	}
	if !errs.Scan() {
		return fmt.Errorf("record %d is not in the error file", n+1)
	}
	var e job.RecordError
	if err := json.Unmarshal(errs.Bytes(), &e); err != nil || e.Record != int64(n+1) || e.Offset != offset || e.Code == "" || e.Message == "" {
		return fmt.Errorf("the error file says %q, where record %d at byte %d belongs: %w", errs.Text(), n+1, offset, err)
	}
	return nil
}

// manyObjects sends small objects through workers that are killed.
func (p *jobProof) manyObjects(ctx context.Context) error {
	if err := p.uploadRows(ctx, "in/objects/", p.objects); err != nil {
		return err
	}
	took, kills, err := p.through(ctx, p.killObjects, "-id", "objects", "s3://"+jobBucket+"/in/objects/")
	if err != nil {
		return err
	}
	bad := 0
	g, checking := errgroup.WithContext(ctx)
	g.SetLimit(16)
	for i := range p.objects {
		if isBad(i) {
			bad++
		}
		g.Go(func() error { return p.checkObject(checking, i) })
	}
	if err := g.Wait(); err != nil {
		return err
	}
	count := 0
	for _, folder := range []string{"out/jobs/objects/", "failed/jobs/objects/"} {
		for _, err := range p.servers.store.List(ctx, at(folder), "") {
			if err != nil {
				return err
			}
			count++
		}
	}
	s, err := p.summary(ctx, "objects")
	if err != nil {
		return err
	}
	want := job.Account{Submitted: p.objects, Counts: job.Counts{Succeeded: p.objects - bad, Failed: bad}}
	if s.Objects != want || count != p.objects+1 {
		return fmt.Errorf("the summary says %+v, want %+v; there are %d objects with it", s.Objects, want, count)
	}
	p.say("many objects", "%d objects, %d of them bad, in %.1f s (%.0f a second), with %d workers killed: each has its one terminal object",
		p.objects, bad, took.Seconds(), float64(p.objects)/took.Seconds(), kills)
	return nil
}

func objectKey(i int) string { return fmt.Sprintf("%02d/%06d.json", i%100, i) }

func (p *jobProof) uploadRows(ctx context.Context, folder string, n int) error {
	g, uploading := errgroup.WithContext(ctx)
	g.SetLimit(32)
	for i := range n {
		g.Go(func() error {
			return p.upload(uploading, at(folder+objectKey(i)), []byte(`{"instances": [`+row(i)+`]}`))
		})
	}
	return g.Wait()
}

func (p *jobProof) checkObject(ctx context.Context, i int) error {
	output, failure := at("out/jobs/objects/objects/"+objectKey(i)+".out"), at("failed/jobs/objects/objects/"+objectKey(i)+"-error.out")
	if isBad(i) {
		_, err := p.read(ctx, failure)
		return err // that there is no output as well, the count of all objects says
	}
	body, err := p.read(ctx, output)
	if err != nil {
		return err
	}
	var said struct{ Predictions [][]float32 }
	if err := json.Unmarshal(body, &said); err != nil || len(said.Predictions) != 1 || said.Predictions[0][0] != float32(2*i) {
		return fmt.Errorf("%s is %q, want %d doubled: %w", output, body, i, err)
	}
	return nil
}

// shared has two workers share a file, and says how.
func (p *jobProof) shared(ctx context.Context) error {
	dismiss, err := p.staff(ctx, 2)
	if err != nil {
		return err
	}
	defer dismiss()
	began := time.Now()
	if _, err := p.penstock(ctx, append([]string{"batch", "submit", "-wait", "-o", "json"}, p.fileJob("two")...)...); err != nil {
		return err
	}
	took := time.Since(began)
	var shares []string
	for _, w := range p.workers {
		m, err := w.current().metrics(ctx)
		if err != nil {
			return err
		}
		n := m[`penstock_records_total{result="good"}`]
		if n == 0 {
			return errors.New("a worker did nothing of it")
		}
		shares = append(shares, fmt.Sprintf("%.0f", n))
	}
	p.say("a file for two", "two workers shared a file of %d records in %.1f s (%.0f a second): %s", p.records, took.Seconds(), float64(p.records)/took.Seconds(), strings.Join(shares, " and "))
	return nil
}
