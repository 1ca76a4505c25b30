package model

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Set is the models that a worker serves. What is in it may change while it is
// used: a new version of a model takes the place of an old one. Its method may
// be called concurrently.
type Set interface {
	// Use gives the model that name means: a model's own name, or with
	// "@version" behind it that version; "" is the only model there is. The
	// model stays loaded until release, which is called once, whatever becomes
	// of the set. A name that means nothing here is an *UnknownError.
	Use(name string) (m Model, release func(), err error)
}

// UnknownError says that a set has no model of a name.
type UnknownError struct {
	Name  string   // as asked for; empty when several models could be meant
	Known []string // what could be asked for
}

func (e *UnknownError) Error() string {
	if e.Name == "" {
		return "no model is named, and there are several: " + strings.Join(e.Known, ", ")
	}
	return fmt.Sprintf("there is no model %q: there are %s", e.Name, strings.Join(e.Known, ", "))
}

// Fixed is a set that never changes, and does not close its models. Models
// that share a name must differ in their versions; the last of them is the one
// that the name alone means.
func Fixed(models ...Model) Set {
	f := make(fixed)
	for _, m := range models {
		f[m.Name()] = m
		if v := m.Version(); v != "" {
			f[m.Name()+"@"+v] = m
		}
	}
	return f
}

// fixed holds models by all that they can be asked for by.
type fixed map[string]Model

func (f fixed) Use(name string) (Model, func(), error) {
	names := slices.DeleteFunc(slices.Sorted(maps.Keys(f)), func(n string) bool { return strings.Contains(n, "@") })
	if name == "" && len(names) == 1 {
		name = names[0]
	}
	m, ok := f[name]
	if !ok {
		return nil, nil, &UnknownError{Name: name, Known: names}
	}
	return m, func() {}, nil
}
