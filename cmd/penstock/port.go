package main

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

// port checks that a port of the loopback interface is free. One that is taken
// is an error when the person asked for it; else any free one will do, since
// .penstock/env and what is printed name the real one.
func (p *program) port(flag string, port int, asked bool) (int, error) {
	if port < 0 || port > 65535 {
		return 0, usage("-%s is %d; it must be between 0 and 65535", flag, port)
	}
	l, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
	switch {
	case err == nil:
		return port, l.Close()
	case errors.Is(err, syscall.EADDRINUSE) && !asked:
		fmt.Fprintf(p.stderr, "penstock: port %d is taken%s; a free one is used in its place\n", port, holder(port))
		return 0, nil
	case errors.Is(err, syscall.EADDRINUSE):
		return 0, usage("-%s: port %d is taken%s; stop that, choose another, or leave the flag away for any free one", flag, port, holder(port))
	}
	return 0, usage("-%s: %w", flag, err)
}

// holder says which process listens on a port, as far as /proc tells.
func holder(port int) string {
	inode := listener("/proc/net/tcp", port)
	if inode == "" {
		inode = listener("/proc/net/tcp6", port)
	}
	if inode == "" {
		return ""
	}
	fds, _ := filepath.Glob("/proc/[0-9]*/fd/*")
	for _, fd := range fds {
		if target, err := os.Readlink(fd); err != nil || target != "socket:["+inode+"]" {
			continue
		}
		pid := strings.Split(fd, "/")[2]
		name, _ := os.ReadFile("/proc/" + pid + "/comm")
		return fmt.Sprintf(" by %s (process %s)", strings.TrimSpace(string(name)), pid)
	}
	return " by another user's process"
}

// listener finds the inode of the socket that listens on a port in a table as
// the kernel prints it: sl, local address, remote address, state, ..., inode.
func listener(table string, port int) string {
	const listening = "0A"
	b, err := os.ReadFile(table)
	if err != nil {
		return ""
	}
	for line := range strings.Lines(string(b)) {
		f := strings.Fields(line)
		if len(f) > 9 && strings.HasSuffix(f[1], fmt.Sprintf(":%04X", port)) && f[3] == listening {
			return f[9]
		}
	}
	return ""
}
