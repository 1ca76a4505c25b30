package source

import (
	"os"
	"syscall"
)

// lockShared locks a directory against lockAlone, until the file that it gives
// is unlocked or the process is gone. It waits while another removes it.
func lockShared(dir string) (*os.File, error) { return lock(dir, syscall.LOCK_SH) }

// lockAlone locks a directory that nobody holds, or errs at once.
func lockAlone(dir string) (*os.File, error) { return lock(dir, syscall.LOCK_EX|syscall.LOCK_NB) }

// lockNext waits until nobody holds a directory, and locks it.
func lockNext(dir string) (*os.File, error) { return lock(dir, syscall.LOCK_EX) }

func lock(dir string, how int) (*os.File, error) {
	f, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	for {
		err = syscall.Flock(int(f.Fd()), how)
		if err != syscall.EINTR {
			break
		}
	}
	if err != nil {
		f.Close()
		return nil, &os.PathError{Op: "lock", Path: dir, Err: err}
	}
	return f, nil
}

// unlock takes the lock back and closes the file. To close it alone would not do:
// a process that is just being started has a copy of it until it becomes another
// program, and would hold the lock for so long.
func unlock(f *os.File) {
	_ = syscall.Flock(int(f.Fd()), syscall.LOCK_UN)
	_ = f.Close()
}
