// Package endtoend holds tests of local mode as a person runs it: with the
// programs that make build puts into bin/, in processes of their own that are
// killed at bad moments.
package endtoend
