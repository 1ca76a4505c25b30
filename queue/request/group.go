package request

import (
	"errors"
	"fmt"
	"strings"
	"time"
)

// Grouping says which requests share a MessageGroupId. On a standard queue a
// group is a tenant of SQS's fair queues: one with a deep backlog delays the
// others less. On a FIFO queue a group is an order: its messages are worked on
// one after the other, so a coarse grouping makes workers wait.
type Grouping string

// The groupings.
const (
	GroupNone   Grouping = "none"   // no group at all; standard queues only
	GroupObject Grouping = "object" // each input by itself, and each ID
	GroupFolder Grouping = "folder" // the first folder below the input location, as of a tenant
	GroupBucket Grouping = "bucket"
	GroupModel  Grouping = "model"
)

// ParseGrouping reads a grouping for the queue with this URL. Empty is the
// queue's natural one: none, or, on a FIFO queue, which takes nothing without
// a group, the object.
func ParseGrouping(s, queueURL string) (Grouping, error) {
	fifo := strings.HasSuffix(queueURL, ".fifo")
	switch g := Grouping(strings.TrimSpace(s)); g {
	case "":
		if fifo {
			return GroupObject, nil
		}
		return GroupNone, nil
	case GroupNone:
		if fifo {
			return g, errors.New("none is not for a FIFO queue, which takes no message without a group; leave it out for a group an object")
		}
		return g, nil
	case GroupObject, GroupFolder, GroupBucket, GroupModel:
		return g, nil
	default:
		return g, fmt.Errorf("%.80q is not a grouping; it must be none, object, folder, bucket or model", s)
	}
}

// GroupOf is the group of r: its grouping's name and what it is grouped by,
// which is a hash where SQS would not take it as it is. Bodies that came
// inline lie in the state location, and so in no folder: "requests" is theirs.
func (l Locations) GroupOf(by Grouping, r Request) string {
	switch by {
	case GroupObject:
		if !r.Upload() {
			return "object-" + hash(r.ID)
		}
		return "object-" + hash(r.Input.Bucket+"/"+r.Input.Key)
	case GroupFolder:
		folder, _, below := strings.Cut(l.withinLocation(r), "/")
		if !below {
			folder = "" // it lies beside the folders
		}
		return groupName("folder-", folder)
	case GroupBucket:
		return groupName("bucket-", r.Input.Bucket)
	case GroupModel:
		return groupName("model-", r.Model)
	}
	return ""
}

// withinLocation is the input's key below its location, whatever bucket that
// is in.
func (l Locations) withinLocation(r Request) string {
	for _, in := range l.Inputs {
		if in.Contains(r.Input) {
			return r.Input.Key[len(in.Key):]
		}
	}
	return recordsFolder
}

func groupName(prefix, name string) string {
	const longest = 100 // of SQS's 128
	foreign := func(c rune) bool { return c <= ' ' || c > '~' }
	if len(name) > longest || strings.ContainsFunc(name, foreign) {
		name = hash(name)
	}
	return prefix + name
}

// DedupID is what a FIFO queue knows r by: a copy that is sent within five
// minutes is dropped. It follows from the identity and from the upload, for
// the same bytes that were uploaded again are to run again. Of an upload whose
// sender does not know S3's name for it, no copy is dropped that has another
// time of Enqueued.
func (r Request) DedupID() string {
	if r.Upload() && r.Sequencer == "" {
		return string(identify(string(r.IdentifyUnread()), r.Enqueued.UTC().Format(time.RFC3339Nano)))
	}
	return string(identify(string(r.IdentifyUnread()), r.Sequencer))
}
