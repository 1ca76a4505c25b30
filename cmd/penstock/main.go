// Command penstock is Penstock for people: it runs the whole of it on one
// machine, uploads objects and shows what became of them.
//
// Each verb has a file of its own. What they share is the program, which holds
// all that a test replaces; nothing here reads the environment or the clock of
// the process behind its back.
package main

import (
	"context"
	"io"
	"os"
	"path/filepath"

	"github.com/penstock/penstock/cmd/internal/settings"
)

func main() {
	os.Exit(run(context.Background(), os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}

// run is the command on this machine. It returns the exit code.
func run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	p := &program{
		stdin: stdin, stdout: stdout, stderr: stderr,
		environ: os.Environ(), env: settings.Lookup(os.LookupEnv), setenv: setenv,
		open: openServices, images: digitImages, outputs: stackOutputs, outlivePipes: outlivePipes,
	}
	var err error
	if p.dir, err = os.Getwd(); err != nil {
		return p.report(err)
	}
	self, err := os.Executable()
	if err != nil {
		return p.report(err)
	}
	if p.bin, err = filepath.EvalSymlinks(filepath.Dir(self)); err != nil {
		return p.report(err)
	}
	first, second, stop := interruptions(ctx)
	defer stop()
	p.hard = second
	return p.run(first, args)
}

// setenv sets a variable of this process, or takes it away when it is to be
// nothing.
func setenv(name, value string) error {
	if value == "" {
		return os.Unsetenv(name)
	}
	return os.Setenv(name, value)
}
