package main

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"strings"

	"github.com/dustin/go-humanize"
	"github.com/urfave/cli/v3"

	"github.com/penstock/penstock/storage"
	"github.com/penstock/penstock/worker/job"
)

func (p *program) batchResultsCommand() *cli.Command {
	return &cli.Command{
		Name: "results", Usage: "print what a job has made, or write it to a directory", ArgsUsage: "JOB",
		Description: `It prints a line for each output and each failure that is there, while the job runs
too: the URI, and of a failure why. With -dir, where outputs are files, the lines
are of failures alone. A file that is there with the same size is left; with
another, it is refused.

Examples:
  penstock batch results rows-7
  penstock batch results rows-7 -failed -o json | jq -r .code | sort | uniq -c
  penstock batch results rows-7 -bad-records
  penstock batch results rows-7 -dir results/`,
		Flags: p.batchFlags(
			&cli.BoolFlag{Name: "failed", Usage: "only failures"},
			&cli.BoolFlag{Name: "bad-records", Usage: "print the bad records of record files instead: the file, and their number, place and fault"},
			&cli.StringFlag{Name: "dir", Usage: "write outputs, error files and failure objects below this `DIRECTORY`, named as they are below the job's folders"},
			outputFlag("a line for each"),
		),
		Action: p.batchResults,
	}
}

// results is a job's, on the way to a person.
type jobResults struct {
	*program
	desk   *desk
	id     string
	format string
	root   *os.Root // where they are written to; nil: nowhere
	line   progress // of what was written
	wrote  int
	there  int // files that were there already
}

func (p *program) batchResults(ctx context.Context, cmd *cli.Command) error {
	format, err := parseFormat("batch results", cmd)
	if err != nil {
		return &exit{exitUsage, err}
	}
	if cmd.Bool("bad-records") && (cmd.Bool("failed") || cmd.String("dir") != "") {
		return usage("batch results: -bad-records goes with neither -failed nor -dir")
	}
	id, d, err := p.openJob(ctx, cmd)
	if err != nil {
		return err
	}
	if _, err := d.books().Spec(ctx, id); err != nil {
		return p.batchTrouble(cmd, id, err)
	}
	r := jobResults{program: p, desk: d, id: id, format: format, line: progress{w: p.stderr, on: isTerminal(p.stderr)}}
	if dir := cmd.String("dir"); dir != "" {
		dir = inDir(p.dir, dir)
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return usage("batch results: %w", err)
		}
		if r.root, err = os.OpenRoot(dir); err != nil {
			return usage("batch results: %w", err)
		}
		defer r.root.Close()
	}
	if cmd.Bool("bad-records") {
		err = r.badRecords(ctx)
	} else {
		err = r.all(ctx, cmd.Bool("failed"))
	}
	r.line.clear()
	if r.root != nil && err == nil {
		text := "wrote " + plural(r.wrote, "file")
		if r.there > 0 {
			text += fmt.Sprintf("; %s there already", humanize.Comma(int64(r.there)))
		}
		fmt.Fprintf(p.stderr, "penstock: %s\n", text)
	}
	return p.batchTrouble(cmd, id, err)
}

// resultJSON is a line for programs.
type resultJSON struct {
	State   string `json:"state"`            // succeeded, partial, errors or failed
	Output  string `json:"output,omitempty"` // URI
	Bytes   int64  `json:"bytes,omitempty"`
	Failure string `json:"failure,omitempty"` // URI
	Input   string `json:"input,omitempty"`
	Code    string `json:"code,omitempty"`
	Message string `json:"message,omitempty"`
}

// all prints outputs, then failures.
func (r *jobResults) all(ctx context.Context, failedOnly bool) error {
	outputs, failures := r.desk.locations.JobFolders(r.id)
	if !failedOnly {
		for info, err := range r.desk.store.List(ctx, outputs, "") {
			if err == nil {
				err = r.output(ctx, outputs, info)
			}
			if err != nil {
				return err
			}
		}
	}
	none := true
	for f, err := range r.desk.books().Failures(ctx, r.id) {
		if err != nil {
			return err
		}
		none = false
		if r.root != nil {
			if err := r.saveFailure(ctx, failures, f); err != nil {
				return err
			}
		}
		line := fmt.Sprintf("failed     %s  %s: %s", plain(f.Input), plain(f.Code), plain(f.Message))
		if err := r.print(line, resultJSON{State: "failed", Failure: f.Failure, Input: f.Input, Code: f.Code, Message: f.Message}); err != nil {
			return err
		}
	}
	if failedOnly && none {
		r.line.clear()
		fmt.Fprintln(r.stderr, "penstock: no object has failed; -bad-records prints the bad records of files")
	}
	return nil
}

