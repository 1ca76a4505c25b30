package frontdoor

import (
	"bufio"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/penstock/penstock/cmd/internal/frontdoor/pipetest"
)

// zeros is a result without end.
type zeros struct{}

func (zeros) Read(b []byte) (int, error) { return len(b), nil }

func TestACallerWhoDoesNotTakeTheResultIsGivenUp(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const patience = time.Minute
		ended := make(chan error, 1)
		conn := pipetest.Dial(t, func(w http.ResponseWriter, r *http.Request) {
			o := &observed{ResponseWriter: w, patience: patience}
			if r.URL.Path == "/small" {
				_, _ = io.Copy(o, strings.NewReader("small"))
				return
			}
			_, err := io.Copy(o, zeros{})
			ended <- err
		})
		replies := bufio.NewReader(conn)
		for range 2 { // the second when the first one's time is long over
			if _, err := io.WriteString(conn, "GET /small HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
				t.Fatal(err)
			}
			res, err := http.ReadResponse(replies, nil)
			if err != nil {
				t.Fatal(err)
			}
			if body, err := io.ReadAll(res.Body); string(body) != "small" {
				t.Errorf("answer %q, error %v", body, err)
			}
			time.Sleep(2 * patience)
		}
		began := time.Now()
		if _, err := io.WriteString(conn, "GET /large HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
			t.Fatal(err)
		}
		select {
		case err := <-ended:
			if took := time.Since(began); err == nil || took != patience {
				t.Errorf("a result without end was given up after %v: %v", took, err)
			}
		case <-time.After(10 * patience):
			t.Error("the call waits for a caller who takes nothing")
		}
	})
}
