package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"

	"github.com/urfave/cli/v3"

	"github.com/penstock/penstock/cmd/internal/clients"
	"github.com/penstock/penstock/cmd/internal/settings"
	"github.com/penstock/penstock/queue/request"
	"github.com/penstock/penstock/storage"
)

// program is what all verbs share.
type program struct {
	stdin          io.Reader
	stdout, stderr io.Writer
	environ        []string        // the process's environment, for children
	env            settings.Lookup // the same, by name
	setenv         func(name, value string) error
	dir            string // where the person works
	bin            string // where this program and its siblings lie
	hard           context.Context
	outlivePipes   func() (restore func())                 // nil: they are of no concern
	open           func(context.Context) (services, error) // by the AWS settings of the environment
	images         func(bin string) (fs.FS, error)         // the demo's inputs

	outputs   func(ctx context.Context, stack string) (map[string]string, error) // of a CloudFormation stack
	fromStack map[string]string                                                  // settings; nil without -stack

	once    sync.Once // reads the settings file
	file    *settings.File
	fileErr error
}

// Exit codes. They are in the help text: scripts rely on them.
const (
	exitOK          = 0
	exitFailed      = 1 // a request failed: it has a failure object
	exitUsage       = 2
	exitNoResult    = 3 // no result yet: it was waited for in vain, or not at all
	exitTrouble     = 4 // S3, the network, a program that was started, this machine
	exitInterrupted = 130
)

// exit is an error that knows its exit code. Without an error in it the person
// has been told all already.
type exit struct {
	code int
	err  error
}

func (e *exit) Error() string {
	if e.err == nil {
		return fmt.Sprintf("exit code %d", e.code)
	}
	return e.err.Error()
}

func (e *exit) Unwrap() error { return e.err }

// usage is an error of the command line or of the settings.
func usage(format string, args ...any) error {
	return &exit{exitUsage, fmt.Errorf(format, args...)}
}

// run runs one command line and returns its exit code.
func (p *program) run(ctx context.Context, args []string) int {
	if len(args) > 0 && args[0] == completeVerb {
		return p.complete(ctx, args[1:])
	}
	if name, ok := stackNamed(args); ok {
		if err := p.useStack(ctx, name); err != nil {
			return p.report(err)
		}
	}
	err := p.command().Run(ctx, append([]string{"penstock"}, args...))
	if e, ok := errors.AsType[*exit](err); ok && e.err == nil {
		return e.code
	}
	if e, ok := errors.AsType[*exit](err); ok && e.code == exitInterrupted {
		return p.report(err)
	}
	if err != nil && errors.Is(context.Cause(ctx), errInterrupted) {
		p.say(context.Cause(ctx)) // whatever broke, it broke off
		return exitInterrupted
	}
	return p.report(err)
}

// report tells of an error on standard error, one line for each fault, and
// returns the exit code.
func (p *program) report(err error) int {
	if err == nil {
		return exitOK
	}
	code := exitTrouble
	if e, ok := errors.AsType[*exit](err); ok {
		code = e.code
	}
	p.say(err)
	return code
}

// say writes an error as people read it.
func (p *program) say(err error) {
	for line := range strings.SplitSeq(err.Error(), "\n") {
		if line = strings.TrimSpace(line); line != "" {
			fmt.Fprintf(p.stderr, "penstock: %s\n", line)
		}
	}
}

// settingsFile is the .penstock/env of the directory, or nil.
func (p *program) settingsFile() (*settings.File, error) {
	p.once.Do(func() {
		if p.fromStack != nil {
			return // another installation's
		}
		p.file, p.fileErr = settings.Find(p.dir)
		if p.file == nil {
			return
		}
		if pid := leftBehind(filepath.Join(filepath.Dir(p.file.Path), "lock")); pid != "" {
			// Another installation may listen on its ports by now.
			p.fileErr = &exit{exitTrouble, fmt.Errorf("%s is of a local mode that was killed (process %s); start it again there: %s local", p.short(p.file.Path), pid, p.self())}
			p.file = nil
		}
	})
	return p.file, p.fileErr
}

// faultyFile is an error of the settings, unless it is another.
func faultyFile(err error) error {
	if _, ok := errors.AsType[*exit](err); ok {
		return err
	}
	return &exit{exitUsage, err}
}

// lookup finds a setting in the stack that was named, else in the environment,
// then in the settings file. A file that can't be read has none here:
// settingsFile tells of it.
func (p *program) lookup(name string) (string, bool) {
	if p.fromStack != nil {
		v, ok := p.fromStack[name]
		return v, ok
	}
	file, _ := p.settingsFile()
	return p.env.Or(file.Lookup)(name)
}

