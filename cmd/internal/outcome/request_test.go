package outcome_test

import (
	"context"
	"testing"

	"github.com/penstock/penstock/queue/request"
	"github.com/penstock/penstock/storage"
	"github.com/penstock/penstock/storage/storagetest"
)

// commitRequest writes a terminal object of a request that has an ID.
func (b *bundle) commitRequest(t *testing.T, r request.Request, ref storage.Ref) {
	t.Helper()
	p := request.Provenance{Identity: r.IdentifyUnread(), InferenceID: r.ID, Input: r.Input}
	if _, err := b.store.Put(t.Context(), ref, []byte("{}"), storage.PutOptions{Metadata: p.Metadata(ref)}); err != nil {
		t.Fatal(err)
	}
}

func TestTheEndOfARequestIsFoundUnderItsID(t *testing.T) {
	t.Parallel()
	b := setup(t)
	r := request.Request{ID: "order 7", Input: inputRef}
	find := func(what string, r request.Request, found, failed bool) {
		t.Helper()
		o, ok, err := b.FindRequest(t.Context(), r)
		if err != nil || ok != found || o.Failed != failed {
			t.Errorf("%s: found %t, failed %t, error %v; want %t, %t", what, ok, o.Failed, err, found, failed)
		}
	}
	find("nothing", r, false, false)
	b.commitRequest(t, r, b.Locations.FailureOf(r))
	find("a failure", r, true, true)
	find("a failure, by the ID alone", request.Request{ID: r.ID}, true, true)
	find("another input's failure", request.Request{ID: r.ID, Input: storage.Ref{Bucket: "bucket", Key: "in/b.png"}}, false, false)
	b.commitRequest(t, r, b.Locations.OutputOf(r))
	find("both", r, true, false)

	other := request.Request{ID: "order 8", Input: inputRef, OutputPath: "shared.json"}
	b.commitRequest(t, other, b.Locations.OutputOf(other))
	find("its own result at a path of its own", other, true, false)
	r.OutputPath = other.OutputPath
	find("another's result at the same path", r, true, true)
}

func TestAnOutputThatComesBetweenTheLooksIsTheVerdict(t *testing.T) {
	t.Parallel()
	b := setup(t)
	r := request.Request{ID: "x", Input: inputRef}
	output, failure := b.Locations.OutputOf(r), b.Locations.FailureOf(r)
	b.commitRequest(t, r, failure)
	shim, looked := &storagetest.Hooked{Store: b.store}, make(chan struct{})
	shim.OnCall(func(_ context.Context, _ string, ref storage.Ref, call func() error) error {
		if ref == failure { // the output comes after the first look at its key, and before this one
			<-looked
			b.commitRequest(t, r, output)
			return call()
		}
		err := call()
		select {
		case <-looked:
		default:
			close(looked)
		}
		return err
	})
	b.Store = shim
	if o, ok, err := b.FindRequest(t.Context(), r); err != nil || !ok || o.Failed {
		t.Errorf("found %+v, %t, %v", o, ok, err)
	}
}
