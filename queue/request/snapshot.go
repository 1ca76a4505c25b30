package request

import (
	"encoding/json"
	"fmt"
	"time"
)

// Snapshot is what a worker says of itself now and then, at SnapshotOf its
// name: so that others see what is under way, and how long more will take.
type Snapshot struct {
	Worker string    `json:"worker"`
	Time   time.Time `json:"time"` // by S3's clock, as far as the worker knows it
	// InFlight are the inference ids of what the worker has received and not
	// ended yet.
	InFlight []string `json:"inFlight"`
	// More says that InFlight is cut off at MaxInFlightIDs.
	More bool `json:"more,omitempty"`
	// SecondsPerRequest is what a request adds to the time that this worker
	// needs, as learned; 0 before the first.
	SecondsPerRequest float64 `json:"secondsPerRequest"`
	// QueuedSeconds is how long the worker needs for what it holds.
	QueuedSeconds float64 `json:"queuedSeconds"`
}

// The times of snapshots. A worker writes one when it has changed, so often at
// most, and while something is in flight so often at least. One that is older
// than SnapshotLife tells nothing of what is under way: its worker is idle, or
// dead.
const (
	SnapshotPeriod  = 10 * time.Second
	SnapshotRefresh = time.Minute
	SnapshotLife    = 150 * time.Second
)

// MaxInFlightIDs is how many ids a snapshot names.
const MaxInFlightIDs = 10_000

// Live says whether the snapshot still tells what is under way, at now by the
// clock that its Time is by.
func (s Snapshot) Live(now time.Time) bool { return now.Sub(s.Time) < SnapshotLife }

// JSON gives the object's bytes.
func (s Snapshot) JSON() []byte {
	s.Time = s.Time.UTC()
	if s.InFlight == nil {
		s.InFlight = []string{}
	}
	b, err := json.Marshal(s)
	if err != nil { // a number that is none
		s.SecondsPerRequest, s.QueuedSeconds = 0, 0
		b, _ = json.Marshal(s)
	}
	return b
}

// ParseSnapshot reads what JSON wrote. Members that it does not know are those
// of a later version and left alone.
func ParseSnapshot(body []byte) (s Snapshot, err error) {
	if err := json.Unmarshal(body, &s); err != nil {
		return Snapshot{}, fmt.Errorf("the snapshot of a worker: %w", jsonFault(err))
	}
	s.SecondsPerRequest, s.QueuedSeconds = max(0, s.SecondsPerRequest), max(0, s.QueuedSeconds)
	return s, nil
}
