//go:build unix

// Command local runs what Penstock needs of AWS on one machine, in one
// process: an S3 endpoint (versitygw, embedded) and an SQS endpoint (a
// stand-in). It is for trying Penstock and for tests; nothing of it belongs
// in production.
//
// It is started by `penstock local`, which reads the one JSON line on its
// standard output. It ends on SIGTERM or SIGINT, and when standard input is a
// pipe and the parent closes it, so nothing is left running when the parent
// dies.
package main

import (
	"context"
	"io"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	stdout := os.Stdout
	// versitygw prints progress to standard output, which here belongs to the
	// parent process.
	os.Stdout = os.Stderr
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal ends it at once
	code := run(ctx, os.Args[1:], pipe(os.Stdin), stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// pipe returns f if it is a pipe that a parent can close, else nil: a terminal
// or /dev/null says nothing about a parent.
func pipe(f *os.File) io.Reader {
	info, err := f.Stat()
	if err != nil || info.Mode()&(os.ModeNamedPipe|os.ModeSocket) == 0 {
		return nil
	}
	return f
}
