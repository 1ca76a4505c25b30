package model

import (
	"strings"

	"github.com/penstock/penstock/worker/model/spelling"
)

// nearest is the name of known that was probably meant by name, or nothing.
func nearest(name string, known []string) string {
	best, least := "", 1+max(1, len(name)/3)
	for _, k := range known {
		if d := spelling.Distance(strings.ToLower(name), strings.ToLower(k)); d < least {
			best, least = k, d
		}
	}
	return best
}