// unknownSettings tells of variables that are named as settings and are none, in
// the environment and in the settings file.
func (p *program) unknownSettings() []error {
	if p.fromStack != nil {
		return nil // those count alone
	}
	errs := settings.Unknown(p.environ)
	file, _ := p.settingsFile()
	if file == nil {
		return errs
	}
	for _, err := range settings.Unknown(slices.Sorted(maps.Keys(file.Values))) {
		errs = append(errs, fmt.Errorf("%s: %w", p.short(file.Path), err))
	}
	return errs
}

// errNoSettings says that nothing is set: that a queue is missing, too, is not
// worth a line.
var errNoSettings = errors.New("no settings")

// locations are those of the settings.
func (p *program) locations(cmd *cli.Command) (request.Locations, error) {
	file, err := p.settingsFile()
	if err != nil {
		return request.Locations{}, faultyFile(err)
	}
	in, out, failure := cmd.String(settings.Input), cmd.String(settings.Output), cmd.String(settings.Failure)
	if in == "" && out == "" && failure == "" {
		if p.fromStack != nil {
			return request.Locations{}, usage("%w: the stack has no outputs Input, Output and Failure; is it Penstock's?", errNoSettings)
		}
		return request.Locations{}, usage("%w: there is no %s in %s or above it, and no PENSTOCK_INPUT, PENSTOCK_OUTPUT and PENSTOCK_FAILURE; start local mode here (%s local), set them, or name a CloudFormation stack by -stack", errNoSettings, settings.FileName, p.dir, p.self())
	}
	state, _ := p.lookup(settings.Name(settings.State))
	l, err := request.ParseLocations(in, out, failure, state)
	if err != nil {
		if file != nil {
			err = fmt.Errorf("%w\nsettings that are no flags and not in the environment are from %s", err, file.Path)
		}
		return request.Locations{}, &exit{exitUsage, err}
	}
	return l, nil
}

// openServices opens what the settings name.
func (p *program) openServices(ctx context.Context) (services, error) {
	file, err := p.settingsFile()
	if err != nil {
		return services{}, faultyFile(err)
	}
	if err := file.ExportAWS(p.env, p.setenv); err != nil {
		return services{}, err
	}
	s, err := p.open(ctx)
	if err != nil {
		return services{}, fmt.Errorf("open S3 and SQS: %w", err)
	}
	return s, nil
}

// openStore is openServices for those who need S3 alone.
func (p *program) openStore(ctx context.Context) (storage.Store, error) {
	s, err := p.openServices(ctx)
	return s.store, err
}

// What credentials must be allowed to do.
const (
	submitNeeds    = "s3:PutObject on the input location, s3:GetObject on the others, and s3:ListBucket, without which S3 denies what is not there"
	reconcileNeeds = "s3:ListBucket and s3:GetObject on the input, output and failure locations, and sqs:SendMessage"
)

// advice is what to do about a fault of the surroundings, with its "; " in
// front, or nothing. needs is what the verb's credentials must allow.
func (p *program) advice(err error, needs string) string {
	file, _ := p.settingsFile()
	switch {
	case clients.NoCredentials(err):
		return "; set AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or run where a role gives them"
	case clients.CredentialFault(err) != "" && file != nil:
		return "; the credentials are not those that are expected there, or have expired. The settings are from " + file.Path + ", but an endpoint of the environment goes before it"
	case clients.CredentialFault(err) != "":
		return "; the credentials are wrong or have expired: look at AWS_PROFILE, AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_SESSION_TOKEN, or sign in again"
	case errors.Is(err, storage.ErrForbidden) && file != nil:
		return "; the settings are from " + file.Path + ", but an endpoint of the environment goes before it"
	case errors.Is(err, storage.ErrForbidden):
		return "; these credentials need " + needs
	case errors.Is(err, syscall.ECONNREFUSED) && file != nil:
		return "; is local mode running? The settings are from " + file.Path
	case errors.Is(err, syscall.ECONNREFUSED):
		return "; nothing listens there: start it, or correct AWS_ENDPOINT_URL or AWS_ENDPOINT_URL_S3"
	}
	return ""
}

// self is this program as the person would type it.
func (p *program) self() string {
	path := filepath.Join(p.bin, "penstock")
	if found, err := exec.LookPath("penstock"); err == nil {
		if real, err := filepath.EvalSymlinks(found); err == nil && real == path {
			return "penstock"
		}
	}
	return p.short(path)
}

// isTerminal says whether a stream is one.
func isTerminal(stream any) bool {
	f, ok := stream.(*os.File)
	if !ok {
		return false
	}
	info, err := f.Stat()
	if err != nil || info.Mode()&os.ModeCharDevice == 0 {
		return false
	}
	null, err := os.Stat(os.DevNull) // a character device too
	return err != nil || !os.SameFile(info, null)
}

// reason takes the path off an error that will get one in front.
func reason(err error) error {
	if e, ok := errors.AsType[*fs.PathError](err); ok {
		return e.Err
	}
	return err
}
