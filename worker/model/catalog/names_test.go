package catalog

import (
	"errors"
	"strings"
	"testing"

	"github.com/penstock/penstock/worker/model"
	"github.com/penstock/penstock/worker/model/source"
)

func TestAPolicySaysWhatIsServed(t *testing.T) {
	for _, c := range []struct{ policy, served, absent, after string }{
		{"latest", "3", "1 2 9", "4"},
		{"latest:2", "2 3", "1", "3 4"},
		{"latest:7", "1 2 3", "9", "1 2 3 4"},
		{"all", "1 2 3", "9", "1 2 3 4"},
		{"1,2", "1 2", "3", "1 2"},
	} {
		t.Run(c.policy, func(t *testing.T) {
			there := []string{"1", "2", "3"}
			if c.policy == "1,2" {
				there = there[:2] // its source leaves out the others
			}
			in(t, c.policy, there, func(b *bench) {
				for v := range strings.FieldsSeq(c.served) {
					if got := b.current("digits@" + v); got != v {
						t.Errorf("digits@%s is %s", v, got)
					}
				}
				for v := range strings.FieldsSeq(c.absent) {
					_, _, err := b.Use("digits@" + v)
					e, ok := errors.AsType[*model.UnknownError](err)
					if want := "digits digits@" + strings.ReplaceAll(c.served, " ", " digits@"); !ok || strings.Join(e.Known, " ") != want {
						t.Errorf("digits@%s: %v, want %s to be known", v, err, want)
					}
				}
				if c.policy != "1,2" {
					b.set("1", "2", "3", "4")
				}
				b.polls(2)
				if got, want := b.open(), strings.ReplaceAll(c.after, " ", ", "); got != want {
					t.Errorf("open are %s, want %s", got, want)
				}
				b.want(c.after[len(c.after)-1:])
			})
		})
	}
}

func TestAVersionThatIsAskedForAndNotThereIsToldOnce(t *testing.T) {
	in(t, "1,7", []string{"1"}, func(b *bench) {
		b.polls(3)
		b.want("1")
		if b.said(string(absent)) != 1 {
			b.t.Errorf("the log says %v", b.logs.All())
		}
	})
}

func TestNamesMeanModels(t *testing.T) {
	t.Parallel()
	var models []Model
	for _, name := range []string{"b", "a"} {
		o := &origin{name: name}
		o.set("3")
		if name == "a" {
			o.set("")
		}
		models = append(models, Model{Named: source.Named{Name: name}, Versions: o.versions, Load: o.load})
	}
	c, err := Open(t.Context(), Config{Models: models})
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		"a": "a", "b": "b", "b@3": "b@3",
		"":    "no model is named, and there are several: a, b",
		"c":   `there is no model "c": there are a, b`,
		"c@1": `there is no model "c@1": there are a, b`,
		"b@4": `there is no model "b@4": there are b, b@3`,
		"a@":  `there is no model "a@": there are a`,
	} {
		m, release, err := c.Use(name)
		if err != nil {
			if err.Error() != want {
				t.Errorf("Use(%q): %v, want %s", name, err, want)
			}
			continue
		}
		if got := m.Name(); got != want[:1] {
			t.Errorf("Use(%q) is %s, want %s", name, got, want)
		}
		release()
	}
	m, release, err := c.Use("a")
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Close(); err == nil || !strings.Contains(err.Error(), "model a is still in use") {
		t.Errorf("closed in use: %v", err)
	}
	if err := run(t, m); err != nil {
		t.Errorf("and then: %v", err)
	}
	release()
}
