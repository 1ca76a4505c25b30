// Package auth says who may call the front door: whoever reaches it, callers
// with a bearer token, or callers who sign as AWS's clients do.
//
// It guards a server of Penstock's own. In Lambda IAM does the same before the
// function is called.
package auth

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
)

// Gate admits callers. With neither tokens nor keys it admits everybody, with
// both either will do. Its method may be called concurrently.
type Gate struct {
	Tokens *Tokens // nil: no bearer tokens
	Keys   *Keys   // nil: no signatures
}

// Open says that the gate admits everybody.
func (g Gate) Open() bool { return g.Tokens == nil && g.Keys == nil }

// Anonymous is the name of a caller whom an open gate admitted.
const Anonymous = "anonymous"

// Denied is why a call is not admitted.
type Denied struct {
	Status    int    // 401 where credentials are missing or unknown, 403 where a signature is wrong, 413 for a body that is too large to be checked
	Code      string // as AWS names it
	Message   string // what, why and what to do; it tells nothing of what is known here
	Challenge string // for WWW-Authenticate; empty where the caller has no choice
}

func (d *Denied) Error() string { return d.Code + ": " + d.Message }

// Admit says who calls, by the name that the file of tokens or keys has for
// them, or returns a *Denied. To check a signature it reads the body, of at most
// maxBody bytes, and puts a copy in its place.
func (g Gate) Admit(r *http.Request, maxBody int64) (caller string, err error) {
	if g.Open() {
		return Anonymous, nil
	}
	scheme, rest, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	switch {
	case strings.EqualFold(scheme, "Bearer") && g.Tokens != nil:
		caller, ok := g.Tokens.find(strings.TrimSpace(rest))
		if !ok {
			return "", &Denied{
				Status: http.StatusUnauthorized, Code: "UnrecognizedClientException",
				Message:   "the bearer token is not one that is known here; ask whoever runs this server for one",
				Challenge: `Bearer realm="penstock", error="invalid_token"`,
			}
		}
		return caller, nil
	case scheme == algorithm && g.Keys != nil:
		return g.Keys.verify(r, rest, maxBody)
	}
	return "", g.missing(r)
}

// missing tells a caller without usable credentials which would be.
func (g Gate) missing(r *http.Request) *Denied {
	d := &Denied{Status: http.StatusUnauthorized, Code: "MissingAuthenticationTokenException"}
	var ways []string
	if g.Tokens != nil {
		ways = append(ways, "a bearer token (Authorization: Bearer TOKEN)")
		d.Challenge = `Bearer realm="penstock"`
	}
	if g.Keys != nil {
		ways = append(ways, "an AWS signature of version 4 in the Authorization header, for the service sagemaker or execute-api")
	}
	d.Message = "this server answers to callers with " + strings.Join(ways, ", or ")
	if r.URL.Query().Has("X-Amz-Signature") {
		d.Message += "; a signature in the query is not taken"
	}
	return d
}

// CheckListen reports an address that others than this machine can reach while
// the gate admits everybody.
func CheckListen(addr string, g Gate, allowAnonymous bool) error {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return fmt.Errorf("listen: %q is no address; write it as 127.0.0.1:8080, or :8080 for all interfaces", addr)
	}
	if !g.Open() || allowAnonymous || host == "localhost" {
		return nil
	}
	if ip := net.ParseIP(host); ip != nil && ip.IsLoopback() {
		return nil
	}
	return errors.New("listen: " + addr + " can be reached by other machines, and anybody who reaches it may call: set -token-file or -key-file, listen on 127.0.0.1, or say -allow-anonymous where something else keeps strangers out")
}
