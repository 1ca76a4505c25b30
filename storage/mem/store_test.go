package mem_test

import (
	"testing"

	"github.com/penstock/penstock/storage"
	"github.com/penstock/penstock/storage/mem"
	"github.com/penstock/penstock/storage/storagetest"
)

func TestConformance(t *testing.T) {
	storagetest.Run(t, func(*testing.T) (storage.Store, string) {
		return mem.New("bucket"), "bucket"
	}, storagetest.Options{Bubble: true})
}

func TestConformanceWithVersions(t *testing.T) {
	storagetest.Run(t, func(*testing.T) (storage.Store, string) {
		store := mem.New()
		store.EnableVersioning("bucket")
		return store, "bucket"
	}, storagetest.Options{Bubble: true, Versioned: true})
}
