//go:build !unix

package main

import "io"

// columns is the width of the terminal that w is: it is not known here.
func columns(io.Writer) int { return 0 }
