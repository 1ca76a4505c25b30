package broker

import (
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"
)

const purgeInterval = time.Minute

// ARN is the ARN that a queue of this name has.
func (b *Broker) ARN(name string) string { return b.arn(name) }

// arn is the ARN of a queue of this name.
func (b *Broker) arn(name string) string {
	return "arn:aws:sqs:" + b.config.Region + ":" + b.config.Account + ":" + name
}

// named is the queue with an ARN, or nil. b.mu is held.
func (b *Broker) named(arn string) *queue {
	name, ok := strings.CutPrefix(arn, b.arn(""))
	if !ok {
		return nil
	}
	return b.queues[name]
}

// Account is the account that the queues belong to.
func (b *Broker) Account() string { return b.config.Account }

// CreateQueue makes a queue. It is no error if there is one of the name whose
// attributes don't differ from those that are given.
func (b *Broker) CreateQueue(name string, attributes, tags map[string]string) error {
	if err := checkName(name); err != nil {
		return err
	}
	if strings.HasSuffix(name, fifoSuffix) && attributes[attrFIFO] != "true" {
		return Errorf(InvalidParameterValue, "The queue name ends in .fifo, so the attribute FifoQueue must be true.")
	}
	attributes = maps.Clone(attributes)
	maps.DeleteFunc(attributes, func(k, v string) bool { return v == "" && clearable(k) })
	s, err := parseSettings(name, attributes)
	if err != nil {
		return err
	}
	b.mu.Lock()
	if err := b.create(name, s, tags); err != nil {
		b.mu.Unlock()
		return err
	}
	return b.unlock()
}

// create does CreateQueue's work; b.mu is held.
func (b *Broker) create(name string, s settings, tags map[string]string) error {
	if err := b.usable(); err != nil {
		return err
	}
	if q, ok := b.queues[name]; ok {
		have, want := q.settings.values(q.fifo()), s.values(q.fifo())
		for attribute := range s.raw {
			if have[attribute] != want[attribute] {
				return Errorf(QueueNameExists, "A queue already exists with the same name and a different value for attribute %s", attribute)
			}
		}
		return nil
	}
	if err := b.checkDeadLetter(name, s); err != nil {
		return err
	}
	q := b.newQueue(b.nextSeq(), name)
	q.created, q.settings, q.tags = time.Now(), s, maps.Clone(tags)
	q.modified = q.created
	b.queues[name] = q
	q.persist()
	return nil
}

// clearable attributes are removed by an empty value.
func clearable(name string) bool {
	return name == attrRedrive || name == attrRedriveAllow || name == attrPolicy || name == attrKMSKey
}

// checkDeadLetter refuses a redrive policy whose target can't be used.
func (b *Broker) checkDeadLetter(name string, s settings) error {
	if s.deadLetter == "" {
		return nil
	}
	target := b.named(s.deadLetter)
	if target == nil {
		return invalidValue(s.raw[attrRedrive], attrRedrive, "Dead letter target does not exist.")
	}
	if target.fifo() != strings.HasSuffix(name, fifoSuffix) {
		return invalidValue(s.raw[attrRedrive], attrRedrive, "Dead letter target should be the same type of queue as the source.")
	}
	return nil
}

// DeleteQueue removes a queue and its messages.
func (b *Broker) DeleteQueue(name string) error {
	q, err := b.lock(name)
	if err != nil {
		return err
	}
	q.clear()
	for key := range q.dedups {
		b.write(Mutation{Table: Dedups, Key: dedupKey(q.id, key)})
	}
	q.timer.Stop()
	q.wakeAll()
	delete(b.queues, name)
	b.write(Mutation{Table: Queues, Key: seqKey(q.id)})
	return b.unlock()
}

// clear drops every message.
func (q *queue) clear() {
	for _, m := range q.messages {
		q.remove(m)
	}
}

