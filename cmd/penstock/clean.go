package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"github.com/dustin/go-humanize"
	"github.com/urfave/cli/v3"

	"github.com/penstock/penstock/cmd/internal/settings"
)

func (p *program) cleanCommand() *cli.Command {
	return &cli.Command{
		Name: "clean", Usage: "delete what local mode keeps in this directory",
		Description: `It deletes all objects and messages of local mode, its logs and its settings, and
says what it deleted. It refuses while local mode runs.

Examples:
  penstock clean`,
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "state", Value: defaultState, Usage: "`FOLDER` that was given to penstock local"},
		},
		Action: p.clean,
	}
}

// What local mode makes. Nothing else is deleted, since a person may have put
// it there.
var (
	stateParts = []string{"s3", "pid", "sqs"} // sqs last: by its journal the folder is known
	ownParts   = []string{settings.FileName, settings.FileName + ".new", ".penstock/*.log"}
)

func (p *program) clean(ctx context.Context, cmd *cli.Command) error {
	if cmd.NArg() > 0 {
		return usage("clean: it takes no arguments, but %q is given; see penstock clean -h", cmd.Args().First())
	}
	own, state := filepath.Dir(p.lockPath()), inDir(p.dir, cmd.String("state"))
	if err := checkState(state, cmd.String("state")); err != nil {
		return err
	}
	if !exists(own) && !exists(state) {
		fmt.Fprintln(p.stdout, "there is nothing to delete")
		return nil
	}
	held, err := lock(ctx, p.lockPath())
	if errors.Is(err, errHeld) {
		return fmt.Errorf("local mode runs in this directory: %w; stop it first", err)
	}
	if err != nil {
		return err
	}
	defer held.release()
	if err := idle(state); err != nil {
		return err
	}
	var errs []error
	for _, part := range stateParts {
		errs = append(errs, p.remove(filepath.Join(state, part)))
	}
	_ = os.Remove(state) // unless something else is in it
	for _, pattern := range ownParts {
		paths, err := filepath.Glob(filepath.Join(p.dir, pattern))
		errs = append(errs, err)
		for _, path := range paths {
			errs = append(errs, p.remove(path))
		}
	}
	errs = append(errs, os.Remove(p.lockPath())) // it is held: nobody starts in between
	_ = os.Remove(own)                           // unless something else is in it
	return errors.Join(errs...)
}

// checkState refuses a folder that is none of local mode's: somebody may have
// mistyped it.
func checkState(path, name string) error {
	entries, err := os.ReadDir(path)
	switch {
	case errors.Is(err, fs.ErrNotExist) || err == nil && len(entries) == 0:
		return nil
	case err != nil:
		return usage("clean: -state: %w", err)
	case !exists(filepath.Join(path, journalName)):
		return usage("clean: -state: %s is not a folder that local mode keeps its state in (it has no %s); nothing is deleted", name, journalName)
	}
	return nil
}

// journalName is the file in the state folder that bin/local holds a lock on
// while it runs.
const journalName = "sqs/queues.db"

// idle makes sure that local mode does not run on the state folder from
// another directory.
func idle(state string) error {
	path := filepath.Join(state, journalName)
	if !exists(path) {
		return nil
	}
	f, err := tryLock(path)
	if errors.Is(err, syscall.EWOULDBLOCK) {
		return fmt.Errorf("local mode runs on %s from another directory (process %s); stop it first", state, lockedBy(filepath.Join(state, "pid")))
	}
	if err != nil {
		return fmt.Errorf("look at %s: %w", state, err)
	}
	return f.Close()
}

// remove deletes a file or folder and says so.
func (p *program) remove(path string) error {
	if !exists(path) {
		return nil
	}
	var size uint64
	err := filepath.WalkDir(path, func(_ string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		info, err := d.Info()
		if err == nil {
			size += uint64(info.Size())
		}
		return err
	})
	if err := errors.Join(err, os.RemoveAll(path)); err != nil {
		return fmt.Errorf("delete %s: %w", path, err)
	}
	fmt.Fprintf(p.stdout, "deleted %s (%s)\n", p.short(path), humanize.Bytes(size))
	return nil
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}
