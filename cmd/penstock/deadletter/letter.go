// Package deadletter is a dead-letter queue as a person handles it: what lies
// in it, why, and the ways out of it, which are back to the queue that requests
// go through, and deletion. It works on the contract of package queue alone.
//
// SQS can't show a message without delivering it. So looking hides what is
// looked at from other readers, for seconds, and counts as a receive of it;
// a Session gives everything back that it did not delete.
package deadletter

import (
	"cmp"
	"slices"
	"time"

	"github.com/penstock/penstock/queue"
	"github.com/penstock/penstock/queue/request"
)

// CodeReceivedTooOften stands for the code of a letter that the queue itself
// moved, by its redrive policy. No worker has said why.
const CodeReceivedTooOften = request.CodeReceivedTooOften

// Letter is one message of a dead-letter queue.
type Letter struct {
	Message    *queue.Message
	Requests   []request.Request // what it asks for; none when it can't be read
	Unreadable error             // why it, or a part of it, can't be read
}

func newLetter(m *queue.Message) Letter {
	l := Letter{Message: m}
	l.Requests, l.Unreadable = request.Decode(m.Body)
	return l
}

// ByQueue says that the queue itself moved the message. Its request may have no
// terminal object.
func (l Letter) ByQueue() bool { return l.Message.Attributes[request.LetterReason] == "" }

// Code is why the message is here, for a program.
func (l Letter) Code() string {
	return cmp.Or(l.Message.Attributes[request.LetterCode], CodeReceivedTooOften)
}

// Reason is why the message is here, for a person.
func (l Letter) Reason() string {
	return cmp.Or(l.Message.Attributes[request.LetterReason], "the queue moved it by its redrive policy: it was received too often, and no worker has said why")
}

// ID is what people call the message: the inference id of its request, else
// the message's own id.
func (l Letter) ID() string {
	if id := l.Message.Attributes[request.LetterID]; id != "" {
		return id
	}
	if len(l.Requests) == 1 && l.Requests[0].ID != "" {
		return l.Requests[0].ID
	}
	return l.Message.ID
}

// Input is the object that the message is about, or nothing where it is about
// none or several.
func (l Letter) Input() string {
	if len(l.Requests) != 1 {
		return ""
	}
	return l.Requests[0].Input.String()
}

// Filter chooses letters. The zero value chooses all.
type Filter struct {
	IDs       []string // any of these, each a message's id or an inference id
	Code      string
	OlderThan time.Duration // since the message was sent
}

// Matches says whether the filter chooses a letter at the time now.
func (f Filter) Matches(l Letter, now time.Time) bool {
	return (len(f.IDs) == 0 || f.names(l) != "") &&
		(f.Code == "" || f.Code == l.Code()) &&
		(f.OlderThan <= 0 || now.Sub(l.Message.Sent) >= f.OlderThan)
}

// names gives the id of the filter's that is the letter's, or nothing.
func (f Filter) names(l Letter) string {
	for _, id := range f.IDs {
		if id == l.Message.ID || id == l.ID() || slices.ContainsFunc(l.Requests, func(r request.Request) bool { return r.ID == id }) {
			return id
		}
	}
	return ""
}
