package doctor

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"github.com/penstock/penstock/storage"
	"github.com/penstock/penstock/storage/s3"
)

// events looks at who tells whom of uploads, and whether results are told of as
// if they were uploads.
func (d *Doctor) events(ctx context.Context) ([]Finding, error) {
	if d.Buckets == nil {
		return []Finding{unknown("this S3 does not tell")}, nil
	}
	rules := map[string][]s3.Notification{} // by bucket
	var list []Finding
	for _, b := range d.buckets() {
		found, err := d.Buckets.Notifications(ctx, b)
		switch {
		case errors.Is(err, errors.ErrUnsupported):
			list = append(list, unknown("s3://%s: this S3 does not tell of its notifications; local mode has its own, and penstock reconcile finds what was missed", b))
		case errors.Is(err, storage.ErrForbidden):
			list = append(list, unknown("s3://%s: its notifications may not be read (s3:GetBucketNotification)", b))
		case errors.Is(err, fs.ErrNotExist):
			list = append(list, unknown("s3://%s: there is no such bucket", b))
		case err != nil:
			return list, err
		default:
			rules[b] = found
		}
	}
	var queueARN string
	if a, err := d.Queue.Attributes(ctx); err == nil {
		queueARN = a.ARN
	}
	list = append(list, d.inputs(rules, queueARN)...)
	for _, p := range []struct {
		name string
		ref  storage.Ref
	}{{"output", d.Locations.Output}, {"failure", d.Locations.Failure}} {
		if found, ok := rules[p.ref.Bucket]; ok {
			list = append(list, loop(p.name, p.ref, found)...)
		}
	}
	return list, nil
}

// inputs says of each input location whether uploads to it are told of.
func (d *Doctor) inputs(rules map[string][]s3.Notification, queueARN string) (list []Finding) {
	anybody := slices.ContainsFunc(d.Locations.Inputs, func(in storage.Ref) bool {
		return slices.ContainsFunc(rules[in.Bucket], func(n s3.Notification) bool { return concerns(n, in) })
	})
	for _, in := range d.Locations.Inputs {
		found, known := rules[in.Bucket]
		switch {
		case !known:
		case slices.ContainsFunc(found, func(n s3.Notification) bool { return concerns(n, in) }):
			list = append(list, watched(in, found, queueARN))
		case anybody: // beside one that is watched
			list = append(list, bad(Warning, "right for a location of batch jobs, or of requests that name their input; else add an event notification for s3:ObjectCreated:* with this prefix",
				"nobody is told of uploads to %s", in))
		default:
			list = append(list, bad(Fault, "add an event notification for s3:ObjectCreated:* with this prefix, to the queue or to the Lambda producer; penstock reconcile finds what was uploaded meanwhile",
				"nobody is told of uploads to %s", in))
		}
	}
	return list
}

// concerns says whether a rule tells of uploads to a location, or of some.
func concerns(n s3.Notification, in storage.Ref) bool {
	return len(tells(n)) > 0 && (strings.HasPrefix(n.Prefix, in.Key) || strings.HasPrefix(in.Key, n.Prefix))
}

// creations are the events of S3 by which objects appear.
var creations = []string{"Put", "Post", "Copy", "CompleteMultipartUpload"}

// tells says which creations a rule tells of.
func tells(n s3.Notification) (of []string) {
	for _, c := range creations {
		if len(n.Events) == 0 || slices.Contains(n.Events, "s3:ObjectCreated:*") || slices.Contains(n.Events, "s3:ObjectCreated:"+c) {
			of = append(of, c)
		}
	}
	return of
}

// watched says who is told of uploads to a location, by the rules that concern
// it, and of which not.
func watched(in storage.Ref, rules []s3.Notification, queueARN string) Finding {
	told := map[string]bool{}
	var to, partly []string
	for _, n := range rules {
		if !concerns(n, in) {
			continue
		}
		if n.Suffix != "" || len(n.Prefix) > len(in.Key) {
			partly = append(partly, fmt.Sprintf("only keys %s…%s", n.Prefix, n.Suffix))
		}
		for _, c := range tells(n) {
			told[c] = true
		}
		switch {
		case n.Target == "":
			to = append(to, "EventBridge, whose rules were not looked at")
		case n.Target == queueARN:
			to = append(to, "the queue")
		default:
			to = append(to, n.Target)
		}
	}
	target := strings.Join(slices.Compact(to), ", ")
	var lacks []string
	for _, c := range creations {
		if !told[c] {
			lacks = append(lacks, c)
		}
	}
	switch {
	case len(lacks) > 0:
		return bad(Fault, "tell of s3:ObjectCreated:*: large files come as CompleteMultipartUpload, copies as Copy",
			"of uploads to %s these are not told of: %s", in, strings.Join(lacks, ", "))
	case len(partly) > 0:
		return bad(Warning, "this may be what is wanted; else widen the filter of the notification", "of uploads to %s not all are told of: %s; to %s", in, strings.Join(partly, ", "), target)
	}
	return fine("uploads to %s are told to %s", in, target)
}

