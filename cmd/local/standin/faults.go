package standin

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/penstock/penstock/cmd/local/standin/broker"
)

// FaultsPath is where another process injects faults, if Config.Control is
// set: POST a JSON array of Fault to add, GET to see what is still to strike,
// DELETE to clear.
const FaultsPath = "/_penstock/faults"

// Kind is what goes wrong.
type Kind string

// The kinds of faults.
const (
	// DropReply executes the call and closes the connection without a reply.
	DropReply Kind = "drop-reply"
	// Fail answers with Code and Status and executes nothing.
	Fail Kind = "fail"
	// Duplicate leaves a second copy of what ReceiveMessage delivers in the
	// queue, with the same ids and a life of its own; not of what has been
	// received mostRepeated times.
	Duplicate Kind = "duplicate"
	// Expire ends visibility early: of what ReceiveMessage delivers right
	// after it, unless it has been received mostRepeated times; of the receipts
	// that a delete or a visibility change names right before it.
	Expire Kind = "expire"
	// Delay waits before the call is executed.
	Delay Kind = "delay"
)

// Fault is something that goes wrong with calls to come. The faults are
// looked at in the order they were injected; at most one strikes a call.
type Fault struct {
	// Action is what it strikes, as in SQS: "SendMessage". Empty: any.
	Action string `json:"action,omitempty"`
	// Queue is the name of the queue that it strikes. Empty: any.
	Queue string `json:"queue,omitempty"`
	// After is how many such calls pass unharmed first. Calls that a fault
	// earlier in the list strikes don't count.
	After int `json:"after,omitempty"`
	// Count is how many are struck then. 0 is one; below 0 is all.
	Count int `json:"count,omitempty"`
	// Kind is what happens to them.
	Kind Kind `json:"kind"`
	// Wait is for Delay: how long, in nanoseconds.
	Wait time.Duration `json:"wait,omitempty"`
	// Code is for Fail: an SQS error. Default: RequestThrottled.
	Code broker.Code `json:"code,omitempty"`
	// Status is for Fail: the HTTP status. Default: the usual one of Code.
	Status int `json:"status,omitempty"`
}

func (f *Fault) check() error {
	if _, ok := actions[f.Action]; f.Action != "" && !ok {
		return fmt.Errorf("fault: %q is not an action of SQS", f.Action)
	}
	receives := f.Action == "ReceiveMessage"
	receipts := strings.HasPrefix(f.Action, "DeleteMessage") || strings.HasPrefix(f.Action, "ChangeMessageVisibility")
	switch f.Kind {
	case DropReply, Fail, Delay:
		return nil
	case Duplicate:
		if receives {
			return nil
		}
		return fmt.Errorf("fault: %s is for ReceiveMessage, not for %q", f.Kind, f.Action)
	case Expire:
		if receives || receipts {
			return nil
		}
		return fmt.Errorf("fault: %s is for ReceiveMessage and for calls that take a receipt, not for %q", f.Kind, f.Action)
	}
	return fmt.Errorf("fault: unknown kind %q: use %s, %s, %s, %s or %s", f.Kind, DropReply, Fail, Duplicate, Expire, Delay)
}

// faults is the list of what is still to strike.
type faults struct {
	mu   sync.Mutex
	list []*Fault
}

// Inject adds faults. It may be called at any time; on an error none is
// added.
func (h *Handler) Inject(list ...Fault) error {
	for i := range list {
		if err := list[i].check(); err != nil {
			return err
		}
	}
	h.faults.mu.Lock()
	defer h.faults.mu.Unlock()
	for _, f := range list {
		f.Count = max(f.Count, -1)
		if f.Count == 0 {
			f.Count = 1
		}
		h.faults.list = append(h.faults.list, &f)
	}
	return nil
}

// Faults returns what is still to strike, with what is left of After and
// Count.
func (h *Handler) Faults() []Fault {
	h.faults.mu.Lock()
	defer h.faults.mu.Unlock()
	out := make([]Fault, 0, len(h.faults.list))
	for _, f := range h.faults.list {
		out = append(out, *f)
	}
	return out
}

// ClearFaults forgets all faults.
func (h *Handler) ClearFaults() {
	h.faults.mu.Lock()
	defer h.faults.mu.Unlock()
	h.faults.list = nil
}

// next counts a call and returns the fault that strikes it, or none.
func (s *faults) next(action string, input []byte) Fault {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i, f := range s.list {
		if f.Action != "" && f.Action != action || f.Queue != "" && f.Queue != queueOf(input) {
			continue
		}
		if f.After > 0 {
			f.After--
			continue
		}
		if f.Count > 0 {
			if f.Count--; f.Count == 0 {
				s.list = slices.Delete(s.list, i, i+1)
			}
		}
		return *f
	}
	return Fault{}
}

// queueOf reads the queue's name off a call's input.
func queueOf(input []byte) string {
	var in struct{ QueueUrl, QueueName string }
	if json.Unmarshal(input, &in) != nil {
		return ""
	}
	if in.QueueName != "" {
		return in.QueueName
	}
	return in.QueueUrl[strings.LastIndexByte(in.QueueUrl, '/')+1:]
}

// before does what a fault does before the call, and reports whether the call
// has been answered.
func (f *Fault) before(ctx context.Context, w http.ResponseWriter) bool {
	switch f.Kind {
	case Fail:
		code := f.Code
		if code == "" {
			code = broker.RequestThrottled
		}
		writeError(w, broker.Errorf(code, "an injected fault of the local stand-in for SQS"), f.Status)
		return true
	case Delay:
		timer := time.NewTimer(f.Wait)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-ctx.Done():
		}
	}
	return false
}

// mostRepeated bounds how often a fault has a message delivered anew. While
// nothing else waits, it is received again at once, up to a thousand times a
// second, and at the queue's maxReceiveCount it would be dead-lettered by
// nobody's fault.
const mostRepeated = 20

// afterReceive does what a fault does to deliveries.
func (c *call) afterReceive(queue string, deliveries []broker.Delivery) error {
	if c.fault.Kind != Duplicate && c.fault.Kind != Expire {
		return nil
	}
	struck := slices.DeleteFunc(slices.Clone(deliveries), func(d broker.Delivery) bool { return d.Receives >= mostRepeated })
	if c.fault.Kind == Duplicate {
		return c.broker.Duplicate(queue, struck)
	}
	receipts := make([]string, len(struck))
	for i, d := range struck {
		receipts[i] = d.Receipt
	}
	return c.broker.Expire(queue, receipts)
}

// serveFaults is the control path.
func (h *Handler) serveFaults(w http.ResponseWriter, r *http.Request) {
	switch r.Method {
	case http.MethodPost:
		var list []Fault
		if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxRequest)).Decode(&list); err != nil {
			http.Error(w, "the body should be a JSON array of faults: "+err.Error(), http.StatusBadRequest)
			return
		}
		if err := h.Inject(list...); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
	case http.MethodDelete:
		h.ClearFaults()
	case http.MethodGet:
	default:
		http.Error(w, "use GET, POST or DELETE", http.StatusMethodNotAllowed)
		return
	}
	body, _ := json.Marshal(h.Faults()) // plain data always marshals
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(body) // the client is gone; nobody is left to tell
}