// PurgeQueue drops all messages of a queue, at most once a minute.
func (b *Broker) PurgeQueue(name string) error {
	q, err := b.lock(name)
	if err != nil {
		return err
	}
	now := time.Now()
	if !q.purged.IsZero() && now.Before(q.purged.Add(purgeInterval)) {
		b.mu.Unlock()
		return Errorf(PurgeQueueInProgress, "Only one PurgeQueue operation on %s is allowed every 60 seconds.", name)
	}
	q.purged = now
	q.clear()
	return b.unlock()
}

// Exists is nil when there is a queue of this name.
func (b *Broker) Exists(name string) error {
	if _, err := b.lock(name); err != nil {
		return err
	}
	return b.unlock()
}

// Queues lists names that begin with prefix, sorted.
func (b *Broker) Queues(prefix string) ([]string, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if err := b.usable(); err != nil {
		return nil, err
	}
	var names []string
	for name := range b.queues {
		if strings.HasPrefix(name, prefix) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names, nil
}

// DeadLetterSources lists the queues whose redrive policy names this one.
func (b *Broker) DeadLetterSources(name string) ([]string, error) {
	q, err := b.lock(name)
	if err != nil {
		return nil, err
	}
	defer b.mu.Unlock()
	var names []string
	for _, o := range b.queues {
		if o.settings.deadLetter == q.arn() {
			names = append(names, o.name)
		}
	}
	slices.Sort(names)
	return names, nil
}

// Attributes returns the attributes of a queue whose names are wanted; the
// name All stands for all.
func (b *Broker) Attributes(name string, wanted []string) (map[string]string, error) {
	q, err := b.lock(name)
	if err != nil {
		return nil, err
	}
	all := q.attributes()
	if err := b.unlock(); err != nil {
		return nil, err
	}
	out := make(map[string]string)
	for _, w := range wanted {
		if w == attrAll {
			return all, nil
		}
		v, ok := all[w]
		if !ok && !knownAttribute(w) {
			return nil, Errorf(InvalidAttributeName, "Unknown Attribute %s.", w)
		}
		if ok {
			out[w] = v
		}
	}
	return out, nil
}

// knownAttribute tells attributes that a queue doesn't have from those that
// no queue has.
func knownAttribute(name string) bool {
	switch name {
	case attrRedrive, attrRedriveAllow, attrPolicy, attrKMSKey, attrKMSReuse,
		attrFIFO, attrContentDedup, attrDedupScope, attrThroughput:
		return true
	}
	return false
}

func (q *queue) attributes() map[string]string {
	all := q.settings.values(q.fifo())
	all[attrARN] = q.arn()
	all[attrCreated] = strconv.FormatInt(q.created.Unix(), 10)
	all[attrModified] = strconv.FormatInt(q.modified.Unix(), 10)
	all[attrVisible] = strconv.Itoa(q.readied)
	all[attrNotVisible] = strconv.Itoa(q.flying)
	all[attrDelayed] = strconv.Itoa(q.hidden.len() - q.flying)
	return all
}

// SetAttributes changes the attributes that are given. An empty value removes
// a policy.
func (b *Broker) SetAttributes(name string, attributes map[string]string) error {
	q, err := b.lock(name)
	if err != nil {
		return err
	}
	if err := q.set(attributes); err != nil {
		b.mu.Unlock()
		return err
	}
	return b.unlock()
}

func (q *queue) set(attributes map[string]string) error {
	if _, ok := attributes[attrFIFO]; ok && !q.fifo() {
		return badAttribute(attrFIFO)
	}
	raw := maps.Clone(q.settings.raw)
	if raw == nil {
		raw = make(map[string]string)
	}
	for k, v := range attributes {
		if v == "" && clearable(k) {
			delete(raw, k)
			continue
		}
		raw[k] = v
	}
	s, err := parseSettings(q.name, raw)
	if err != nil {
		return err
	}
	if err := q.broker.checkDeadLetter(q.name, s); err != nil {
		return err
	}
	q.settings, q.modified = s, time.Now()
	q.sweepAt = q.modified // the retention period may have changed
	q.persist()
	return nil
}
