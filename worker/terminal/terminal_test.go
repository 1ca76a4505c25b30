package terminal

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/penstock/penstock/queue/request"
	"github.com/penstock/penstock/storage"
	smem "github.com/penstock/penstock/storage/mem"
	"github.com/penstock/penstock/storage/storagetest"
)

type ref = storage.Ref

// errCut is the fault of a connection: nobody knows what took effect.
var errCut = errors.New("connection reset")

var locations = func() request.Locations {
	l, err := request.ParseLocations("s3://uploads/in/", "s3://results/out/", "s3://results/failed/", "")
	if err != nil {
		panic(err)
	}
	return l
}()

// hooked is a store whose calls pass h.
func hooked(s storage.Store, h storagetest.Hook) storage.Store {
	shim := &storagetest.Hooked{Store: s}
	shim.OnCall(h)
	return shim
}

// writer is a claim's way to its terminal object.
type writer struct {
	claim Claim
	name  string // what it writes
}

// versions are uploads of one object, the last one current.
func versions(t *testing.T, store *smem.Store, bodies ...string) (infos []storage.Info) {
	t.Helper()
	for _, b := range bodies {
		info, err := store.Put(context.Background(), ref{Bucket: "uploads", Key: "in/x"}, []byte(b), storage.PutOptions{})
		if err != nil {
			t.Fatal(err)
		}
		infos = append(infos, info)
	}
	return infos
}

// claimOf is the claim of a request on a version of its input.
func claimOf(id string, input storage.Info) Claim {
	r := request.Request{ID: id, Input: ref{Bucket: input.Ref.Bucket, Key: input.Ref.Key}}
	return Claim{
		Request: r, Identity: r.Identify(input), Input: input,
		Fence: func(time.Duration) error { return nil },
	}
}

func writerOn(s storage.Store) *Writer {
	try := func(ctx context.Context, _ time.Duration, _ string, _ ref, op func(context.Context) error) error {
		for {
			if err := op(ctx); Answered(err) {
				return err
			}
		}
	}
	return &Writer{Store: s, Locations: locations, Try: try, Limit: time.Minute}
}

func (w writer) document(ref storage.Ref) Document {
	p := request.Provenance{Identity: w.claim.Identity, InferenceID: w.claim.Request.ID, Input: w.claim.Input.Ref, InputETag: w.claim.Input.ETag}
	return Document{Body: []byte(w.name), ContentType: "application/json", Metadata: p.Metadata(ref)}
}

func (w writer) succeed(t *testing.T) actor {
	return actor{w.name, func(s storage.Store) {
		doc := w.document(locations.OutputOf(w.claim.Request))
		if _, err := writerOn(s).PutOutput(context.Background(), w.claim, doc); err != nil {
			t.Errorf("%s: %v", w.name, err)
		}
	}}
}

// succeedInParts writes a result that is too large to be written at once. A
// lost upload is made anew.
func (w writer) succeedInParts(t *testing.T) actor {
	return actor{w.name, func(s storage.Store) {
		for {
			d, terminals := w.document(locations.OutputOf(w.claim.Request)), writerOn(s)
			u, v, err := terminals.BeginOutput(context.Background(), w.claim, d)
			if err != nil {
				t.Errorf("%s: %v", w.name, err)
			}
			if v != Committed {
				return
			}
			if err := u.PutPart(context.Background(), 1, d.Body); err != nil {
				t.Errorf("%s: %v", w.name, err)
			}
			d.Upload = u
			if _, err = terminals.PutOutput(context.Background(), w.claim, d); !errors.Is(err, ErrUploadLost) {
				if err != nil {
					t.Errorf("%s: %v", w.name, err)
				}
				return
			}
		}
	}}
}

func (w writer) fail(t *testing.T) actor {
	return actor{w.name, func(s storage.Store) {
		doc := w.document(locations.FailureOf(w.claim.Request))
		if _, err := writerOn(s).PutFailure(context.Background(), w.claim, doc); err != nil {
			t.Errorf("%s: %v", w.name, err)
		}
	}}
}

