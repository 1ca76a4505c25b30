//go:build !linux

package process

import "syscall"

// attributes are the system's defaults where there is no parent-death signal.
// The closed standard input still tells a child that its parent is gone.
func attributes() *syscall.SysProcAttr { return nil }
