package auth

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

func bearer(token string) *http.Request {
	r := httptest.NewRequest(http.MethodGet, "/", http.NoBody)
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	return r
}

func TestATokenNamesItsCaller(t *testing.T) {
	t.Parallel()
	tokens, err := ParseTokens("tokens", strings.NewReader("# callers\nada  first-token-of-ada\n\nsecond-token-alone\n"))
	if err != nil {
		t.Fatal(err)
	}
	tokens, err = tokens.With("environment", "third-token-of-env\n")
	if err != nil {
		t.Fatal(err)
	}
	g := Gate{Tokens: tokens}
	for token, want := range map[string]string{
		"first-token-of-ada": "ada", "second-token-alone": "line 4", "third-token-of-env": "environment",
		"first-token-of-eve": "", "first-token-of-ad": "", "first-token-of-ada2": "", "": "",
	} {
		caller, err := g.Admit(bearer(token), 1<<10)
		if caller != want {
			t.Errorf("the token %q is of %q, want %q", token, caller, want)
		}
		if d, ok := errors.AsType[*Denied](err); want == "" && (!ok || d.Status != http.StatusUnauthorized || !strings.HasPrefix(d.Challenge, "Bearer")) {
			t.Errorf("the token %q is answered with %#v, want 401 and a challenge", token, err)
		}
	}
}

func TestAnOpenGateAdmitsEverybody(t *testing.T) {
	t.Parallel()
	for _, token := range []string{"", "anything"} {
		if caller, err := (Gate{}).Admit(bearer(token), 1<<10); caller != Anonymous || err != nil {
			t.Errorf("caller %q, error %v", caller, err)
		}
	}
}

func TestFilesReportAllFaultsAtOnceAndNoSecrets(t *testing.T) {
	t.Parallel()
	_, tokens := ParseTokens("f", strings.NewReader("ada hunter2\na b c\nbob long-enough-a-token\nhunter3"))
	_, noTokens := ParseTokens("f", strings.NewReader("# none"))
	_, keys := ParseKeys("f", strings.NewReader("aws_access_key_id=hunter4\n[ada]\naws_access_key_id=A\n[bob]\nnonsense\naws_access_key_id=B\naws_secret_access_key=hunter5\n[eve]\naws_access_key_id=B\naws_secret_access_key=s"))
	_, noKeys := ParseKeys("f", strings.NewReader(""))
	for _, test := range []struct {
		err  error
		want []string
	}{
		{tokens, []string{"f:1: the token of ada", "f:2: a line is", "f:4: the token of line 4"}},
		{noTokens, []string{"no token in it"}},
		{keys, []string{"f:1:", "f:2: [ada] needs", "f:5:", "f:8: [eve] has the access key of [bob]"}},
		{noKeys, []string{"no key in it"}},
	} {
		if test.err == nil {
			t.Fatalf("no error, want %q", test.want)
		}
		for _, want := range test.want {
			if !strings.Contains(test.err.Error(), want) {
				t.Errorf("the error does not say %q:\n%v", want, test.err)
			}
		}
		if strings.Contains(test.err.Error(), "hunter") {
			t.Errorf("the error tells a secret:\n%v", test.err)
		}
	}
}

func TestOnlyThisMachineReachesAnOpenGateUnlessTold(t *testing.T) {
	t.Parallel()
	tokens, err := (*Tokens)(nil).With("x", "long-enough-a-token")
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		addr  string
		gate  Gate
		allow bool
		ok    bool
	}{
		{"127.0.0.1:8080", Gate{}, false, true},
		{"[::1]:8080", Gate{}, false, true},
		{"localhost:0", Gate{}, false, true},
		{":8080", Gate{}, false, false},
		{"0.0.0.0:8080", Gate{}, false, false},
		{"[::]:8080", Gate{}, false, false},
		{"10.0.0.1:8080", Gate{}, false, false},
		{"example.com:80", Gate{}, false, false},
		{":8080", Gate{}, true, true},
		{":8080", Gate{Tokens: tokens}, false, true},
		{"8080", Gate{Tokens: tokens}, true, false},
	} {
		if err := CheckListen(test.addr, test.gate, test.allow); (err == nil) != test.ok {
			t.Errorf("listening on %s, open %t, allowed %t: %v", test.addr, test.gate.Open(), test.allow, err)
		}
	}
}
