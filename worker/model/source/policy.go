package source

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
)

// Policy says which versions of a model are served, as model_version_policy
// does for TensorFlow Serving. The zero value is the latest.
type Policy struct {
	// Latest is how many of the highest versions are served; 0 means 1.
	Latest int
	// Specific are the only versions that are served, without leading zeros.
	Specific []string
	// All serves every version that is there.
	All bool
}

// ParsePolicy reads "latest", "latest:2" for the two highest versions, "3,4"
// for those only, or "all".
func ParsePolicy(s string) (Policy, error) {
	switch {
	case s == "all":
		return Policy{All: true}, nil
	case s == "latest":
		return Policy{}, nil
	}
	if count, ok := strings.CutPrefix(s, "latest:"); ok {
		n, err := strconv.ParseUint(count, 10, 31)
		if err != nil || n == 0 {
			return Policy{}, badPolicy(s)
		}
		return Policy{Latest: int(n)}, nil
	}
	var p Policy
	for v := range strings.SplitSeq(s, ",") {
		if v = strings.TrimSpace(v); !isVersion(v) {
			return Policy{}, badPolicy(s)
		}
		if v = trimVersion(v); !slices.Contains(p.Specific, v) {
			p.Specific = append(p.Specific, v)
		}
	}
	return p, nil
}

func badPolicy(s string) error {
	return fmt.Errorf("%s%s is none of latest, latest:N (the N highest), 3,4 (those versions only) and all", versionsQuery, s)
}

// Most is how many versions are served at the most; math.MaxInt with All.
func (p Policy) Most() int {
	switch {
	case p.All:
		return math.MaxInt
	case len(p.Specific) > 0:
		return len(p.Specific)
	}
	return max(p.Latest, 1)
}

// Serves says whether a version of that name may be served at all.
func (p Policy) Serves(version string) bool {
	return len(p.Specific) == 0 || slices.Contains(p.Specific, version)
}

// String gives the policy as ParsePolicy reads it.
func (p Policy) String() string {
	switch {
	case p.All:
		return "all"
	case len(p.Specific) > 0:
		return strings.Join(p.Specific, ",")
	case p.Latest > 1:
		return fmt.Sprintf("latest:%d", p.Latest)
	}
	return "latest"
}
