package auth

import (
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"io"
	"strings"
)

// minToken is the shortest token. Sixteen characters of a random token are
// beyond guessing; shorter ones tend to be words.
const minToken = 16

// Tokens are bearer tokens, by the name of who has each.
type Tokens struct {
	all []token
}

type token struct {
	name string
	sum  [sha256.Size]byte // so that each comparison takes as long as any other
}

// ParseTokens reads lines of "NAME TOKEN", or of a token alone. What follows a
// "#" at a line's begin is a comment. path is for messages; all faulty lines
// are reported at once, without what is secret in them.
func ParseTokens(path string, r io.Reader) (*Tokens, error) {
	var errs []error
	t := new(Tokens)
	for n, line := range lines(path, r, &errs) {
		fields := strings.Fields(line)
		name, secret := fmt.Sprintf("line %d", n), fields[0]
		if len(fields) == 2 {
			name, secret = fields[0], fields[1]
		}
		switch {
		case len(fields) > 2:
			errs = append(errs, fmt.Errorf("%s:%d: a line is NAME TOKEN, or a token alone", path, n))
		case t.add(name, secret) != nil:
			errs = append(errs, fmt.Errorf("%s:%d: the token of %s has less than %d characters; make one with: openssl rand -base64 32", path, n, name, minToken))
		}
	}
	if len(t.all) == 0 && len(errs) == 0 {
		errs = append(errs, fmt.Errorf("%s: there is no token in it; a line is NAME TOKEN", path))
	}
	return t, errors.Join(errs...)
}

// With gives these tokens and one more. t may be nil.
func (t *Tokens) With(name, secret string) (*Tokens, error) {
	more := new(Tokens)
	if t != nil {
		more.all = append(more.all, t.all...)
	}
	return more, more.add(name, strings.TrimSpace(secret))
}

func (t *Tokens) add(name, secret string) error {
	if len(secret) < minToken {
		return fmt.Errorf("the token has less than %d characters; make one with: openssl rand -base64 32", minToken)
	}
	t.all = append(t.all, token{name, sha256.Sum256([]byte(secret))})
	return nil
}

// find says whose token it is. It compares with all, in the same time whether
// one is like it or none.
func (t *Tokens) find(secret string) (name string, ok bool) {
	sum := sha256.Sum256([]byte(secret))
	for _, k := range t.all {
		if subtle.ConstantTimeCompare(sum[:], k.sum[:]) == 1 {
			name, ok = k.name, true
		}
	}
	return name, ok
}
