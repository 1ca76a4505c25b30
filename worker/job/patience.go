package job

import (
	"context"
	"errors"
	"io/fs"
	"time"

	"github.com/penstock/penstock/storage"
)

// How long a planner tries what meets faults of the surroundings: 14 times,
// over about two minutes. Then it ends, and the same command goes on.
const (
	tries      = 14
	firstPause = 100 * time.Millisecond
	mostPause  = 15 * time.Second
)

// answered says whether err is the store's answer, which would be the same
// again.
func answered(err error) bool {
	return err == nil || errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrInvalid) ||
		errors.Is(err, storage.ErrForbidden) || errors.Is(err, storage.ErrPrecondition)
}

// patiently calls op until it has an answer.
func patiently(ctx context.Context, op func() error) error {
	wait := firstPause
	for n := 1; ; n++ {
		err := op()
		if answered(err) || n == tries || ctx.Err() != nil {
			return err
		}
		if e := pause(ctx, wait); e != nil {
			return e
		}
		wait = min(2*wait, mostPause)
	}
}
