//go:build unix

package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// settings are the flags.
type settings struct {
	state       string
	s3Addr      string
	sqsAddr     string
	buckets     []string
	queues      []string
	region      string
	accessKey   string
	secretKey   string
	allowRemote bool
	faults      bool
	memory      bool
	verbose     bool
}

// parseSettings reads the flags and reports all their faults at once.
func parseSettings(args []string, stderr io.Writer) (settings, error) {
	var s settings
	f := flag.NewFlagSet("local", flag.ContinueOnError)
	f.SetOutput(stderr)
	f.Usage = func() {
		fmt.Fprint(stderr, `local runs an S3 endpoint (versitygw) and an SQS endpoint (a stand-in) on this
machine, for trying Penstock and for tests. When both answer it prints one JSON
line. It ends on SIGTERM, SIGINT or when the pipe on its standard input closes.

`)
		f.PrintDefaults()
	}
	f.StringVar(&s.state, "state", ".penstock/local", "`folder` for objects and queues; one process at a time. What was acknowledged is still there at the next start")
	f.StringVar(&s.s3Addr, "s3-addr", "127.0.0.1:0", "`address` of the S3 endpoint; port 0 takes a free one")
	f.StringVar(&s.sqsAddr, "sqs-addr", "127.0.0.1:0", "`address` of the SQS endpoint; port 0 takes a free one, and queue URLs change with it")
	f.Func("buckets", "comma-separated `names` of buckets to make if they don't exist", list(&s.buckets))
	f.Func("queues", "comma-separated `names` of queues to make if they don't exist, each with a dead-letter queue NAME-dead-letter (maxReceiveCount 100), retention 14 days, messages of 1 MiB, visibility 30 s", list(&s.queues))
	f.StringVar(&s.region, "region", "us-east-1", "region in ARNs and in S3 signatures")
	f.StringVar(&s.accessKey, "access-key", "penstock", "access `key` of the S3 endpoint; the SQS endpoint takes any")
	f.StringVar(&s.secretKey, "secret-key", "penstock-local", "secret `key` of the S3 endpoint; it protects nothing while it is the default")
	f.BoolVar(&s.allowRemote, "allow-remote", false, "allow addresses that other machines reach: the SQS endpoint lets everybody in")
	f.BoolVar(&s.faults, "faults", false, "let HTTP clients inject faults at "+"/_penstock/faults of the SQS endpoint")
	f.BoolVar(&s.memory, "memory-queues", false, "keep queues in memory only: faster, and gone at the end, for tests")
	f.BoolVar(&s.verbose, "verbose", false, "log every call and every S3 event")
	if err := f.Parse(args); err != nil {
		return s, err
	}
	if f.NArg() > 0 {
		return s, fmt.Errorf("unexpected argument %q: see -h", f.Arg(0))
	}
	return s, s.validate()
}

// list makes a flag's comma-separated value a list.
func list(to *[]string) func(string) error {
	return func(value string) error {
		for name := range strings.SplitSeq(value, ",") {
			if name = strings.TrimSpace(name); name != "" {
				*to = append(*to, name)
			}
		}
		return nil
	}
}

func (s settings) validate() error {
	var faults []error
	for name, value := range map[string]string{"state": s.state, "region": s.region, "access-key": s.accessKey, "secret-key": s.secretKey} {
		if value == "" {
			faults = append(faults, fmt.Errorf("-%s must not be empty", name))
		}
	}
	faults = append(faults, s.checkAddr("s3-addr", s.s3Addr), s.checkAddr("sqs-addr", s.sqsAddr))
	return errors.Join(faults...)
}

// checkAddr refuses what other machines could reach.
func (s settings) checkAddr(name, addr string) error {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return fmt.Errorf("-%s %q: %w; write host:port, such as 127.0.0.1:0", name, addr, err)
	}
	if ip := net.ParseIP(host); s.allowRemote || host == "localhost" || ip != nil && ip.IsLoopback() {
		return nil
	}
	return fmt.Errorf("-%s %q: other machines could reach it, and nothing checks who they are: use 127.0.0.1, or add -allow-remote", name, addr)
}

func isFIFO(queue string) bool { return strings.HasSuffix(queue, ".fifo") }

func deadLetterName(queue string) string {
	if base, ok := strings.CutSuffix(queue, ".fifo"); ok {
		return base + "-dead-letter.fifo"
	}
	return queue + "-dead-letter"
}

// pidFile tells a person who holds a state folder. The lock itself is the
// journal's.
const pidFile = "pid"

// claim writes who holds the folder; the lock is held.
func claim(state string) error {
	err := os.WriteFile(filepath.Join(state, pidFile), strconv.AppendInt(nil, int64(os.Getpid()), 10), 0o600)
	if err != nil {
		return fmt.Errorf("note the process id: %w", err)
	}
	return nil
}

// owner says who holds the folder, if that is known.
func owner(state string) string {
	pid, err := os.ReadFile(filepath.Join(state, pidFile))
	if err != nil {
		return ""
	}
	return " by process " + string(pid)
}