// loop finds rules that tell of what workers write.
func loop(name string, at storage.Ref, rules []s3.Notification) (list []Finding) {
	for _, n := range rules {
		if n.Target == "" || len(tells(n)) == 0 || !strings.HasPrefix(at.Key, n.Prefix) && !strings.HasPrefix(n.Prefix, at.Key) {
			continue // EventBridge gets everything; its rules choose
		}
		if n.Suffix != "" && !strings.HasSuffix(".out", n.Suffix) && !strings.HasSuffix(n.Suffix, ".out") {
			continue // no result has such a name
		}
		what := fmt.Sprintf("the notification %q", n.ID)
		if n.ID == "" {
			what = "a notification"
		}
		list = append(list, bad(Fault, "give it the input location's prefix, so that results are not told of",
			"%s tells of what is written to the %s location %s, too: each result makes a message that asks for nothing, or a failure that makes another", what, name, at))
	}
	return list
}

// What lifecycle rules should do.
const (
	recordDays = 7 // the window in which an id may be repeated
)

// lifecycle looks at what the buckets end by themselves.
func (d *Doctor) lifecycle(ctx context.Context) ([]Finding, error) {
	if d.Buckets == nil {
		return []Finding{unknown("this S3 does not tell")}, nil
	}
	var list []Finding
	for _, b := range d.buckets() {
		rules, err := d.Buckets.Lifecycle(ctx, b)
		switch {
		case errors.Is(err, errors.ErrUnsupported):
			list = append(list, unknown("s3://%s: this S3 does not tell of lifecycle rules", b))
			continue
		case errors.Is(err, storage.ErrForbidden):
			list = append(list, unknown("s3://%s: its lifecycle rules may not be read (s3:GetLifecycleConfiguration)", b))
			continue
		case errors.Is(err, fs.ErrNotExist):
			list = append(list, unknown("s3://%s: there is no such bucket", b))
			continue
		case err != nil:
			return list, err
		}
		if at := d.Locations.Output; at.Bucket == b {
			list = append(list, unfinished(at, rules))
		}
		if at := d.Locations.State; at.Bucket == b {
			list = append(list, stateExpiry(at, rules))
		}
		for _, p := range []struct {
			name string
			ref  storage.Ref
		}{{"output", d.Locations.Output}, {"failure", d.Locations.Failure}} {
			if p.ref.Bucket == b {
				list = append(list, vanishing(p.name, p.ref, rules)...)
			}
		}
	}
	return list, nil
}

func unfinished(at storage.Ref, rules []s3.LifecycleRule) Finding {
	for _, r := range rules {
		if r.AbortUploads > 0 && !r.Narrow && strings.HasPrefix(at.Key, r.Prefix) {
			return fine("unfinished uploads in parts to %s end after %s", at, days(r.AbortUploads))
		}
	}
	return bad(Warning, "add a rule to s3://"+at.Bucket+": AbortIncompleteMultipartUpload after 1 day", "nothing ends the parts that a worker leaves behind when it is killed over a large result: they cost money for ever")
}

func stateExpiry(at storage.Ref, rules []s3.LifecycleRule) Finding {
	// What is accepted is recorded below requests/; markers are small.
	records := at.Key + "requests/"
	for _, r := range rules {
		if !r.Expires || r.Narrow || !strings.HasPrefix(records, r.Prefix) {
			continue
		}
		if r.ExpireDays > 0 && r.ExpireDays < recordDays {
			return bad(Warning, "let records live for 7 days at least", "records of requests below %s expire after %s: after that, an id that is sent again is a new request", at, days(r.ExpireDays))
		}
		return fine("records of requests below %s expire after %s", at, days(r.ExpireDays))
	}
	return bad(Warning, "add a rule to s3://"+at.Bucket+": expire objects below "+records+" after 7 days", "nothing removes the records of requests below %s: they stay for ever", at)
}

// vanishing finds rules that delete results before anybody may have read them.
func vanishing(name string, at storage.Ref, rules []s3.LifecycleRule) (list []Finding) {
	for _, r := range rules {
		if r.Expires && r.ExpireDays > 0 && r.ExpireDays < 2 && strings.HasPrefix(at.Key, r.Prefix) {
			list = append(list, bad(Warning, "let results live longer, or narrow the rule's prefix", "what is in the %s location %s is deleted after %s: whoever looks later finds nothing, and penstock reconcile runs it again", name, at, days(r.ExpireDays)))
		}
	}
	return list
}

func days(n int32) string {
	switch n {
	case 0:
		return "a date"
	case 1:
		return "1 day"
	}
	return fmt.Sprintf("%d days", n)
}
