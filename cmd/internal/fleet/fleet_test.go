package fleet_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/penstock/penstock/cmd/internal/fleet"
	"github.com/penstock/penstock/queue/request"
	"github.com/penstock/penstock/storage"
	"github.com/penstock/penstock/storage/mem"
	"github.com/penstock/penstock/storage/storagetest"
)

var locations = func() request.Locations {
	l, err := request.ParseLocations("s3://uploads/in/", "s3://results/out/", "s3://results/failed/", "")
	if err != nil {
		panic(err)
	}
	return l
}()

func put(t *testing.T, store storage.Store, worker string, body []byte) {
	t.Helper()
	if _, err := store.Put(t.Context(), locations.SnapshotOf(worker), body, storage.PutOptions{}); err != nil {
		t.Fatal(err)
	}
}

func TestOnlySnapshotsThatAreFreshTellWhatIsUnderWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := mem.New("uploads", "results")
		read := func() fleet.Fleet {
			t.Helper()
			f, err := fleet.Read(t.Context(), store, locations, time.Now())
			if err != nil {
				t.Fatal(err)
			}
			return f
		}
		if f := read(); len(f.Live) != 0 || f.Latest.Worker != "" || f.Cut() {
			t.Errorf("of nobody: %+v", f)
		}
		// A worker whose own clock is wrong is as live as any.
		put(t, store, "a", request.Snapshot{Worker: "a", InFlight: []string{"1"}, Time: time.Unix(0, 0), SecondsPerRequest: 2}.JSON())
		time.Sleep(time.Second)
		put(t, store, "b", request.Snapshot{Worker: "b", InFlight: []string{"2", "3"}, More: true}.JSON())
		time.Sleep(time.Second)
		put(t, store, "c", []byte("no snapshot"))
		f := read()
		if len(f.Live) != 2 || !f.Has("1") || !f.Has("x", "3") || f.Has("x") || f.Has() || !f.Cut() || f.Latest.Worker != "b" {
			t.Errorf("of three, one of which says nothing: %+v", f)
		}
		time.Sleep(request.SnapshotLife)
		put(t, store, "d", request.Snapshot{Worker: "d"}.JSON())
		if f = read(); len(f.Live) != 1 || f.Has("1") || f.Cut() || len(f.Dead) != 3 {
			t.Errorf("later: %+v", f)
		}
		time.Sleep(time.Hour)
		if f = read(); len(f.Live) != 0 || f.Latest.Worker != "d" || len(f.Dead) != 4 {
			t.Errorf("in the end: %+v", f)
		}
	})
}

func TestASnapshotThatGoesWhileItIsReadIsOfNobody(t *testing.T) {
	t.Parallel()
	store := mem.New("uploads", "results")
	for n := range 50 {
		put(t, store, fmt.Sprint(n), request.Snapshot{InFlight: []string{fmt.Sprint(n)}}.JSON())
	}
	shim := &storagetest.Hooked{Store: store}
	shim.OnCall(func(ctx context.Context, verb string, ref storage.Ref, call func() error) error {
		if verb == "get" && ref == locations.SnapshotOf("7") {
			_ = store.Delete(ctx, ref, storage.DeleteOptions{})
		}
		return call()
	})
	f, err := fleet.Read(t.Context(), shim, locations, time.Now())
	if err != nil || len(f.Live) != 49 || f.Has("7") || !f.Has("49") {
		t.Errorf("got %d, %v", len(f.Live), err)
	}
	cut := errors.New("connection reset")
	shim.OnCall(func(context.Context, string, storage.Ref, func() error) error { return cut })
	if _, err := fleet.Read(t.Context(), shim, locations, time.Now()); !errors.Is(err, cut) {
		t.Errorf("got %v", err)
	}
}
