package doctor

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/penstock/penstock/cmd/penstock/deadletter"
	"github.com/penstock/penstock/queue"
)

// What a queue should be like, as the worker wants it.
const (
	wantRetention = 14 * 24 * time.Hour
	leastReceives = 10
	wantReceives  = 100
	leastMessage  = 256 << 10
	wantMessage   = 1 << 20
)

// queue gives the check of a queue that requests go through.
func (d *Doctor) queue(q Queue, url, flag string) func(context.Context) ([]Finding, error) {
	return func(ctx context.Context) ([]Finding, error) { return examineQueue(ctx, q, url, flag) }
}

func examineQueue(ctx context.Context, q Queue, url, flag string) ([]Finding, error) {
	a, err := q.Attributes(ctx)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return []Finding{bad(Fault, "check "+flag+", AWS_REGION, and whose account these credentials are of", "there is no queue %s", url)}, nil
	case err != nil:
		return nil, err
	}
	list := []Finding{
		fine("%s answers; receiving from it and sending to it were not tried", url),
		fine("%d messages wait, %d are in flight, %d are delayed", a.Visible, a.InFlight, a.Delayed),
	}
	if a.Visible > 0 {
		list = append(list, unknown("SQS doesn't tell for how long they have waited: CloudWatch does (ApproximateAgeOfOldestMessage)"))
	}
	list = append(list, retention(a), messageSize(a))
	if strings.HasSuffix(a.ARN, ".fifo") {
		list = append(list, bad(Warning, "use a standard queue for events of S3; requests of the front door go through both", "it is a FIFO queue, to which S3 sends no events"))
	}
	// Workers name the lease at each receive, so the queue's own is for others.
	list = append(list, visibility(a))
	return append(list, redrive(a)...), nil
}

func retention(a queue.Attributes) Finding {
	const remedy = "set MessageRetentionPeriod to 1209600 (14 days)"
	switch r := a.RetentionPeriod; {
	case r <= 0:
		return unknown("the server does not tell the retention period")
	case r < 24*time.Hour:
		return bad(Fault, remedy, "messages vanish after %v, their requests without a result", r)
	case r < wantRetention:
		return bad(Warning, remedy, "messages vanish after %v, their requests without a result; SQS keeps them for 14 days at most", r)
	default:
		return fine("messages are kept for %d days", int(r.Hours()/24))
	}
}

func messageSize(a queue.Attributes) Finding {
	const remedy = "set MaximumMessageSize to 1048576 (1 MiB)"
	switch n := a.MaximumMessage; {
	case n <= 0:
		return unknown("the server does not tell the maximum message size")
	case n < leastMessage:
		return bad(Fault, remedy, "messages may have %d bytes; larger requests and events are refused", n)
	case n < wantMessage:
		return bad(Warning, remedy, "messages may have %d bytes; packs of many references are refused", n)
	default:
		return fine("messages may have 1 MiB")
	}
}

func visibility(a queue.Attributes) Finding {
	if a.VisibilityTimeout < time.Second {
		return bad(Fault, "set VisibilityTimeout to 30 or more", "its visibility timeout is %v: whoever receives without naming one, such as a Lambda, gets each message again and again", a.VisibilityTimeout)
	}
	return fine("its visibility timeout of %v is for others: workers name their lease at each receive, and extend it while they work", a.VisibilityTimeout)
}

func redrive(a queue.Attributes) []Finding {
	const remedy = `set RedrivePolicy with "maxReceiveCount": 100`
	const why = "receives also count for restarts and outages, so innocent requests can be dead-lettered without a failure object"
	switch n := a.MaxReceiveCount; {
	case a.DeadLetterARN == "":
		return []Finding{bad(Fault, "make a dead-letter queue with a retention of 14 days, and name it in the queue's RedrivePolicy with a maxReceiveCount of 100", "it has no dead-letter queue: what can't be read goes round until its retention ends")}
	case n < leastReceives:
		return []Finding{bad(Fault, remedy, "its maxReceiveCount is %d: %s", n, why)}
	case n < wantReceives:
		return []Finding{bad(Warning, remedy, "its maxReceiveCount is %d: %s", n, why)}
	}
	return []Finding{fine("after %d receives SQS moves a message to %s", a.MaxReceiveCount, a.DeadLetterARN)}
}

