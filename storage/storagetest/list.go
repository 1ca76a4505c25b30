package storagetest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/penstock/penstock/storage"
)

var listChecks = []check{
	{"a list is in byte order and keeps to its prefix", listOrder},
	{"a list begins after the key it was told", listStartAfter},
	{"a list tells key, size, ETag and time", listFields},
	{"a list of nothing is empty", listEmpty},
	{"a list of more than a thousand is complete", listPages},
	{"a list can be left early", listLeft},
	{"a list leaves out what was deleted", listDeleted},
}

// putAll writes small objects, several at a time.
func putAll(ctx context.Context, h harness, keys []string) error {
	const writers = 8
	var wg sync.WaitGroup
	errs := make([]error, writers)
	for w := range writers {
		wg.Go(func() {
			for i := w; i < len(keys) && errs[w] == nil; i += writers {
				_, errs[w] = put(ctx, h, keys[i], "x")
			}
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}

func listKeys(ctx context.Context, h harness, prefix, startAfter string) ([]string, error) {
	var keys []string
	for info, err := range h.List(ctx, h.ref(prefix), startAfter) {
		if err != nil {
			return nil, err
		}
		if info.Ref.Bucket != h.bucket {
			return nil, fmt.Errorf("%q is in the bucket %q, want %q", info.Ref.Key, info.Ref.Bucket, h.bucket)
		}
		keys = append(keys, info.Ref.Key)
	}
	return keys, nil
}

func wantKeys(ctx context.Context, h harness, prefix, startAfter string, want []string) error {
	got, err := listKeys(ctx, h, prefix, startAfter)
	if err != nil {
		return err
	}
	if !slices.Equal(got, want) {
		return fmt.Errorf("the keys below %q after %q are %q, want %q", prefix, startAfter, got, want)
	}
	return nil
}

// ordered are keys in byte order, in which '-' and '.' come before '/' and
// capitals before small letters.
var ordered = []string{"Z", "a-b", "a.b", "a/1", "a/10", "a/2", "a/b/c", "aa", "b/1", "b/é", "b/\u6587", "b/\U0001F600"}

func listOrder(ctx context.Context, h harness) error {
	reversed := slices.Clone(ordered)
	slices.Reverse(reversed)
	if err := putAll(ctx, h, reversed); err != nil {
		return err
	}
	return errors.Join(
		wantKeys(ctx, h, "", "", ordered),
		wantKeys(ctx, h, "a", "", ordered[1:8]),
		wantKeys(ctx, h, "a/", "", ordered[3:7]),
		wantKeys(ctx, h, "a/1", "", ordered[3:5]),
		wantKeys(ctx, h, "b/é", "", ordered[9:10]),
	)
}

func listStartAfter(ctx context.Context, h harness) error {
	if err := putAll(ctx, h, ordered); err != nil {
		return err
	}
	var errs []error
	for i, key := range ordered {
		errs = append(errs, wantKeys(ctx, h, "", key, ordered[i+1:]))
	}
	return errors.Join(append(errs,
		wantKeys(ctx, h, "a/", "a/10", ordered[5:7]),
		wantKeys(ctx, h, "a/", "Z", ordered[3:7]),
		wantKeys(ctx, h, "a/", "a/11", ordered[5:7]),
		wantKeys(ctx, h, "a/", "b", nil),
	)...)
}

func listFields(ctx context.Context, h harness) error {
	before := time.Now()
	wrote, err := put(ctx, h, "key", "12345")
	if err != nil {
		return err
	}
	for info, err := range h.List(ctx, h.ref(""), "") {
		if err != nil {
			return err
		}
		if info.Ref.Key != "key" || info.Size != 5 || info.ETag != wrote.ETag || info.Modified.Sub(before).Abs() > time.Minute {
			return fmt.Errorf("the list says %+v, want ETag %q and a time of about %v", info, wrote.ETag, before)
		}
		return nil
	}
	return errors.New("the list is empty")
}

func listEmpty(ctx context.Context, h harness) error {
	return errors.Join(wantKeys(ctx, h, "", "", nil), wantKeys(ctx, h, "no/such/", "", nil))
}

func listPages(ctx context.Context, h harness) error {
	keys := make([]string, 1005)
	for i := range keys {
		keys[i] = fmt.Sprintf("many/%04d + %%", i)
	}
	if err := putAll(ctx, h, keys); err != nil {
		return err
	}
	return errors.Join(
		wantKeys(ctx, h, "many/", "", keys),
		wantKeys(ctx, h, "many/", keys[2], keys[3:]),
	)
}

func listLeft(ctx context.Context, h harness) error {
	if err := putAll(ctx, h, ordered); err != nil {
		return err
	}
	n := 0
	for _, err := range h.List(ctx, h.ref(""), "") {
		if err != nil {
			return err
		}
		if n++; n == 2 {
			break
		}
	}
	if n != 2 {
		return fmt.Errorf("the loop ran %d times, want 2", n)
	}
	return nil
}

func listDeleted(ctx context.Context, h harness) error {
	if err := putAll(ctx, h, []string{"a", "b", "c"}); err != nil {
		return err
	}
	if err := h.Delete(ctx, h.ref("b"), storage.DeleteOptions{}); err != nil {
		return err
	}
	return wantKeys(ctx, h, "", "", []string{"a", "c"})
}