// contents are the bodies of all objects in the results bucket, by kind.
func contents(t *testing.T, store *smem.Store) (all []string) {
	t.Helper()
	for info, err := range store.List(context.Background(), ref{Bucket: "results"}, "") {
		if err != nil {
			t.Fatal(err)
		}
		o, err := store.Get(context.Background(), info.Ref, storage.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		b := make([]byte, o.Size)
		if _, err := o.Body.Read(b); err != nil && o.Size > 0 {
			t.Fatal(err)
		}
		kind, _, _ := strings.Cut(info.Ref.Key, "/")
		all = append(all, kind+": "+string(b))
	}
	return all
}

// Whatever the order of their calls, writers leave one terminal object: the
// output where the same version has both, and the current version's.
func TestWritersLeaveOneTerminalObjectInEveryOrderOfTheirCalls(t *testing.T) {
	t.Parallel()
	type story func(t *testing.T, store *smem.Store) (actors []actor, want string)
	stories := map[string]story{
		"success and zombie failure": func(t *testing.T, s *smem.Store) ([]actor, string) {
			c := claimOf("", versions(t, s, "1")[0])
			return []actor{writer{c, "S"}.succeed(t), writer{c, "F"}.fail(t)}, "out: S"
		},
		"two messages of one ID, one failing": func(t *testing.T, s *smem.Store) ([]actor, string) {
			c := claimOf("id", versions(t, s, "1")[0])
			return []actor{writer{c, "S"}.succeed(t), writer{c, "F"}.fail(t)}, "out: S"
		},
		"success of the first version, success of the second": func(t *testing.T, s *smem.Store) ([]actor, string) {
			v := versions(t, s, "1", "2")
			return []actor{writer{claimOf("", v[0]), "S1"}.succeed(t), writer{claimOf("", v[1]), "S2"}.succeed(t)}, "out: S2"
		},
		"success of the first version, failure of the second": func(t *testing.T, s *smem.Store) ([]actor, string) {
			v := versions(t, s, "1", "2")
			return []actor{writer{claimOf("", v[0]), "S1"}.succeed(t), writer{claimOf("", v[1]), "F2"}.fail(t)}, "failed: F2"
		},
		"failure of the first version, success of the second": func(t *testing.T, s *smem.Store) ([]actor, string) {
			v := versions(t, s, "1", "2")
			return []actor{writer{claimOf("", v[0]), "F1"}.fail(t), writer{claimOf("", v[1]), "S2"}.succeed(t)}, "out: S2"
		},
		"failure of the first version, failure of the second": func(t *testing.T, s *smem.Store) ([]actor, string) {
			v := versions(t, s, "1", "2")
			return []actor{writer{claimOf("", v[0]), "F1"}.fail(t), writer{claimOf("", v[1]), "F2"}.fail(t)}, "failed: F2"
		},
		"a redriven success beside an old failure and its zombie": func(t *testing.T, s *smem.Store) ([]actor, string) {
			c := claimOf("", versions(t, s, "1")[0])
			writer{c, "F0"}.fail(t).act(s)
			again := c
			again.Redriven = true
			return []actor{writer{again, "S"}.succeed(t), writer{c, "F"}.fail(t)}, "out: S"
		},
		"two redriven failures beside an old one": func(t *testing.T, s *smem.Store) ([]actor, string) {
			c := claimOf("", versions(t, s, "1")[0])
			writer{c, "F0"}.fail(t).act(s)
			c.Redriven = true
			return []actor{writer{c, "F"}.fail(t), writer{c, "F"}.fail(t)}, "failed: F"
		},
		"three: success of the first version, success and zombie failure of the second": func(t *testing.T, s *smem.Store) ([]actor, string) {
			v := versions(t, s, "1", "2")
			c := claimOf("", v[1])
			return []actor{writer{claimOf("", v[0]), "S1"}.succeed(t), writer{c, "S2"}.succeed(t), writer{c, "F2"}.fail(t)}, "out: S2"
		},
		"three: failure of the first version, success and zombie failure of the second": func(t *testing.T, s *smem.Store) ([]actor, string) {
			v := versions(t, s, "1", "2")
			c := claimOf("", v[1])
			return []actor{writer{claimOf("", v[0]), "F1"}.fail(t), writer{c, "S2"}.succeed(t), writer{c, "F2"}.fail(t)}, "out: S2"
		},
		"three: success and zombie failure of the first version, failure of the second": func(t *testing.T, s *smem.Store) ([]actor, string) {
			v := versions(t, s, "1", "2")
			c := claimOf("", v[0])
			return []actor{writer{c, "S1"}.succeed(t), writer{c, "F1"}.fail(t), writer{claimOf("", v[1]), "F2"}.fail(t)}, "failed: F2"
		},
		"success in parts and zombie failure": func(t *testing.T, s *smem.Store) ([]actor, string) {
			c := claimOf("", versions(t, s, "1")[0])
			return []actor{writer{c, "S"}.succeedInParts(t), writer{c, "F"}.fail(t)}, "out: S"
		},
		"success in parts and success at once": func(t *testing.T, s *smem.Store) ([]actor, string) {
			c := claimOf("", versions(t, s, "1")[0])
			return []actor{writer{c, "S"}.succeedInParts(t), writer{c, "S"}.succeed(t)}, "out: S"
		},
		"success in parts of the first version, success of the second": func(t *testing.T, s *smem.Store) ([]actor, string) {
			v := versions(t, s, "1", "2")
			return []actor{writer{claimOf("", v[0]), "S1"}.succeedInParts(t), writer{claimOf("", v[1]), "S2"}.succeed(t)}, "out: S2"
		},
		"success of the first version, success in parts of the second": func(t *testing.T, s *smem.Store) ([]actor, string) {
			v := versions(t, s, "1", "2")
			return []actor{writer{claimOf("", v[0]), "S1"}.succeed(t), writer{claimOf("", v[1]), "S2"}.succeedInParts(t)}, "out: S2"
		},
		"failure of the first version, success in parts of the second": func(t *testing.T, s *smem.Store) ([]actor, string) {
			v := versions(t, s, "1", "2")
			return []actor{writer{claimOf("", v[0]), "F1"}.fail(t), writer{claimOf("", v[1]), "S2"}.succeedInParts(t)}, "out: S2"
		},
		"the second version is uploaded while the first succeeds in parts, and fails": func(t *testing.T, s *smem.Store) ([]actor, string) {
			c := claimOf("", versions(t, s, "1")[0])
			return []actor{writer{c, "S1"}.succeedInParts(t), uploadThen(t, "F2", writer.fail)}, "failed: F2"
		},
		"the second version is uploaded while the first succeeds": func(t *testing.T, s *smem.Store) ([]actor, string) {
			c := claimOf("", versions(t, s, "1")[0])
			return []actor{writer{c, "S1"}.succeed(t), uploadThen(t, "S2", writer.succeed)}, "out: S2"
		},
		"the second version is uploaded while the first succeeds, and fails": func(t *testing.T, s *smem.Store) ([]actor, string) {
			c := claimOf("", versions(t, s, "1")[0])
			return []actor{writer{c, "S1"}.succeed(t), uploadThen(t, "F2", writer.fail)}, "failed: F2"
		},
		"the second version is uploaded while the first fails": func(t *testing.T, s *smem.Store) ([]actor, string) {
			c := claimOf("", versions(t, s, "1")[0])
			return []actor{writer{c, "F1"}.fail(t), uploadThen(t, "S2", writer.succeed)}, "out: S2"
		},
		"the second version is uploaded while the first fails, and fails": func(t *testing.T, s *smem.Store) ([]actor, string) {
			c := claimOf("", versions(t, s, "1")[0])
			return []actor{writer{c, "F1"}.fail(t), uploadThen(t, "F2", writer.fail)}, "failed: F2"
		},
	}
	for name, story := range stories {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			sample := 0
			if strings.HasPrefix(name, "three") {
				sample = 1000 // all were tried once: 46,148, 109,956 and 152,093
			}
			n := interleave(t, sample, func() (*smem.Store, []actor, func(*testing.T, string)) {
				store := smem.New("uploads", "results")
				actors, want := story(t, store)
				return store, actors, func(t *testing.T, order string) {
					if got := contents(t, store); !slices.Equal(got, []string{want}) {
						t.Errorf("in the order %s there is %q, want %q alone", order, got, want)
					}
				}
			})
			if n < 10 {
				t.Errorf("only %d orders were tried", n)
			}
		})
	}
}

