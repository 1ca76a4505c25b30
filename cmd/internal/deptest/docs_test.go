package deptest

import (
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// read gives the text of the files that the pattern names, by their paths from
// the root.
func read(t *testing.T, pattern string) map[string]string {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join(root, pattern))
	if err != nil || len(paths) == 0 {
		t.Fatalf("%s names no file: %v", pattern, err)
	}
	texts := make(map[string]string)
	for _, path := range paths {
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		name, err := filepath.Rel(root, path)
		if err != nil {
			t.Fatal(err)
		}
		texts[filepath.ToSlash(name)] = string(b)
	}
	return texts
}

// pages are what people read.
func pages(t *testing.T) map[string]string {
	t.Helper()
	all := read(t, "docs/*.md")
	maps.Copy(all, read(t, "README.md"))
	return all
}

// set has the first group of each match.
func set(pattern, text string) map[string]bool {
	found := make(map[string]bool)
	for _, m := range regexp.MustCompile(pattern).FindAllStringSubmatch(text, -1) {
		found[m[1]] = true
	}
	return found
}

func differ(t *testing.T, what string, documented, there map[string]bool) {
	t.Helper()
	if len(there) < 10 {
		t.Fatalf("there are only %d %s", len(there), what)
	}
	for _, name := range slices.Sorted(maps.Keys(documented)) {
		if !there[name] {
			t.Errorf("%s: %s is documented and does not exist", what, name)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(there)) {
		if !documented[name] {
			t.Errorf("%s: nothing is said of %s", what, name)
		}
	}
}

// helps are what -h prints of each verb of the command line, by its words.
func helps(t *testing.T) map[string]string {
	t.Helper()
	all := make(map[string]string)
	for path, text := range read(t, "cmd/penstock/testdata/help/penstock*.txt") {
		all[strings.TrimSuffix(filepath.Base(path), ".txt")] = text
	}
	return all
}

// flagsOf are those of a help text.
func flagsOf(help string) map[string]bool {
	return set(`(?m)^  (?:-help, )?(-[a-z][a-z-]*)`, help)
}

// workerFlags are those of its settings.
func workerFlags(t *testing.T) map[string]bool {
	t.Helper()
	names := make(map[string]string)
	for _, m := range regexp.MustCompile(`(?m)^\t(\w+) += "([a-z-]+)"`).FindAllStringSubmatch(read(t, "cmd/internal/settings/settings.go")["cmd/internal/settings/settings.go"], -1) {
		names[m[1]] = m[2]
	}
	flags := make(map[string]bool)
	source := read(t, "cmd/worker/settings.go")["cmd/worker/settings.go"]
	for _, m := range regexp.MustCompile(`(?:text|number|duration)\((?:shared\.(\w+)|"([a-z-]+)")|Name: "([a-z-]+)"`).FindAllStringSubmatch(source, -1) {
		flags["-"+names[m[1]]+m[2]+m[3]] = true
	}
	return flags
}

func TestTheReadmeHasEveryFlagOfTheWorker(t *testing.T) {
	t.Parallel()
	_, table, _ := strings.Cut(read(t, "README.md")["README.md"], "| flag | meaning |")
	table, _, _ = strings.Cut(table, "\n\n")
	documented := make(map[string]bool)
	for line := range strings.Lines(table) {
		if cells := strings.Split(line, "|"); len(cells) > 1 {
			maps.Copy(documented, set("`(-[a-z-]+)`", cells[1]))
		}
	}
	differ(t, "flags of the worker", documented, workerFlags(t))
}

func TestTheDocumentationNamesFlagsThatExist(t *testing.T) {
	t.Parallel()
	known := workerFlags(t)
	for _, help := range helps(t) {
		maps.Copy(known, flagsOf(help))
	}
	metadata := read(t, "queue/request/metadata.go")["queue/request/metadata.go"]
	seen := 0
	for path, text := range pages(t) {
		text = regexp.MustCompile("(?s)```.*?```").ReplaceAllString(text, "")
		for flag := range set("`(-[a-z][a-z-]*)[ =`]", text) {
			seen++
			// "-attempts" is short for "penstock-attempts" where metadata are listed.
			if !known[flag] && !strings.Contains(metadata, `"penstock`+flag+`"`) {
				t.Errorf("%s names %s, which no program has", path, flag)
			}
		}
	}
	if seen < 100 {
		t.Errorf("only %d flags were seen", seen)
	}
}

func TestCommandLinesInTheDocumentationHaveFlagsOfTheirVerbs(t *testing.T) {
	t.Parallel()
	verbs := helps(t)
	code := regexp.MustCompile("(?s)```.*?```|`[^`\n]+`")
	command := regexp.MustCompile(`(?m)(?:^|[;|(] ?)(?:bin/)?penstock ([a-z][^;|\n]*)`)
	seen := 0
	for path, text := range pages(t) {
		for _, block := range code.FindAllString(text, -1) {
			for _, m := range command.FindAllStringSubmatch(strings.ReplaceAll(strings.Trim(block, "`"), "\\\n", " "), -1) {
				line, _, _ := strings.Cut(m[1], " #")
				words := strings.Fields(line)
				name := "penstock-" + words[0]
				if len(words) > 1 && verbs[name+"-"+words[1]] != "" {
					name += "-" + words[1]
				}
				if verbs[name] == "" {
					t.Errorf("%s: there is no verb %s: %s", path, words[0], m[0])
					continue
				}
				flags := flagsOf(verbs[name])
				for _, word := range words[1:] {
					if flag, _, _ := strings.Cut(word, "="); regexp.MustCompile(`^-[a-z]`).MatchString(flag) {
						seen++
						if !flags[flag] && flag != "-stack" {
							t.Errorf("%s: %s has no flag %s: %s", path, name, flag, m[0])
						}
					}
				}
			}
		}
	}
	if seen < 30 {
		t.Errorf("only %d flags were seen", seen)
	}
}

func TestEveryMetricIsDocumentedAndNoOther(t *testing.T) {
	t.Parallel()
	there, documented := make(map[string]bool), make(map[string]bool)
	goFiles(t, func(path string, source []byte) {
		if !strings.HasSuffix(path, "_test.go") {
			maps.Copy(there, set(`"(penstock_[a-z_]+)"`, string(source)))
		}
	})
	for _, text := range pages(t) {
		maps.Copy(documented, set(`\b(penstock_[a-z_]*[a-z])\b`, text))
	}
	differ(t, "metrics", documented, there)
}

func TestEveryCodeOfAFailureObjectIsDocumentedAndNoOther(t *testing.T) {
	t.Parallel()
	there := make(map[string]bool)
	for _, path := range []string{"queue/request/failure.go", "worker/codec/codec.go"} {
		maps.Copy(there, set(`(?m)^\tCode\w+ += "(\w+)"`, read(t, path)[path]))
	}
	_, table, _ := strings.Cut(read(t, "docs/formats.md")["docs/formats.md"], "| code | what happened |")
	table, _, _ = strings.Cut(table, "\n\n")
	documented := make(map[string]bool)
	for line := range strings.Lines(table) {
		if cells := strings.Split(line, "|"); len(cells) > 1 {
			maps.Copy(documented, set("`([A-Z]\\w+)`", cells[1]))
		}
	}
	differ(t, "codes", documented, there)
}

func TestEveryCodeOfTheFrontDoorIsDocumented(t *testing.T) {
	t.Parallel()
	const path = "cmd/internal/frontdoor/native/problem.go"
	there := set(`(?m)^\tcode\w+ += "(\w+)"`, read(t, path)[path])
	if len(there) < 5 {
		t.Fatalf("%s has only %d codes", path, len(there))
	}
	page := read(t, "docs/http.md")["docs/http.md"]
	for code := range there {
		if !strings.Contains(page, "`"+code+"`") {
			t.Errorf("docs/http.md says nothing of the code %s", code)
		}
	}
}

func TestLinksInTheDocumentationLeadSomewhere(t *testing.T) {
	t.Parallel()
	heading := regexp.MustCompile(`(?m)^#+ (.*)`)
	dropped := regexp.MustCompile(`[^\pL\pN_ -]`)
	anchors := func(text string) map[string]bool {
		found := make(map[string]bool)
		for _, m := range heading.FindAllStringSubmatch(text, -1) {
			found[strings.ReplaceAll(dropped.ReplaceAllString(strings.ToLower(m[1]), ""), " ", "-")] = true
		}
		return found
	}
	seen := 0
	for path, text := range pages(t) {
		for link := range set(`\]\(([^)\s]+)\)`, text) {
			if strings.Contains(link, "://") {
				continue
			}
			seen++
			to, anchor, _ := strings.Cut(link, "#")
			target := path
			if to != "" {
				target = filepath.Join(filepath.Dir(path), to)
			}
			if _, err := os.Stat(filepath.Join(root, target)); err != nil {
				t.Errorf("%s: the link %s leads nowhere", path, link)
				continue
			}
			if anchor != "" && !anchors(read(t, target)[filepath.ToSlash(target)])[anchor] {
				t.Errorf("%s: the link %s leads to no heading", path, link)
			}
		}
	}
	if seen < 50 {
		t.Errorf("only %d links were seen", seen)
	}
}
