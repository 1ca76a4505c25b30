package job

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// Errors of planning. Test with errors.Is.
var (
	// ErrSource says that what a job is to be made of can't be: no object is
	// there, a manifest is broken.
	ErrSource = errors.New("the job's input is no use")
	// ErrEnded says that the job has its summary.
	ErrEnded = errors.New("the job has ended")
)

// OtherSpecError says that a job of the id is there, which is another.
type OtherSpecError struct {
	ID          string
	Differences []string // "model: a there, b here"
}

func (e *OtherSpecError) Error() string {
	return fmt.Sprintf("there is a job %s that is another; choose another id, or ask for the same\n  %s", e.ID, strings.Join(e.Differences, "\n  "))
}

// differences are the members in which two specs ask for something else.
func differences(there, here Spec) []string {
	there.Created, here.Created = time.Time{}, time.Time{}
	there.Version, here.Version = 0, 0 // which follows from the rest
	a, b := members(there), members(here)
	names := slices.Collect(maps.Keys(a))
	for name := range b {
		if _, ok := a[name]; !ok {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	var list []string
	for _, name := range names {
		if a[name] != b[name] {
			list = append(list, fmt.Sprintf("%s: %s there, %s here", name, orNone(a[name]), orNone(b[name])))
		}
	}
	return list
}

func members(s Spec) map[string]string {
	text, _ := json.Marshal(s) // of strings and numbers only: it can't fail
	raw := map[string]json.RawMessage{}
	_ = json.Unmarshal(text, &raw)
	named := map[string]string{}
	for name, v := range raw {
		named[name] = string(v)
	}
	return named
}

func orNone(s string) string {
	if s == "" {
		return "none"
	}
	return s
}
