package storagetest

import (
	"context"
	"errors"
	"fmt"

	"github.com/penstock/penstock/storage"
)

// Unconditional is a store that deletes nothing on a condition, as some servers
// do not.
type Unconditional struct{ storage.Store }

// Delete deletes, unless it is to do so on a condition: then it is
// errors.ErrUnsupported.
func (u Unconditional) Delete(ctx context.Context, ref storage.Ref, opts storage.DeleteOptions) error {
	if opts.IfMatch != "" {
		return fmt.Errorf("delete %s on a condition: %w", ref, errors.ErrUnsupported)
	}
	return u.Store.Delete(ctx, ref, opts)
}