// uploadThen overwrites the input and then writes for the new version.
func uploadThen(t *testing.T, name string, how func(writer, *testing.T) actor) actor {
	return actor{name, func(s storage.Store) {
		v2, err := s.Put(context.Background(), ref{Bucket: "uploads", Key: "in/x"}, []byte("2"), storage.PutOptions{})
		if err != nil {
			t.Error(err)
			return
		}
		how(writer{claimOf("", v2), name}, t).act(s)
	}}
}

// A reply that is lost after a write took effect changes nothing in that.
func TestWritersLeaveOneTerminalObjectThoughAReplyIsLost(t *testing.T) {
	t.Parallel()
	for i := range 8 {
		lost, how, succeed := i%4, "at once", writer.succeed
		if i >= 4 {
			how, succeed = "in parts", writer.succeedInParts
		}
		t.Run(fmt.Sprintf("write %d, %s", lost, how), func(t *testing.T) {
			t.Parallel()
			interleave(t, 0, func() (*smem.Store, []actor, func(*testing.T, string)) {
				store := smem.New("uploads", "results")
				c := claimOf("", versions(t, store, "1")[0])
				n := 0 // calls are made one at a time
				lossy := func(a actor) actor {
					return actor{a.name, func(s storage.Store) {
						a.act(hooked(s, func(_ context.Context, verb string, _ ref, call func() error) error {
							err := call()
							if verb == "put" || verb == "delete" || verb == "complete" {
								if n++; n-1 == lost {
									return errCut
								}
							}
							return err
						}))
					}}
				}
				s, f := succeed(writer{c, "S"}, t), writer{c, "F"}.fail(t)
				return store, []actor{lossy(s), lossy(f)}, func(t *testing.T, order string) {
					if got := contents(t, store); !slices.Equal(got, []string{"out: S"}) {
						t.Errorf("in the order %s there is %q, want the output alone", order, got)
					}
				}
			})
		})
	}
}
