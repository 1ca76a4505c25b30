package storage_test

import (
	"errors"
	"io/fs"
	"testing"

	"github.com/penstock/penstock/storage"
	"github.com/penstock/penstock/storage/mem"
	"github.com/penstock/penstock/storage/storagetest"
)

func TestTheVeryObjectThatWasSeenIsDeletedWhateverTheServer(t *testing.T) {
	t.Parallel()
	ref := storage.Ref{Bucket: "bucket", Key: "k"}
	for name, s := range map[string]storage.Store{"conditions": mem.New("bucket"), "none": storagetest.Unconditional{Store: mem.New("bucket")}} {
		put := func(body string) storage.Info {
			info, err := s.Put(t.Context(), ref, []byte(body), storage.PutOptions{})
			if err != nil {
				t.Fatal(err)
			}
			return info
		}
		seen := put("seen")
		newer := put("newer")
		if err := storage.DeleteSeen(t.Context(), s, ref, seen.ETag); !errors.Is(err, storage.ErrPrecondition) {
			t.Errorf("%s: with another in its place: %v", name, err)
		}
		if err := storage.DeleteSeen(t.Context(), s, ref, newer.ETag); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if _, err := s.Head(t.Context(), ref); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s: after its deletion: %v", name, err)
		}
		if err := storage.DeleteSeen(t.Context(), s, ref, newer.ETag); !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, storage.ErrPrecondition) {
			t.Errorf("%s: once more: %v", name, err)
		}
	}
}