// output prints one object of the outputs' folder, and saves it.
func (r *jobResults) output(ctx context.Context, folder storage.Ref, info storage.Info) error {
	if info.Ref.Key == job.CopyOf(r.desk.locations, r.id).Key {
		return r.save(ctx, folder, info)
	}
	state := "succeeded"
	switch {
	case strings.HasSuffix(info.Ref.Key, "-errors.jsonl"):
		state = "errors"
	case strings.HasSuffix(info.Ref.Key, ".partial"):
		state = "partial"
	}
	if err := r.save(ctx, folder, info); err != nil {
		return err
	}
	if r.root != nil && r.format != formatJSON {
		return nil
	}
	line := fmt.Sprintf("%-9s  %s  %s", state, plain(info.Ref.String()), humanize.Bytes(uint64(info.Size)))
	return r.print(line, resultJSON{State: state, Output: info.Ref.String(), Bytes: info.Size})
}

func (r *jobResults) print(line string, v resultJSON) error {
	r.line.clear()
	if r.format == formatJSON {
		return printLine(r.stdout, v)
	}
	_, err := fmt.Fprintln(r.stdout, line)
	return err
}

func (r *jobResults) saveFailure(ctx context.Context, folder storage.Ref, f job.Failing) error {
	ref, err := storage.ParseRef(f.Failure)
	if err != nil {
		return err
	}
	info, err := r.desk.store.Head(ctx, ref)
	if err != nil {
		return err
	}
	return r.save(ctx, folder, info)
}

// save writes an object to the directory, if there is one: whole or not at all.
// What is there with its size is left.
func (r *jobResults) save(ctx context.Context, folder storage.Ref, info storage.Info) error {
	if r.root == nil {
		return nil
	}
	name := fileName(strings.TrimPrefix(info.Ref.Key, folder.Key))
	if there, err := r.root.Stat(name); err == nil {
		if there.Size() == info.Size {
			r.there++
			return nil
		}
		return &exit{exitUsage, fmt.Errorf("%s is there and has another size; name an empty directory by -dir", name)}
	}
	if dir := path.Dir(name); dir != "." {
		if err := r.root.MkdirAll(dir, 0o755); err != nil {
			return err
		}
	}
	o, err := r.desk.store.Get(ctx, info.Ref, storage.GetOptions{})
	if err != nil {
		return err
	}
	defer o.Body.Close()
	f, err := r.root.Create(name + ".part")
	if err != nil {
		return err
	}
	_, err = io.Copy(f, o.Body)
	if err := errors.Join(err, f.Close()); err != nil {
		return errors.Join(fmt.Errorf("write %s: %w", name, err), r.root.Remove(name+".part"))
	}
	r.wrote++
	r.line.show(fmt.Sprintf("%s written", plural(r.wrote, "file")))
	return r.root.Rename(name+".part", name)
}

// maxFileName is how long the name of a file may be, with ".part" behind it.
const maxFileName = 250

// fileName is the path of the file that has what lies at key. What of the key can
// be no name on a file system is escaped, and what is too long has its hash.
func fileName(key string) string {
	names := strings.Split(key, "/")
	for i, name := range names {
		switch {
		case name == "": // a slash at the beginning, or two
			names[i] = "%2F"
		case name == ".", name == "..":
			names[i] = strings.ReplaceAll(name, ".", "%2E")
		case len(name) > maxFileName:
			sum := sha256.Sum256([]byte(name))
			tail := "~" + hex.EncodeToString(sum[:16])
			names[i] = strings.ToValidUTF8(name[:maxFileName-len(tail)], "") + tail
		}
	}
	return strings.Join(names, "/")
}

// badRecords prints the lines of all error files.
func (r *jobResults) badRecords(ctx context.Context) error {
	outputs, _ := r.desk.locations.JobFolders(r.id)
	for info, err := range r.desk.store.List(ctx, outputs, "") {
		if err != nil {
			return err
		}
		name, ok := strings.CutSuffix(strings.TrimPrefix(info.Ref.Key, outputs.Key), "-errors.jsonl")
		if !ok {
			continue
		}
		if err := r.badRecordsOf(ctx, info.Ref, name); err != nil {
			return err
		}
	}
	return nil
}

func (r *jobResults) badRecordsOf(ctx context.Context, ref storage.Ref, name string) error {
	o, err := r.desk.store.Get(ctx, ref, storage.GetOptions{})
	if err != nil {
		return err
	}
	defer o.Body.Close()
	lines := bufio.NewReader(o.Body)
	for {
		text, err := lines.ReadBytes('\n')
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read %s: %w", ref, err)
		}
		var e job.RecordError
		if err := json.Unmarshal(text, &e); err != nil {
			return fmt.Errorf("read %s: %w", ref, err)
		}
		if r.format == formatJSON {
			err = printLine(r.stdout, struct {
				File string `json:"file"`
				job.RecordError
			}{name, e})
		} else {
			_, err = fmt.Fprintf(r.stdout, "%s: record %d (at byte %d): %s: %s\n", plain(name), e.Record, e.Offset, plain(e.Code), plain(e.Message))
		}
		if err != nil {
			return err
		}
	}
}
