package settings

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/penstock/penstock/worker/model/spelling"
)

// prefix is what the names of all settings begin with.
const prefix = "PENSTOCK_"

// known are the settings of all of Penstock's programs, as flags are called.
// They stand in one list because programs share an environment: none is to
// complain of what another reads. Tests hold it together with the programs.
var known = []string{
	"addr", "allow-anonymous", "base-path", "batch-queue-url", "batch-timeout", "dead-letter-url", "drain-timeout",
	"endpoints", "error-topic", "failure", "filter-content-type", "filter-max-size", "filter-min-size", "filter-prefix",
	"filter-suffix", "group-by", "include-response-in", "input", "inter-op-threads", "intra-op-threads", "key-file",
	"listen", "log-level", "max-attempts", "max-batch-size", "max-body", "max-in-flight", "max-object-size", "max-wait",
	"memory-limit", "model", "model-cache", "model-cache-size", "model-poll", "output", "queue-url", "rest-addr",
	"run-timeout", "runners", "state", "success-topic", "token", "token-file", "url", "visibility-timeout",
}

// IsKnown says whether some program of Penstock has a setting that is mirrored
// by the variable of that name.
func IsKnown(variable string) bool {
	return slices.ContainsFunc(known, func(flag string) bool { return Name(flag) == variable })
}

// serviceLink is what Kubernetes calls variables that tell each pod of a
// Service: one named "penstock" brings PENSTOCK_PORT_8080_TCP_ADDR and more.
var serviceLink = regexp.MustCompile(`_(SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT(_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)?)$`)

// Unknown gives an error for each variable of environ (of the form of
// os.Environ) that is named as a setting and is none of any program's: it may
// be one that was misspelt, and then its default holds without a word. Values
// are not told, for they may be secret.
func Unknown(environ []string) []error {
	var errs []error
	for _, v := range environ {
		name, _, _ := strings.Cut(v, "=")
		if !strings.HasPrefix(name, prefix) || IsKnown(name) || serviceLink.MatchString(name) {
			continue
		}
		if like := nearest(name); like != "" {
			errs = append(errs, fmt.Errorf("%s is set, and no program of Penstock has such a setting; did you mean %s?", name, like))
		} else {
			errs = append(errs, fmt.Errorf("%s is set, and no program of Penstock has such a setting; worker -h and penstock serve -h say what there is", name))
		}
	}
	return errs
}

// nearest is the known variable that takes the fewest letters to make of name,
// or nothing when half of them would have to change.
func nearest(name string) string {
	name = strings.ToUpper(strings.TrimPrefix(name, prefix))
	best, least := "", max(2, len(name)/2)+1
	for _, flag := range known {
		variable := Name(flag)
		if d := spelling.Distance(name, strings.TrimPrefix(variable, prefix)); d < least {
			best, least = variable, d
		}
	}
	return best
}
