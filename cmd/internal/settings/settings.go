// Package settings finds what a Penstock program was told: by the process's
// environment, and, for the command line of a person, by the file
// ".penstock/env" of the directory they work in. Flags come before both; they
// are the programs' own matter.
//
// Each setting has one name in two spellings: the flag -queue-url is the
// variable PENSTOCK_QUEUE_URL (see Name).
package settings

import (
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"strings"

	"github.com/penstock/penstock/queue/request"
)

// Lookup finds the value of a variable. The second result says whether it is
// set, be it to nothing. os.LookupEnv is one.
type Lookup func(name string) (value string, ok bool)

// Or asks l, and next where l has no such variable.
func (l Lookup) Or(next Lookup) Lookup {
	return func(name string) (string, bool) {
		if v, ok := l(name); ok {
			return v, true
		}
		return next(name)
	}
}

// Name is the environment variable that mirrors a flag: "queue-url" is
// mirrored by PENSTOCK_QUEUE_URL.
func Name(flag string) string {
	return prefix + strings.ToUpper(strings.ReplaceAll(flag, "-", "_"))
}

// Flags that all programs of an installation share.
const (
	QueueURL      = "queue-url"       // the SQS queue that requests go through
	BatchQueueURL = "batch-queue-url" // the SQS queue of batch jobs; default: that of requests
	Input         = "input"           // where inputs may be read: s3://bucket[/prefix], several with commas between
	Output        = "output"          // where results are written: s3://bucket/prefix/
	Failure       = "failure"         // where failure objects are written: s3://bucket/prefix/
	State         = "state"           // where Penstock keeps its own objects; default .penstock/ in the output's bucket
	GroupBy       = "group-by"        // which requests share a MessageGroupId: none, object, folder, bucket or model
)

// Installation is what the programs that put requests into the queue must
// know.
type Installation struct {
	QueueURL  string
	Locations request.Locations
	Grouping  request.Grouping
}

// Group is the MessageGroupId of a request.
func (i Installation) Group(r request.Request) string { return i.Locations.GroupOf(i.Grouping, r) }

// Read reads an installation from its variables. All faults are reported at
// once, joined, each with the name of its setting, beside what could be read.
func Read(lookup Lookup) (Installation, error) {
	value := func(flag string) string {
		v, _ := lookup(Name(flag))
		return v
	}
	locations, err := request.ParseLocations(value(Input), value(Output), value(Failure), value(State))
	grouping, groupErr := request.ParseGrouping(value(GroupBy), value(QueueURL))
	if groupErr != nil {
		groupErr = fmt.Errorf("%s: %w", GroupBy, groupErr)
	}
	return Installation{value(QueueURL), locations, grouping}, errors.Join(CheckQueueURL(value(QueueURL)), err, groupErr)
}

// CheckQueueURL reports what is not the URL of an SQS queue. A queue's name or
// ARN is not: SQS itself takes nothing but URLs.
func CheckQueueURL(s string) error {
	fault := func(why string) error {
		return fmt.Errorf("%s: %s; it looks like https://sqs.REGION.amazonaws.com/ACCOUNT/NAME", QueueURL, why)
	}
	if s == "" {
		return fault("no queue is given")
	}
	u, err := url.Parse(s)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || strings.Trim(u.Path, "/") == "" {
		return fault(fmt.Sprintf("%q is not the URL of a queue", s))
	}
	return nil
}

var accountOfQueue = regexp.MustCompile(`/([0-9]{12})/`)

// Account is the AWS account that the URL of a queue names, or nothing.
func Account(queueURL string) string {
	if m := accountOfQueue.FindStringSubmatch(queueURL); m != nil {
		return m[1]
	}
	return ""
}
