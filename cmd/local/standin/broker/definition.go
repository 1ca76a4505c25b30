package broker

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"maps"
	"time"
)

// Tags returns the tags of a queue.
func (b *Broker) Tags(name string) (map[string]string, error) {
	q, err := b.lock(name)
	if err != nil {
		return nil, err
	}
	tags := maps.Clone(q.tags)
	return tags, b.unlock()
}

// Tag adds tags, Untag removes them.
func (b *Broker) Tag(name string, tags map[string]string) error {
	return b.retag(name, func(have map[string]string) { maps.Copy(have, tags) })
}

// Untag removes tags by their keys.
func (b *Broker) Untag(name string, keys []string) error {
	return b.retag(name, func(have map[string]string) {
		for _, k := range keys {
			delete(have, k)
		}
	})
}

func (b *Broker) retag(name string, change func(map[string]string)) error {
	q, err := b.lock(name)
	if err != nil {
		return err
	}
	if q.tags == nil {
		q.tags = make(map[string]string)
	}
	change(q.tags)
	q.persist()
	return b.unlock()
}

// definition is a queue in the journal.
type definition struct {
	Name       string            `json:"name"`
	Created    time.Time         `json:"created"`
	Modified   time.Time         `json:"modified"`
	Attributes map[string]string `json:"attributes,omitempty"`
	Tags       map[string]string `json:"tags,omitempty"`
}

// persist writes the queue's definition.
func (q *queue) persist() {
	value, err := json.Marshal(definition{q.name, q.created, q.modified, q.settings.raw, q.tags})
	if err != nil {
		panic(err) // strings and times always marshal
	}
	q.broker.write(Mutation{Table: Queues, Key: seqKey(q.id), Value: value})
}

func (b *Broker) decodeQueue(key, value []byte) (*queue, error) {
	var d definition
	if err := json.Unmarshal(value, &d); err != nil || len(key) != 8 {
		return nil, fmt.Errorf("queue %x: %w", key, errRecord)
	}
	s, err := parseSettings(d.Name, d.Attributes)
	if err != nil {
		return nil, fmt.Errorf("queue %s: %w", d.Name, err)
	}
	q := b.newQueue(binary.BigEndian.Uint64(key), d.Name)
	q.created, q.modified, q.settings, q.tags = d.Created, d.Modified, s, d.Tags
	return q, nil
}
