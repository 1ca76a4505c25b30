package broker

import (
	"encoding/json"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// SQS's own limits.
const (
	MaxBatch         = 10
	MaxMessageBytes  = 1 << 20 // of a message, and of all messages in a batch
	MaxVisibility    = 12 * time.Hour
	MaxDelay         = 15 * time.Minute
	MaxWait          = 20 * time.Second
	maxAttributes    = 10
	maxReceiveLimit  = 1000
	fifoSuffix       = ".fifo"
	scopeGroup       = "messageGroup"
	scopeQueue       = "queue"
	minMessageBytes  = 1024
	defaultRetention = 4 * 24 * time.Hour
)

// Names of queue attributes.
const (
	attrVisibility    = "VisibilityTimeout"
	attrMaxMessage    = "MaximumMessageSize"
	attrRetention     = "MessageRetentionPeriod"
	attrDelay         = "DelaySeconds"
	attrWait          = "ReceiveMessageWaitTimeSeconds"
	attrRedrive       = "RedrivePolicy"
	attrRedriveAllow  = "RedriveAllowPolicy"
	attrPolicy        = "Policy"
	attrFIFO          = "FifoQueue"
	attrContentDedup  = "ContentBasedDeduplication"
	attrDedupScope    = "DeduplicationScope"
	attrThroughput    = "FifoThroughputLimit"
	attrManagedSSE    = "SqsManagedSseEnabled"
	attrKMSKey        = "KmsMasterKeyId"
	attrKMSReuse      = "KmsDataKeyReusePeriodSeconds"
	attrVisible       = "ApproximateNumberOfMessages"
	attrNotVisible    = "ApproximateNumberOfMessagesNotVisible"
	attrDelayed       = "ApproximateNumberOfMessagesDelayed"
	attrCreated       = "CreatedTimestamp"
	attrModified      = "LastModifiedTimestamp"
	attrARN           = "QueueArn"
	attrAll           = "All"
	throughputGroup   = "perMessageGroupId"
	throughputQueue   = "perQueue"
	redrivePermission = "redrivePermission"
)

// settings are a queue's attributes that can be set.
type settings struct {
	raw          map[string]string // as set, without defaults
	visibility   time.Duration
	maxMessage   int
	retention    time.Duration
	delay        time.Duration
	wait         time.Duration
	contentDedup bool
	dedupScope   string
	deadLetter   string // ARN, or empty
	maxReceives  int
}

// values are all settable attributes of a queue with their defaults.
func (s settings) values(fifo bool) map[string]string {
	v := map[string]string{
		attrVisibility: seconds(s.visibility),
		attrMaxMessage: strconv.Itoa(s.maxMessage),
		attrRetention:  seconds(s.retention),
		attrDelay:      seconds(s.delay),
		attrWait:       seconds(s.wait),
		attrManagedSSE: "true",
	}
	if fifo {
		v[attrContentDedup] = "false"
		v[attrDedupScope] = scopeQueue
		v[attrThroughput] = throughputQueue
	}
	maps.Copy(v, s.raw)
	if fifo {
		v[attrFIFO] = "true"
	}
	if s.deadLetter != "" {
		v[attrRedrive] = `{"deadLetterTargetArn":` + strconv.Quote(s.deadLetter) + `,"maxReceiveCount":` + strconv.Itoa(s.maxReceives) + `}`
	}
	return v
}

func seconds(d time.Duration) string { return strconv.FormatInt(int64(d/time.Second), 10) }

// parseSettings checks attributes as a whole. name decides what is legal.
func parseSettings(name string, raw map[string]string) (settings, error) {
	s := settings{
		raw:        raw,
		visibility: 30 * time.Second,
		maxMessage: MaxMessageBytes,
		retention:  defaultRetention,
		dedupScope: scopeQueue,
	}
	fifo := strings.HasSuffix(name, fifoSuffix)
	for _, attribute := range slices.Sorted(maps.Keys(raw)) {
		if err := s.parse(attribute, raw[attribute], fifo); err != nil {
			return settings{}, err
		}
	}
	return s, nil
}

func (s *settings) parse(name, value string, fifo bool) error {
	switch name {
	case attrVisibility:
		return parseSeconds(name, value, 0, MaxVisibility, &s.visibility)
	case attrRetention:
		return parseSeconds(name, value, time.Minute, 14*24*time.Hour, &s.retention)
	case attrDelay:
		return parseSeconds(name, value, 0, MaxDelay, &s.delay)
	case attrWait:
		return parseSeconds(name, value, 0, MaxWait, &s.wait)
	case attrMaxMessage:
		return parseInt(name, value, minMessageBytes, MaxMessageBytes, &s.maxMessage)
	case attrRedrive:
		return s.parseRedrive(value)
	case attrRedriveAllow:
		return parseRedriveAllow(value)
	case attrPolicy, attrKMSKey, attrKMSReuse:
		return nil
	case attrManagedSSE:
		var ignored bool
		return parseBool(name, value, &ignored)
	case attrFIFO:
		var on bool
		if err := parseBool(name, value, &on); err != nil || on == fifo {
			return err
		}
	case attrContentDedup:
		if fifo {
			return parseBool(name, value, &s.contentDedup)
		}
	case attrDedupScope:
		s.dedupScope = value
		if fifo && (value == scopeQueue || value == scopeGroup) {
			return nil
		}
	case attrThroughput:
		if fifo && (value == throughputQueue || value == throughputGroup) {
			return nil
		}
	default:
		return Errorf(InvalidAttributeName, "Unknown Attribute %s.", name)
	}
	if !fifo {
		return Errorf(InvalidAttributeName, "Unknown Attribute %s: it is for queues whose name ends in .fifo.", name)
	}
	return badAttribute(name)
}

func badAttribute(name string) *Error {
	return Errorf(InvalidAttributeValue, "Invalid value for the parameter %s.", name)
}

func parseSeconds(name, value string, least, most time.Duration, d *time.Duration) error {
	var n int
	if err := parseInt(name, value, int(least/time.Second), int(most/time.Second), &n); err != nil {
		return err
	}
	*d = time.Duration(n) * time.Second
	return nil
}

func parseInt(name, value string, least, most int, n *int) error {
	v, err := strconv.Atoi(value)
	if err != nil || v < least || v > most {
		return badAttribute(name)
	}
	*n = v
	return nil
}

func parseBool(name, value string, b *bool) error {
	if value != "true" && value != "false" {
		return badAttribute(name)
	}
	*b = value == "true"
	return nil
}

// parseRedrive takes the count as a number or a string: both are seen.
func (s *settings) parseRedrive(value string) error {
	var policy struct {
		Target string `json:"deadLetterTargetArn"`
		Max    any    `json:"maxReceiveCount"`
	}
	reason := func(r string) *Error { return invalidValue(value, attrRedrive, r) }
	if err := json.Unmarshal([]byte(value), &policy); err != nil {
		return reason("Redrive policy is not a valid JSON map.")
	}
	switch n := policy.Max.(type) {
	case float64:
		s.maxReceives = int(n)
	case string:
		s.maxReceives, _ = strconv.Atoi(n) // zero is refused below
	case nil:
		return reason("Redrive policy does not contain mandatory attribute: maxReceiveCount.")
	}
	switch {
	case policy.Target == "":
		return reason("Redrive policy does not contain mandatory attribute: deadLetterTargetArn.")
	case s.maxReceives < 1 || s.maxReceives > maxReceiveLimit:
		return reason("Invalid value for maxReceiveCount: it must be between 1 and 1000.")
	}
	s.deadLetter = policy.Target
	return nil
}

func parseRedriveAllow(value string) error {
	var policy map[string]any
	if err := json.Unmarshal([]byte(value), &policy); err != nil {
		return badAttribute(attrRedriveAllow)
	}
	switch policy[redrivePermission] {
	case "allowAll", "denyAll", "byQueue":
		return nil
	}
	return badAttribute(attrRedriveAllow)
}

var queueName = regexp.MustCompile(`^[A-Za-z0-9_-]{1,80}$`)

func checkName(name string) error {
	base, fifo := strings.CutSuffix(name, fifoSuffix)
	if !queueName.MatchString(base) || fifo && len(name) > 80 {
		return Errorf(InvalidParameterValue, "Queue name can only include alphanumeric characters, hyphens, or underscores, 1 to 80 in length; a FIFO queue's ends in .fifo.")
	}
	return nil
}