// maxLetters is how many dead letters are looked at.
const maxLetters = 100

// deadLetters looks at the dead-letter queue and at what is in it.
func (d *Doctor) deadLetters(ctx context.Context) ([]Finding, error) {
	live, err := d.Queue.Attributes(ctx)
	if err != nil {
		return []Finding{unknown("not looked for: the queue does not answer")}, nil
	}
	dead, err := d.DeadLetters(ctx)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return []Finding{bad(Fault, "make it again, or name another in the queue's RedrivePolicy; until then SQS loses what it would move there", "the queue's redrive target %s is not there", live.DeadLetterARN)}, nil
	case err != nil:
		return nil, fmt.Errorf("find the dead-letter queue: %w", err)
	case dead == nil:
		return []Finding{unknown("there is no dead-letter queue to look at")}, nil
	}
	a, err := dead.Attributes(ctx)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return []Finding{bad(Fault, "make it, or name another in the queue's RedrivePolicy, or by -dead-letter-url", "the dead-letter queue is not there")}, nil
	case err != nil:
		return nil, err
	case a.ARN == live.ARN:
		return []Finding{bad(Fault, "name another queue", "the dead-letter queue is the queue itself")}, nil
	}
	var list []Finding
	if a.RetentionPeriod < live.RetentionPeriod {
		list = append(list, bad(Fault, "set its MessageRetentionPeriod to 1209600 (14 days)",
			"it keeps messages for %v, the queue for %v: what SQS moves there keeps its age, and may vanish at once", a.RetentionPeriod, live.RetentionPeriod))
	} else {
		list = append(list, fine("%s answers, and keeps messages for %d days", a.ARN, int(a.RetentionPeriod.Hours()/24)))
	}
	if a.DeadLetterARN != "" {
		return append(list, bad(Warning, "take its RedrivePolicy away", "it has a redrive policy of its own, so that each look at its messages can move them on; they were not looked at")), nil
	}
	return append(list, d.letters(ctx, dead)), nil
}

// letters counts dead letters by their code.
func (d *Doctor) letters(ctx context.Context, dead Queue) Finding {
	s, err := deadletter.Open(ctx, dead, d.Now)
	if err != nil {
		return d.explain(err)
	}
	defer s.Close(ctx)
	codes := map[string]int{}
	count, more := 0, false
	for !more {
		letters, err := s.Next(ctx)
		if err != nil {
			return d.explain(fmt.Errorf("look at its messages: %w", err))
		}
		if len(letters) == 0 {
			break
		}
		for _, l := range letters {
			codes[l.Code()]++
			count++
		}
		more = count >= maxLetters && s.Count() > count
	}
	if count == 0 && s.Count() > 0 {
		return unknown("about %d messages are in it, but another reader has them at this moment", s.Count())
	}
	if count == 0 {
		return fine("it is empty")
	}
	var parts []string
	for _, code := range slices.Sorted(maps.Keys(codes)) {
		parts = append(parts, fmt.Sprintf("%d %s", codes[code], code))
	}
	of := ""
	if more {
		of = fmt.Sprintf(" of the first %d of about %d", count, s.Count())
	}
	return bad(Warning, "penstock dead-letter list says why; redrive them after the fix, or drop them", "messages that a person must look at%s: %s", of, strings.Join(parts, ", "))
}

// head reads the beginning of an answer, for a message.
func head(r io.Reader) string {
	b, _ := io.ReadAll(io.LimitReader(r, 300))
	return strings.Join(strings.Fields(string(b)), " ")
}
