//go:build cgo

package tf

import (
	"fmt"
	"os"
	"syscall"
)

// logLevel is TensorFlow's variable: 0 prints everything, 1 warnings, 2 errors.
const logLevel = "TF_CPP_MIN_LOG_LEVEL"

// Quiet makes TensorFlow print errors only, unless the environment says
// otherwise. The library reads its log level while it is being loaded, before
// any code of the program runs, so Quiet starts the program again, as the same
// process, with the level in its environment. Call it first in main, where it
// loses nothing, or set the level where the program is started; then it does
// nothing.
func Quiet() error {
	if _, set := os.LookupEnv(logLevel); set {
		return nil
	}
	program, err := os.Executable()
	if err == nil {
		err = syscall.Exec(program, os.Args, append(os.Environ(), logLevel+"=2"))
	}
	return fmt.Errorf("start again with %s=2: %w", logLevel, err)
}
