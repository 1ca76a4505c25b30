package terminal

import (
	"context"
	"errors"
	"io/fs"
	"testing"
	"time"

	smem "github.com/penstock/penstock/storage/mem"
	"github.com/penstock/penstock/storage/storagetest"
)

func TestAFailureIsRemovedThoughTheServerDeletesNothingOnACondition(t *testing.T) {
	t.Parallel()
	store := smem.New("uploads", "results")
	c := claimOf("", versions(t, store, "1")[0])
	w := writerOn(storagetest.Unconditional{Store: store})
	failure := locations.FailureOf(c.Request)
	if _, err := w.PutFailure(t.Context(), c, writer{c, "F"}.document(failure)); err != nil {
		t.Fatal(err)
	}
	calls := 0
	w.Try = func(ctx context.Context, _ time.Duration, _ string, _ ref, op func(context.Context) error) error {
		for {
			if err := op(ctx); Answered(err) {
				return err
			}
			if calls++; calls > 10 {
				return errors.New("it is tried again and again")
			}
		}
	}
	if v, err := w.PutOutput(t.Context(), c, writer{c, "S"}.document(locations.OutputOf(c.Request))); v != Committed || err != nil {
		t.Fatalf("the output's verdict is %v, %v", v, err)
	}
	if _, err := store.Head(t.Context(), failure); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the failure is still there beside the output: %v", err)
	}
}
