package auth

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
)

var at = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

const keysFile = `
# one caller
[ada]
aws_access_key_id = AKIDADA
aws_secret_access_key = first/secret
region = eu-west-1
[bob]
aws_access_key_id=AKIDBOB
aws_secret_access_key=second+secret
`

func gate(t *testing.T) Gate {
	t.Helper()
	keys, err := ParseKeys("keys", strings.NewReader(keysFile))
	if err != nil {
		t.Fatal(err)
	}
	keys.Now = func() time.Time { return at }
	return Gate{Keys: keys}
}

// call is a call as a server gets it, signed by the SDK's signer.
type call struct {
	method, url, body string
	header            http.Header
	id, secret        string
	service           string
	at                time.Time
	payload           string // claimed hash; empty is the body's, and no header
}

func (c call) signed(t *testing.T) *http.Request {
	t.Helper()
	out, err := http.NewRequestWithContext(t.Context(), c.method, c.url, strings.NewReader(c.body))
	if err != nil {
		t.Fatal(err)
	}
	maps.Copy(out.Header, c.header)
	sum := sha256.Sum256([]byte(c.body))
	hash := hex.EncodeToString(sum[:])
	if c.payload != "" {
		hash = c.payload
		out.Header.Set("X-Amz-Content-Sha256", hash)
	}
	err = v4.NewSigner().SignHTTP(t.Context(), aws.Credentials{AccessKeyID: c.id, SecretAccessKey: c.secret, SessionToken: c.header.Get("Token")}, out, hash, c.service, "eu-west-1", c.at)
	if err != nil {
		t.Fatal(err)
	}
	return received(t, out)
}

// received sends a call through a real server and gives what arrives there.
func received(t *testing.T, out *http.Request) *http.Request {
	t.Helper()
	var in *http.Request
	s := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		in = r
		in.Body = io.NopCloser(bytes.NewReader(body))
	}))
	defer s.Close()
	out.Host = out.URL.Host
	out.URL.Host = strings.TrimPrefix(s.URL, "http://")
	res, err := s.Client().Do(out)
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	return in
}

func good() call {
	return call{
		method: http.MethodPost, url: "http://door.example:8080/endpoints/digits/async-invocations", body: "pixels",
		header: http.Header{"X-Amzn-Sagemaker-Accept": {"text/csv"}, "Content-Type": {"image/png"}},
		id:     "AKIDADA", secret: "first/secret", service: "sagemaker", at: at,
	}
}

func TestASignatureOfAWSsOwnSignerIsVerified(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(*call){
		"a call to SageMaker":   func(*call) {},
		"a call to API Gateway": func(c *call) { c.service = "execute-api" },
		"another caller":        func(c *call) { c.id, c.secret = "AKIDBOB", "second+secret" },
		"no body":               func(c *call) { c.method, c.body = http.MethodGet, "" },
		"a query":               func(c *call) { c.url += "?b=2&a=x%20y%2Bz&a-b=1&a=&é=%C3%A9" },
		"an escaped path":       func(c *call) { c.url = "http://door/v1/inferences/a%2Fb%20c%25" },
		"no path":               func(c *call) { c.url = "http://door" },
		"spaces in a header":    func(c *call) { c.header.Set("X-Amzn-SageMaker-InputLocation", "s3://b/a  b   +c") },
		"a header twice":        func(c *call) { c.header["X-Amzn-Sagemaker-Accept"] = []string{"a", "b"} },
		"temporary credentials": func(c *call) { c.header.Set("Token", "session") },
		"a clock at the limit":  func(c *call) { c.at = at.Add(-maxSkew) },
		"a hash of the body in a header": func(c *call) {
			sum := sha256.Sum256([]byte(c.body))
			c.payload = hex.EncodeToString(sum[:])
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := good()
			change(&c)
			r := c.signed(t)
			want := map[string]string{"AKIDADA": "ada", "AKIDBOB": "bob"}[c.id]
			if caller, err := gate(t).Admit(r, 1<<10); caller != want || err != nil {
				t.Errorf("caller %q, error %v; want %q", caller, err, want)
			}
			if body, _ := io.ReadAll(r.Body); string(body) != c.body {
				t.Errorf("the body is %q afterwards, want %q", body, c.body)
			}
		})
	}
}

