package broker

import (
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
	"time"
)

// dedupWindow is how long SQS remembers a deduplication id.
const dedupWindow = 5 * time.Minute

// dedup is the message that a deduplication id stands for. It outlives the
// message.
type dedup struct {
	id      string
	seq     uint64
	expires time.Time
}

// dedupKey is what must be unique for dedupWindow: the id, within the group
// where the queue says so.
func (q *queue) dedupKey(o *Outgoing) string {
	if q.settings.dedupScope == scopeGroup {
		return o.Group + "\x00" + o.DedupID
	}
	return o.DedupID
}

func (q *queue) remember(key string, d dedup) {
	q.dedups[key] = d
	q.dedupOrder = append(q.dedupOrder, key)
	value := appendTime(nil, d.expires)
	value = binary.AppendUvarint(value, d.seq)
	value = appendString(value, d.id)
	q.broker.write(Mutation{Table: Dedups, Key: dedupKey(q.id, key), Value: value})
}

func (q *queue) forgetDedups(now time.Time) {
	for len(q.dedupOrder) > 0 {
		key := q.dedupOrder[0]
		if q.dedups[key].expires.After(now) {
			return
		}
		delete(q.dedups, key)
		q.dedupOrder = q.dedupOrder[1:]
		q.broker.write(Mutation{Table: Dedups, Key: dedupKey(q.id, key)})
	}
}

func restoreDedup(queues map[uint64]*queue, key, value []byte) error {
	if len(key) < 8 {
		return fmt.Errorf("deduplication %x: %w", key, errRecord)
	}
	q, ok := queues[binary.BigEndian.Uint64(key)]
	f := fields{rest: value}
	d := dedup{expires: f.time(), seq: f.uvarint(), id: f.string()}
	if !ok || f.err != nil {
		return fmt.Errorf("deduplication %x: %w", key, errRecord)
	}
	q.dedups[string(key[8:])] = d
	q.broker.seq = max(q.broker.seq, d.seq)
	return nil
}

// orderDedups rebuilds the order that the journal doesn't keep.
func (q *queue) orderDedups() {
	for key := range q.dedups {
		q.dedupOrder = append(q.dedupOrder, key)
	}
	slices.SortFunc(q.dedupOrder, func(a, b string) int {
		if c := q.dedups[a].expires.Compare(q.dedups[b].expires); c != 0 {
			return c
		}
		return strings.Compare(a, b)
	})
}
