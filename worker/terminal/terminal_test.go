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

type (
	ref   = storage.Ref
	actor = storagetest.Actor
)

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
	return actor{Name: w.name, Act: func(s storage.Store) {
		doc := w.document(locations.OutputOf(w.claim.Request))
		if _, err := writerOn(s).PutOutput(context.Background(), w.claim, doc); err != nil {
			t.Errorf("%s: %v", w.name, err)
		}
	}}
}

// succeedInParts writes a result that is too large to be written at once. A
// lost upload is made anew.
func (w writer) succeedInParts(t *testing.T) actor {
	return actor{Name: w.name, Act: func(s storage.Store) {
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
	return actor{Name: w.name, Act: func(s storage.Store) {
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
		"success and a duplicate that ends before it reads the input": func(t *testing.T, s *smem.Store) ([]actor, string) {
			c := claimOf("id", versions(t, s, "1")[0])
			unread := c
			unread.Identity, unread.Input = c.Request.IdentifyUnread(), storage.Info{Ref: c.Request.Input}
			return []actor{writer{c, "S"}.succeed(t), writer{unread, "F"}.fail(t)}, "out: S"
		},
		"success of the first version, a request for the second that ends before it reads it": func(t *testing.T, s *smem.Store) ([]actor, string) {
			v := versions(t, s, "1", "2")
			unread := claimOf("", v[1])
			unread.Identity, unread.Input = unread.Request.IdentifyUnread(), storage.Info{Ref: unread.Request.Input}
			return []actor{writer{claimOf("", v[0]), "S1"}.succeed(t), writer{unread, "F2"}.fail(t)}, "failed: F2"
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
			writer{c, "F0"}.fail(t).Act(s)
			again := c
			again.Redriven = true
			return []actor{writer{again, "S"}.succeed(t), writer{c, "F"}.fail(t)}, "out: S"
		},
		"two redriven failures beside an old one": func(t *testing.T, s *smem.Store) ([]actor, string) {
			c := claimOf("", versions(t, s, "1")[0])
			writer{c, "F0"}.fail(t).Act(s)
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
		"the third version is uploaded while the second's success replaces the first's": func(t *testing.T, s *smem.Store) ([]actor, string) {
			writer{claimOf("", versions(t, s, "1")[0]), "S1"}.succeed(t).Act(s)
			c := claimOf("", versions(t, s, "2")[0])
			return []actor{writer{c, "S2"}.succeed(t), uploadThen(t, "S3", writer.succeed)}, "out: S3"
		},
		"the third version is uploaded while the second's failure replaces the first's": func(t *testing.T, s *smem.Store) ([]actor, string) {
			writer{claimOf("", versions(t, s, "1")[0]), "F1"}.fail(t).Act(s)
			c := claimOf("", versions(t, s, "2")[0])
			return []actor{writer{c, "F2"}.fail(t), uploadThen(t, "F3", writer.fail)}, "failed: F3"
		},
		"the third version is uploaded while the second's success in parts replaces the first's": func(t *testing.T, s *smem.Store) ([]actor, string) {
			writer{claimOf("", versions(t, s, "1")[0]), "S1"}.succeed(t).Act(s)
			c := claimOf("", versions(t, s, "2")[0])
			return []actor{writer{c, "S2"}.succeedInParts(t), uploadThen(t, "S3", writer.succeed)}, "out: S3"
		},
	}
	for name, story := range stories {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			sample := 0
			if strings.HasPrefix(name, "three") {
				sample = 1000 // all were tried once: 46,148, 109,956 and 152,093
			}
			n := storagetest.Interleave(t, sample, func() (storage.Store, []actor, func(*testing.T, string)) {
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

// uploadThen overwrites the input and then writes for the new version, of name.
func uploadThen(t *testing.T, name string, how func(writer, *testing.T) actor) actor {
	return actor{Name: name, Act: func(s storage.Store) {
		version, err := s.Put(context.Background(), ref{Bucket: "uploads", Key: "in/x"}, []byte(name), storage.PutOptions{})
		if err != nil {
			t.Error(err)
			return
		}
		how(writer{claimOf("", version), name}, t).Act(s)
	}}
}

// Whoever looks for a failure finds none beside an output, not for a moment.
func TestAFailureIsNotWrittenWhereTheOutputIs(t *testing.T) {
	t.Parallel()
	store := smem.New("uploads", "results")
	c := claimOf("", versions(t, store, "1")[0])
	writer{c, "S"}.succeed(t).Act(store)
	writer{c, "F"}.fail(t).Act(hooked(store, func(_ context.Context, verb string, r ref, call func() error) error {
		if verb != "head" {
			t.Errorf("%s of %s", verb, r)
		}
		return call()
	}))
	if got := contents(t, store); !slices.Equal(got, []string{"out: S"}) {
		t.Errorf("there is %q, want the output alone", got)
	}
}

// Past its lease a writer changes nothing, whatever it was about to do.
func TestNothingIsWrittenOrRemovedPastTheFence(t *testing.T) {
	t.Parallel()
	over := errors.New("the lease is over")
	for name, write := range map[string]func(ctx context.Context, w *Writer, c Claim) error{
		"a success": func(ctx context.Context, w *Writer, c Claim) error {
			_, err := w.PutOutput(ctx, c, writer{c, "S"}.document(w.Locations.OutputOf(c.Request)))
			return err
		},
		"a success in parts": func(ctx context.Context, w *Writer, c Claim) error {
			d := writer{c, "S"}.document(w.Locations.OutputOf(c.Request))
			u, _, err := w.BeginOutput(ctx, c, d)
			if err != nil {
				return err
			}
			if err := u.PutPart(ctx, 1, d.Body); err != nil {
				return err
			}
			d.Upload = u
			_, err = w.PutOutput(ctx, c, d)
			return err
		},
		"a failure": func(ctx context.Context, w *Writer, c Claim) error {
			_, err := w.PutFailure(ctx, c, writer{c, "F"}.document(w.Locations.FailureOf(c.Request)))
			return err
		},
		"a removal": func(ctx context.Context, w *Writer, c Claim) error {
			for _, r := range []ref{w.Locations.OutputOf(c.Request), w.Locations.FailureOf(c.Request)} {
				if _, err := w.Store.Put(context.WithValue(ctx, prepares{}, true), r, []byte("x"), storage.PutOptions{Metadata: writer{c, "x"}.document(r).Metadata}); err != nil {
					return err
				}
			}
			_, _, err := w.Finished(ctx, c)
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			store := smem.New("uploads", "results")
			c := claimOf("", versions(t, store, "1")[0])
			c.Fence = func(time.Duration) error { return over }
			w := writerOn(hooked(store, func(ctx context.Context, verb string, r ref, call func() error) error {
				if slices.Contains([]string{"put", "complete", "delete"}, verb) && ctx.Value(prepares{}) == nil {
					t.Errorf("%s of %s", verb, r)
				}
				return call()
			}))
			if err := write(t.Context(), w, c); !errors.Is(err, ErrLeaseEnds) || !errors.Is(err, over) {
				t.Errorf("the error is %v", err)
			}
		})
	}
}

// prepares marks calls of a test's own.
type prepares struct{}

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
			storagetest.Interleave(t, 0, func() (storage.Store, []actor, func(*testing.T, string)) {
				store := smem.New("uploads", "results")
				c := claimOf("", versions(t, store, "1")[0])
				n := 0 // calls are made one at a time
				lossy := func(a actor) actor {
					return actor{Name: a.Name, Act: func(s storage.Store) {
						a.Act(hooked(s, func(_ context.Context, verb string, _ ref, call func() error) error {
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

// A write that is repeated on the way, after its reply was lost, is told that
// something is there: itself. Another writer's of the same identity is another's.
func TestAWriteThatMetItsOwnEffectIsCommittedAndAnothersIsADuplicate(t *testing.T) {
	t.Parallel()
	atOnce := func(w *Writer, c Claim, d Document) (Verdict, error) { return w.PutOutput(t.Context(), c, d) }
	inParts := func(w *Writer, c Claim, d Document) (v Verdict, err error) {
		if d.Upload, v, err = w.BeginOutput(t.Context(), c, d); err != nil || v != Committed {
			return v, err
		}
		if err := d.Upload.PutPart(t.Context(), 1, d.Body); err != nil {
			return v, err
		}
		return w.PutOutput(t.Context(), c, d)
	}
	for name, write := range map[string]func(*Writer, Claim, Document) (Verdict, error){"at once": atOnce, "in parts": inParts} {
		for another, want := range map[bool]Verdict{false: Committed, true: Duplicate} {
			t.Run(fmt.Sprintf("%s, another's: %t", name, another), func(t *testing.T) {
				t.Parallel()
				store := smem.New("uploads", "results")
				c := claimOf("", versions(t, store, "1")[0])
				d := writer{c, "S"}.document(locations.OutputOf(c.Request))
				told := hooked(store, func(_ context.Context, verb string, _ ref, call func() error) error {
					if verb != "put" && verb != "complete" {
						return call()
					}
					if another {
						if _, err := writerOn(store).PutOutput(context.Background(), c, d); err != nil {
							t.Error(err)
						}
						return call()
					}
					if err := call(); err != nil {
						t.Error(err)
					}
					return storage.ErrPrecondition
				})
				if v, err := write(writerOn(told), c, d); err != nil || v != want {
					t.Errorf("the verdict is %d, %v; want %d", v, err, want)
				}
			})
		}
	}
}
