package stack

import (
	"maps"
	"slices"
	"strings"
)

// Settings are what a client of the stack needs in its environment: Penstock's
// own commands, and anything that uses an AWS SDK or the AWS command line.
func (s *Stack) Settings() map[string]string {
	return map[string]string{
		"AWS_ACCESS_KEY_ID":     s.accessKey,
		"AWS_SECRET_ACCESS_KEY": s.secretKey,
		"AWS_REGION":            region,
		"AWS_DEFAULT_REGION":    region, // what the AWS command line and boto3 read
		"AWS_ENDPOINT_URL_S3":   s.S3,
		"AWS_ENDPOINT_URL_SQS":  s.SQS,
		"PENSTOCK_QUEUE_URL":    s.QueueURL,

		"PENSTOCK_BATCH_QUEUE_URL": s.BatchURL,

		"PENSTOCK_INPUT":   Input,
		"PENSTOCK_OUTPUT":  Output,
		"PENSTOCK_FAILURE": Failure,
	}
}

// environment is what a child gets: Config.Environ without all that would lead
// it to another installation, and with the stack's settings and more. What
// only tunes a worker (PENSTOCK_MAX_BATCH_SIZE) stays.
func (s *Stack) environment(more map[string]string) []string {
	set := s.Settings()
	maps.Copy(set, more)
	var env []string
	for _, v := range s.config.Environ {
		name, _, _ := strings.Cut(v, "=")
		_, ours := set[name]
		if !ours && !strings.HasPrefix(name, "AWS_") && !slices.Contains(otherPlaces, name) {
			env = append(env, v)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(set)) {
		if set[name] != "" { // S3 and SQS don't know yet where they will be
			env = append(env, name+"="+set[name])
		}
	}
	return env
}

// workerLease is the length of a worker's leases, unless the person chose one.
// It is short: what a killed worker held comes back soon, and a worker at rest
// ends within a sixth of it.
const workerLease = "12s"

// workerSettings are what a worker gets beside Settings.
func (s *Stack) workerSettings(addr string) map[string]string {
	set := map[string]string{"PENSTOCK_MODEL": s.config.Model, "PENSTOCK_ADDR": addr}
	for name, value := range map[string]string{
		"PENSTOCK_VISIBILITY_TIMEOUT": workerLease,
		"TF_CPP_MIN_LOG_LEVEL":        "2", // errors only; the worker would start itself again to set it
	} {
		if !slices.ContainsFunc(s.config.Environ, func(v string) bool { return strings.HasPrefix(v, name+"=") }) {
			set[name] = value
		}
	}
	return set
}

// otherPlaces are settings that name a place, beside those that the stack
// sets itself. Topics are AWS's, of which the local credentials know nothing.
var otherPlaces = []string{
	"PENSTOCK_STATE", "PENSTOCK_DEAD_LETTER_URL", "PENSTOCK_MODEL", "PENSTOCK_ADDR",
	"PENSTOCK_SUCCESS_TOPIC", "PENSTOCK_ERROR_TOPIC", "PENSTOCK_INCLUDE_RESPONSE_IN",
}
