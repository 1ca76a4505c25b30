package frontdoor

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

// zeros is a result without end.
type zeros struct{}

func (zeros) Read(b []byte) (int, error) { return len(b), nil }

func TestACallerWhoDoesNotTakeTheResultIsGivenUp(t *testing.T) {
	t.Parallel()
	const patience = 300 * time.Millisecond
	ended := make(chan error, 1)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		o := &observed{ResponseWriter: w, patience: patience}
		if r.URL.Path == "/small" {
			_, _ = io.Copy(o, strings.NewReader("small"))
			return
		}
		_, err := io.Copy(o, zeros{})
		ended <- err
	}))
	defer server.Close()
	conn, err := new(net.Dialer).DialContext(t.Context(), "tcp", strings.TrimPrefix(server.URL, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
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
	if _, err := io.WriteString(conn, "GET /large HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	select {
	case err := <-ended:
		if err == nil {
			t.Error("a result without end was sent")
		}
	case <-time.After(10 * time.Second):
		t.Error("the call waits for a caller who takes nothing")
	}
}
