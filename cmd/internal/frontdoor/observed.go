package frontdoor

import (
	"io"
	"net/http"
	"time"
)

// resultPatience is how long a caller may take for the next piece of a result.
const resultPatience = time.Minute

// observed notes what is answered.
type observed struct {
	http.ResponseWriter
	patience time.Duration
	status   int
	bytes    int64
}

func (o *observed) WriteHeader(status int) {
	if o.status == 0 {
		o.status = status
	}
	o.ResponseWriter.WriteHeader(status)
}

func (o *observed) Write(b []byte) (int, error) {
	if o.status == 0 {
		o.status = http.StatusOK
	}
	n, err := o.ResponseWriter.Write(b)
	o.bytes += int64(n)
	return n, err
}

// ReadFrom sends a result. A caller who does not take it is given up: else the
// call would hold its connections, to S3 too, for as long as the caller likes.
func (o *observed) ReadFrom(r io.Reader) (int64, error) {
	if o.status == 0 {
		o.status = http.StatusOK
	}
	c := http.NewResponseController(o.ResponseWriter)
	n, err := io.Copy(o.ResponseWriter, pieces{r, func() { _ = c.SetWriteDeadline(time.Now().Add(o.patience)) }}) // Lambda takes all at once
	o.bytes += n
	if err == nil {
		_ = c.Flush()
		_ = c.SetWriteDeadline(time.Time{}) // the connection may serve other calls
	}
	return n, err
}

// pieces tells of each piece that is read, before it is sent.
type pieces struct {
	from io.Reader
	next func()
}

func (p pieces) Read(b []byte) (int, error) {
	n, err := p.from.Read(b)
	p.next()
	return n, err
}

// Unwrap is for http.ResponseController.
func (o *observed) Unwrap() http.ResponseWriter { return o.ResponseWriter }
