//go:build cgo

package tf

/*
#include <stdlib.h>
#ifdef __GLIBC__
#include <malloc.h>
static void trim(void) { malloc_trim(0); }
#else
static void trim(void) {}
#endif
*/
import "C"

// trim gives free native memory back to the system. The C library keeps what a
// model's load and runs have freed, in an arena a thread, and a worker that
// loads one version after the other would look as if it leaked.
func trim() { C.trim() }
