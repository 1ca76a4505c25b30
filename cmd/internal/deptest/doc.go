// Package deptest holds the repository to its layout: which package may
// depend on which, what the small binaries must never link, that every package
// says what it is for, and that files stay short enough to read.
//
// It has nothing but tests. A rule that stands in the way is changed here,
// with its reason, rather than worked around.
package deptest