func TestASignatureThatIsNotOfThisCallIsRefused(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		call   func(*call)
		change func(*http.Request) // after it was signed
		code   string
	}{
		"another secret":         {call: func(c *call) { c.secret = "guessed" }, code: "InvalidSignatureException"},
		"an unknown key":         {call: func(c *call) { c.id = "AKIDEVE" }, code: "UnrecognizedClientException"},
		"another service":        {call: func(c *call) { c.service = "s3" }, code: "InvalidSignatureException"},
		"an old signature":       {call: func(c *call) { c.at = at.Add(-maxSkew - time.Second) }, code: "InvalidSignatureException"},
		"one of the future":      {call: func(c *call) { c.at = at.Add(maxSkew + time.Second) }, code: "InvalidSignatureException"},
		"an unsigned body":       {call: func(c *call) { c.payload = "UNSIGNED-PAYLOAD" }, code: "InvalidSignatureException"},
		"a body in chunks":       {call: func(c *call) { c.payload = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD" }, code: "InvalidSignatureException"},
		"a body that is too big": {call: func(c *call) { c.body = strings.Repeat("x", 2<<10) }, code: "RequestEntityTooLargeException"},
		"another body":           {change: func(r *http.Request) { r.Body = io.NopCloser(strings.NewReader("other")) }, code: "InvalidSignatureException"},
		"another path":           {change: func(r *http.Request) { r.URL.Path = "/endpoints/other/async-invocations" }, code: "InvalidSignatureException"},
		"another method":         {change: func(r *http.Request) { r.Method = http.MethodPut }, code: "InvalidSignatureException"},
		"a query put on":         {change: func(r *http.Request) { r.URL.RawQuery = "model=other" }, code: "InvalidSignatureException"},
		"another host":           {change: func(r *http.Request) { r.Host = "elsewhere" }, code: "InvalidSignatureException"},
		"a header changed":       {change: func(r *http.Request) { r.Header.Set("X-Amzn-SageMaker-Accept", "x") }, code: "InvalidSignatureException"},
		"a header put on":        {change: func(r *http.Request) { r.Header.Set("X-Amzn-SageMaker-InputLocation", "s3://b/k") }, code: "InvalidSignatureException"},
		"no time":                {change: func(r *http.Request) { r.Header.Del("X-Amz-Date") }, code: "IncompleteSignatureException"},
		"another day": {change: func(r *http.Request) {
			r.Header.Set("Authorization", strings.Replace(r.Header.Get("Authorization"), "20260301", "20260302", 1))
		}, code: "InvalidSignatureException"},
		"half a header": {change: func(r *http.Request) { r.Header.Set("Authorization", algorithm+" Credential=AKIDADA/x") }, code: "IncompleteSignatureException"},
		"no header":     {change: func(r *http.Request) { r.Header.Del("Authorization") }, code: "MissingAuthenticationTokenException"},
		"a token":       {change: func(r *http.Request) { r.Header.Set("Authorization", "Bearer abcdefghijklmnopqrst") }, code: "MissingAuthenticationTokenException"},
		"a signature in the query": {change: func(r *http.Request) {
			r.Header.Del("Authorization")
			r.URL.RawQuery = "X-Amz-Signature=0"
		}, code: "MissingAuthenticationTokenException"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := good()
			if test.call != nil {
				test.call(&c)
			}
			r := c.signed(t)
			if test.change != nil {
				test.change(r)
			}
			_, err := gate(t).Admit(r, 1<<10)
			d, ok := errors.AsType[*Denied](err)
			if !ok || d.Code != test.code || d.Status < 400 {
				t.Errorf("error is %v, want %s", err, test.code)
			}
		})
	}
}

func FuzzAuthorizationNeverAdmitsAStranger(f *testing.F) {
	f.Add(algorithm + " Credential=AKIDADA/20260301/eu-west-1/sagemaker/aws4_request, SignedHeaders=host;x-amz-date, Signature=00")
	f.Add(algorithm + " Credential=////, SignedHeaders=;, Signature=")
	f.Add("Bearer x")
	keys, err := ParseKeys("keys", strings.NewReader(keysFile))
	if err != nil {
		f.Fatal(err)
	}
	keys.Now = func() time.Time { return at }
	f.Fuzz(func(t *testing.T, authorization string) {
		r := httptest.NewRequest(http.MethodPost, "/predict?a=b", strings.NewReader("x"))
		r.Header["Authorization"] = []string{authorization}
		r.Header.Set("X-Amz-Date", at.Format(timeForm))
		if caller, err := (Gate{Keys: keys}).Admit(r, 1<<10); err == nil {
			t.Errorf("%q is admitted as %q", authorization, caller)
		}
	})
}
