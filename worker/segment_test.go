package worker

import (
	"errors"
	"testing"
	"testing/synctest"

	"github.com/penstock/penstock/storage"
)

// Some readers, as bufio's, forget an error once they have told it, and ask
// again: an end would be taken for that of the input.
func TestAPieceThatIsMissingIsNoEnd(t *testing.T) {
	in(t, func(t *testing.T, p *plant) {
		info := p.upload("x", "0123456789")
		w := p.start(hooked(always(on("get", "in/x"), answer(storage.ErrPrecondition))))
		s := w.newSegmentsOf(t.Context(), &item{input: info}, []byte("01234"), 0, 10, 5)
		defer s.Close()
		b := make([]byte, 10)
		if n, err := s.Read(b); n != 5 || err != nil {
			t.Errorf("read %d bytes, %v", n, err)
		}
		for range 3 {
			synctest.Wait()
			if n, err := s.Read(b); n != 0 || !errors.Is(err, errInputChanged) {
				t.Errorf("read %d bytes, %v; want errInputChanged", n, err)
			}
		}
	})
}

func TestAResultOfMorePartsThanThereCanBeIsAFailure(t *testing.T) {
	in(t, func(t *testing.T, p *plant) {
		s := &sink{sent: storage.MaxParts}
		err := s.send()
		w := p.start()
		if r := w.judge(&item{lease: &lease{ctx: t.Context()}}, err); r.outcome != outcomeFailed || r.problem.Hint == "" {
			t.Errorf("%v is %+v, want a failure: it would be so each time", err, r)
		}
	})
}
