package gateway

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"time"

	"go.uber.org/zap"
)

const (
	// eventBacklog is how many documents wait for a slow receiver. Beyond it
	// versitygw's calls wait, and it gives each up after 3 seconds.
	eventBacklog = 4096
	// eventWorkers is how many calls of OnEvent run at a time.
	eventWorkers = 8
	// eventAttempts is how often a document is offered to OnEvent.
	eventAttempts = 5
	// maxEvent bounds a document; one record is about 1 KiB.
	maxEvent = 1 << 20
	// quiet is how long no document must have arrived before close believes
	// that none is under way: versitygw sends each from a goroutine of its own
	// and waits for none.
	quiet = 50 * time.Millisecond
	// eventDrain bounds the delivery of what is left at close.
	eventDrain = 10 * time.Second
)

// events takes versitygw's webhook calls, answers them at once and passes the
// documents on.
type events struct {
	url     string
	server  *http.Server
	served  chan struct{} // closed when the server has ended
	backlog chan []byte
	ending  chan struct{} // closed when no more documents arrive
	workers sync.WaitGroup
	ctx     context.Context // of OnEvent
	cancel  context.CancelFunc
	onEvent func(context.Context, []byte) error
	log     *zap.Logger
	arrived chan struct{} // signals a document, for close
}

func listenEvents(onEvent func(context.Context, []byte) error, log *zap.Logger) (*events, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("listen for events: %w", err)
	}
	e := &events{
		url:     "http://" + l.Addr().String(),
		served:  make(chan struct{}),
		backlog: make(chan []byte, eventBacklog),
		ending:  make(chan struct{}),
		onEvent: onEvent,
		log:     log,
		arrived: make(chan struct{}, 1),
	}
	e.ctx, e.cancel = context.WithCancel(context.Background())
	e.server = &http.Server{Handler: http.HandlerFunc(e.accept), ReadHeaderTimeout: 10 * time.Second}
	go func() {
		defer close(e.served)
		if err := e.server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			log.Error("S3 events stopped", zap.Error(err))
		}
	}()
	for range eventWorkers {
		e.workers.Go(e.work)
	}
	return e, nil
}

// work delivers until the server has ended and nothing is left.
func (e *events) work() {
	for {
		select {
		case body := <-e.backlog:
			e.deliver(body)
			continue
		case <-e.ending:
		}
		select {
		case body := <-e.backlog:
			e.deliver(body)
		default:
			return
		}
	}
}

// accept answers without a body: versitygw doesn't close it, and a connection
// with an unread one could not be used again.
func (e *events) accept(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxEvent))
	if err != nil {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	select {
	case e.arrived <- struct{}{}:
	default:
	}
	select {
	case e.backlog <- body:
		w.WriteHeader(http.StatusOK)
	case <-r.Context().Done():
		e.log.Error("S3 event lost: the receiver is too slow", zap.ByteString("event", body))
	}
}

// deliver offers a document to OnEvent until it is taken.
func (e *events) deliver(body []byte) {
	pause := 100 * time.Millisecond
	for attempt := 1; ; attempt++ {
		err := e.onEvent(e.ctx, body)
		if err == nil {
			return
		}
		if attempt == eventAttempts || e.ctx.Err() != nil {
			e.log.Error("S3 event lost", zap.ByteString("event", body), zap.Int("attempts", attempt), zap.Error(err))
			return
		}
		timer := time.NewTimer(pause)
		select {
		case <-timer.C:
		case <-e.ctx.Done():
		}
		timer.Stop()
		pause *= 2
	}
}

// close delivers what has arrived and is arriving, and ends. The gateway has
// ended before.
func (e *events) close() {
	defer e.cancel()
	stop := time.AfterFunc(eventDrain, e.cancel)
	defer stop.Stop()
	e.settle()
	if err := e.server.Shutdown(e.ctx); err != nil {
		_ = e.server.Close() // past the drain time: cut what is left
	}
	<-e.served
	close(e.ending)
	e.workers.Wait()
}

// settle waits until no document has arrived for a moment.
func (e *events) settle() {
	timer := time.NewTimer(quiet)
	defer timer.Stop()
	for {
		select {
		case <-e.arrived:
			timer.Reset(quiet)
		case <-timer.C:
			return
		case <-e.ctx.Done():
			return
		}
	}
}
