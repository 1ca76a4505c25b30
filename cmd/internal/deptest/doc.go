// Package deptest holds the repository to its layout: which package may
// depend on which, what the small binaries must never link, that every package
// says what it is for, that files stay short enough to read, and that the pages
// in docs name what there is.
//
// It has nothing but tests. A rule that stands in the way is changed here,
// with its reason, rather than worked around.
package deptest
