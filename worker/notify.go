package worker

import (
	"cmp"
	"context"
	"encoding/json"
	"io"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"github.com/penstock/penstock/queue/request"
	"github.com/penstock/penstock/storage"
	"github.com/penstock/penstock/worker/terminal"
)

// Notify says who is told when a request has ended. The zero value tells
// nobody.
type Notify struct {
	// Topics publishes; nil when both topics are empty.
	Topics interface {
		Publish(ctx context.Context, topic, message, group, dedup string) error
	}
	Success, Failure string // ARNs of topics; empty tells nobody
	// SuccessBody and FailureBody put the terminal object into the message, up
	// to request.MaxNotifiedBody bytes.
	SuccessBody, FailureBody bool
	Region                   string
}

// newNotified counts notifications.
func newNotified(r prometheus.Registerer) *prometheus.CounterVec {
	return newResultCounter(r, "penstock_notifications_total", "Messages to topics about requests that ended.", "sent", "failed")
}

// ending is what an item's terminal object says, as far as it is to be told.
type ending struct {
	failed      bool
	contentType string
	reason      string
	body        []byte // nil where it is too large, or not to be told
}

// notify tells that an item has its terminal object: after the commit and
// before the message is acknowledged, so at least once. That it can't be told
// changes nothing in the verdict.
func (w *Worker) notify(ctx context.Context, it *item, o outcome) {
	n := w.cfg.Notify
	if n.Topics == nil {
		return
	}
	e := it.ending
	if o == outcomeDuplicate && it.suspect { // who wrote it may have died before it told
		e = w.readEnding(ctx, it)
	}
	if e == nil {
		return
	}
	topic, withBody := n.Success, n.SuccessBody
	if e.failed {
		topic, withBody = n.Failure, n.FailureBody
	}
	if topic == "" {
		return
	}
	message := w.notification(it, e, withBody)
	for tries := 0; ; tries++ {
		callCtx, cancel := context.WithTimeout(ctx, w.cfg.callLimit())
		err := n.Topics.Publish(callCtx, topic, message, string(it.identity), string(it.identity))
		cancel()
		if err == nil {
			w.notified.WithLabelValues("sent").Inc()
			return
		}
		if tries == 2 || it.lease.lost() || !sleep(ctx, jitter(time.Second<<tries)) {
			w.notified.WithLabelValues("failed").Inc()
			w.log.Error("notify: nobody was told of this request's end", it.log(), zap.String("topic", topic), zap.Error(err))
			return
		}
	}
}

// notification is the message about an item.
func (w *Worker) notification(it *item, e *ending, withBody bool) string {
	n := request.Notification{
		InferenceID: it.id, Input: it.request.Input.String(), Endpoint: cmp.Or(it.request.Endpoint, it.request.Model),
		Accept: it.request.Accept, ContentType: it.request.ContentType, Region: w.cfg.Notify.Region,
		Received: it.accepted, Ended: time.Now().Add(w.cfg.Skew()),
	}
	if n.Endpoint == "" && it.model != nil {
		n.Endpoint = it.model.Name()
	}
	if e.failed {
		n.Failure, n.FailureReason = w.cfg.Locations.FailureOf(it.request).String(), e.reason
	} else {
		n.Output, n.OutputContentType = w.cfg.Locations.OutputOf(it.request).String(), e.contentType
	}
	if withBody && len(e.body) <= request.MaxNotifiedBody { // it was read one byte further
		n.Body = e.body
	}
	return n.JSON()
}

// succeeded notes what the item's output says.
func (it *item) succeeded(d terminal.Document) {
	it.ending = &ending{contentType: d.ContentType}
	if d.Upload == nil && len(d.Body) <= request.MaxNotifiedBody {
		it.ending.body = d.Body
	}
}

// failed notes what the item's failure object says.
func (it *item) failed(p *request.Problem, body []byte) {
	it.ending = &ending{failed: true, contentType: "application/json", reason: p.Error(), body: body}
}

// readEnding reads what the item's terminal object says, or nil if it can't be
// read.
func (w *Worker) readEnding(ctx context.Context, it *item) *ending {
	for _, failed := range []bool{false, true} {
		ref := w.cfg.Locations.OutputOf(it.request)
		if failed {
			ref = w.cfg.Locations.FailureOf(it.request)
		}
		var e *ending
		err := w.store.try(ctx, w.cfg.callLimit(), verbFetch, ref, func(ctx context.Context) error {
			o, err := w.cfg.Store.Get(ctx, ref, storage.GetOptions{Length: request.MaxNotifiedBody + 1})
			if err != nil {
				return err
			}
			defer o.Body.Close()
			e = &ending{failed: failed, contentType: o.ContentType}
			e.body, err = io.ReadAll(o.Body)
			return err
		})
		if err == nil {
			if failed {
				var f request.Failure
				_ = json.Unmarshal(e.body, &f) // cut at the limit it says nothing, and the object says all
				e.reason = f.Error.Error()
			}
			return e
		}
	}
	return nil
}
