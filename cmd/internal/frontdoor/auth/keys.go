package auth

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"iter"
	"strings"
	"time"
)

// Keys are AWS access keys that callers sign with, as the AWS SDKs do for
// SageMaker. They are this server's own: they need not be known to AWS.
type Keys struct {
	byID map[string]key

	// Now is the time that signatures are held against; nil is time.Now.
	Now func() time.Time
}

type key struct{ name, secret string }

// ParseKeys reads keys in the form of AWS's credentials file: for each caller
// a [name], aws_access_key_id and aws_secret_access_key. path is for messages;
// all faults are reported at once, without what is secret in them.
func ParseKeys(path string, r io.Reader) (*Keys, error) {
	var errs []error
	keys := map[string]key{}
	var name, id, secret string
	begun := 0 // the line of name
	end := func() {
		switch {
		case name == "":
		case id == "" || secret == "":
			errs = append(errs, fmt.Errorf("%s:%d: [%s] needs aws_access_key_id and aws_secret_access_key", path, begun, name))
		case keys[id].name != "":
			errs = append(errs, fmt.Errorf("%s:%d: [%s] has the access key of [%s]", path, begun, name, keys[id].name))
		default:
			keys[id] = key{name, secret}
		}
		name, id, secret = "", "", ""
	}
	for n, line := range lines(path, r, &errs) {
		if section, ok := strings.CutPrefix(line, "["); ok {
			end()
			name, begun = strings.TrimSpace(strings.TrimSuffix(section, "]")), n
			continue
		}
		member, value, ok := strings.Cut(line, "=")
		value = strings.TrimSpace(value)
		switch member = strings.ToLower(strings.TrimSpace(member)); {
		case !ok || name == "":
			errs = append(errs, fmt.Errorf("%s:%d: a line is [NAME], or after one aws_access_key_id = …, aws_secret_access_key = …", path, n))
		case member == "aws_access_key_id":
			id = value
		case member == "aws_secret_access_key":
			secret = value
		}
	}
	end()
	if len(keys) == 0 && len(errs) == 0 {
		errs = append(errs, fmt.Errorf("%s: there is no key in it; it is written as AWS's own credentials file", path))
	}
	return &Keys{byID: keys}, errors.Join(errs...)
}

// lines yields the lines that say something, with their numbers.
func lines(path string, r io.Reader, errs *[]error) iter.Seq2[int, string] {
	return func(yield func(int, string) bool) {
		s := bufio.NewScanner(r)
		n := 0
		for s.Scan() {
			n++
			line := strings.TrimSpace(s.Text())
			if line == "" || line[0] == '#' || line[0] == ';' {
				continue
			}
			if !yield(n, line) {
				return
			}
		}
		if err := s.Err(); err != nil {
			*errs = append(*errs, fmt.Errorf("%s:%d: %w", path, n+1, err))
		}
	}
}
