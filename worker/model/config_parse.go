package model

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"strings"
)

// ParseConfig reads and validates a model file. All faults are reported at
// once, joined, each with the place it is at. Labels that lie in a file of
// their own are not read: see [ReadConfig].
func ParseConfig(b []byte) (*Config, error) {
	var c Config
	p := parser{json.NewDecoder(bytes.NewReader(b)), faults{}}
	p.d.UseNumber()
	if err := p.value("", reflect.TypeFor[Config]()); err != nil {
		return nil, fmt.Errorf("%s: it is not JSON: %w", ConfigFile, p.located(err, b))
	}
	if _, err := p.d.Token(); !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("%s: there is more behind the JSON object", ConfigFile)
	}
	if err := p.join(); err != nil {
		return nil, err // of what is of the wrong type no more can be said
	}
	if err := json.Unmarshal(b, &c); err != nil {
		return nil, fmt.Errorf("%s: %w", ConfigFile, err)
	}
	if err := c.dropNulls(b); err != nil {
		return nil, fmt.Errorf("%s: %w", ConfigFile, err)
	}
	if err := c.validate(); err != nil {
		return nil, err
	}
	return &c, nil
}

// dropNulls takes out of c's maps what is null in b, of which encoding/json makes
// a zero value.
func (c *Config) dropNulls(b []byte) error {
	var file struct {
		Pad  map[string]any `json:"pad"`
		Trim map[string]any `json:"trim"`
	}
	if err := json.Unmarshal(b, &file); err != nil {
		return err
	}
	maps.DeleteFunc(c.Pad, func(name string, _ Pad) bool { return file.Pad[name] == nil })
	maps.DeleteFunc(c.Trim, func(name, _ string) bool { return file.Trim[name] == nil })
	return nil
}

// faults collects what is wrong with a model file.
type faults []error

// at adds a fault of what lies at path, as "image.mean[2]".
func (f *faults) at(path, format string, args ...any) {
	where := ConfigFile + ": "
	if path != "" {
		where += path + ": "
	}
	*f = append(*f, errors.New(where+fmt.Sprintf(format, args...)))
}

func (f faults) join() error { return errors.Join(f...) }

// parser holds JSON against the types that it is to be read into.
// encoding/json would stop at the first fault and take any case for a name.
type parser struct {
	d *json.Decoder
	faults
}

// value reads one value that is to be a t; whatever it is when t is nil.
func (p *parser) value(path string, t reflect.Type) error {
	if t == nil {
		var skipped json.RawMessage
		return p.d.Decode(&skipped)
	}
	token, err := p.d.Token()
	if err != nil {
		return err
	}
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	switch token {
	case nil: // null leaves the default
		return nil
	case json.Delim('{'):
		return p.object(path, t)
	case json.Delim('['):
		return p.list(path, t)
	}
	switch v := token.(type) {
	case bool:
		p.expect(path, t, "a boolean", reflect.Bool)
	case string:
		p.expect(path, t, "a string", reflect.String)
	case json.Number:
		p.number(path, t, v)
	}
	return nil
}

// expect adds a fault when a t can't be read from what was found.
func (p *parser) expect(path string, t reflect.Type, found string, kinds ...reflect.Kind) bool {
	if t.Kind() == reflect.Interface || slices.Contains(kinds, t.Kind()) {
		return true
	}
	p.at(path, "it is %s; it must be %s", found, nameOfKind(t))
	return false
}

func nameOfKind(t reflect.Type) string {
	switch t.Kind() {
	case reflect.Bool:
		return "true or false"
	case reflect.String:
		return "a string"
	case reflect.Int, reflect.Int64:
		return "a whole number"
	case reflect.Float64:
		return "a number"
	case reflect.Slice:
		return "a list"
	}
	return "an object"
}

func (p *parser) number(path string, t reflect.Type, n json.Number) {
	if !p.expect(path, t, "the number "+n.String(), reflect.Int, reflect.Int64, reflect.Float64) {
		return
	}
	switch t.Kind() {
	case reflect.Int, reflect.Int64:
		if _, err := strconv.ParseInt(n.String(), 10, 64); err != nil {
			p.at(path, "it is %s; it must be a whole number of at most 64 bits", n)
		}
	default:
		if _, err := n.Float64(); err != nil {
			p.at(path, "%s is too large for a number", n)
		}
	}
}

func (p *parser) list(path string, t reflect.Type) error {
	var element reflect.Type
	if t.Kind() == reflect.Interface {
		p.at(path, "it is a list; it must be a number, a boolean or a string")
	} else if p.expect(path, t, "a list", reflect.Slice) {
		element = t.Elem()
	}
	for i := 0; p.d.More(); i++ {
		if err := p.value(fmt.Sprintf("%s[%d]", path, i), element); err != nil {
			return err
		}
	}
	_, err := p.d.Token()
	return err
}

func (p *parser) object(path string, t reflect.Type) error {
	if t.Kind() == reflect.Interface {
		p.at(path, "it is an object; it must be a number, a boolean or a string")
	} else {
		p.expect(path, t, "an object", reflect.Struct, reflect.Map)
	}
	seen := make(map[string]bool)
	for p.d.More() {
		token, err := p.d.Token()
		if err != nil {
			return err
		}
		name := token.(string) // the decoder sees to it
		place := member(path, name)
		if seen[name] {
			p.at(place, "it is there twice")
		}
		seen[name] = true
		if err := p.value(place, p.memberType(path, name, t)); err != nil {
			return err
		}
	}
	_, err := p.d.Token()
	return err
}

// memberType is the type of a member of a t. A name that t doesn't know is a
// fault, and its type nil.
func (p *parser) memberType(path, name string, t reflect.Type) reflect.Type {
	switch t.Kind() {
	case reflect.Map:
		return t.Elem()
	case reflect.Struct:
		known := jsonNames(t)
		if i := slices.Index(known, name); i >= 0 {
			return t.Field(i).Type
		}
		hint := "the members here are " + strings.Join(known, ", ")
		if near := nearest(name, known); near != "" {
			hint = fmt.Sprintf("did you mean %q?", near)
		}
		p.at(member(path, name), "there is no such member; %s", hint)
	}
	return nil
}

// jsonNames are the names of a struct's fields in JSON, in order.
func jsonNames(t reflect.Type) []string {
	var names []string
	for f := range t.Fields() {
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		names = append(names, name)
	}
	return names
}

func member(path, name string) string {
	if path == "" {
		return name
	}
	return path + "." + name
}

// located says in which line a syntax error is.
func (p *parser) located(err error, b []byte) error {
	if errors.Is(err, io.EOF) {
		err = errors.New("it ends too early")
	}
	at := min(p.d.InputOffset(), int64(len(b)))
	if syntax, ok := errors.AsType[*json.SyntaxError](err); ok {
		at = min(max(at, syntax.Offset), int64(len(b)))
	}
	return fmt.Errorf("line %d: %w", 1+bytes.Count(b[:at], []byte("\n")), err)
}
