package proxy_test

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"go.uber.org/zap"

	"github.com/penstock/penstock/cmd/internal/producer/proxy"
)

// event makes a request in payload format 2.0, signed by IAM.
func event(change ...func(map[string]any)) []byte {
	e := map[string]any{
		"version": "2.0", "rawPath": "/a", "headers": map[string]any{"host": "door.example"},
		"requestContext": map[string]any{
			"stage": "$default", "http": map[string]any{"method": "POST", "sourceIp": "192.0.2.1"},
			"authorizer": map[string]any{"iam": map[string]any{"userArn": "arn:aws:iam::123456789012:user/a"}},
		},
	}
	for _, c := range change {
		c(e)
	}
	b, _ := json.Marshal(e)
	return b
}

func set(path string, value any) func(map[string]any) {
	return func(e map[string]any) {
		parts := strings.Split(path, ".")
		for _, p := range parts[:len(parts)-1] {
			next, ok := e[p].(map[string]any)
			if !ok {
				next = map[string]any{}
				e[p] = next
			}
			e = next
		}
		e[parts[len(parts)-1]] = value
	}
}

// rest makes a request in payload format 1.0.
func rest(change ...func(map[string]any)) []byte {
	e := map[string]any{
		"httpMethod": "POST", "path": "/a",
		"requestContext": map[string]any{"stage": "prod", "path": "/prod/a", "identity": map[string]any{"sourceIp": "192.0.2.1", "userArn": "arn:aws:iam::123456789012:user/a"}},
	}
	for _, c := range change {
		c(e)
	}
	b, _ := json.Marshal(e)
	return b
}

// serve has a handler answer the event.
func serve(t *testing.T, d proxy.Door, event []byte, h http.HandlerFunc) *proxy.Reply {
	t.Helper()
	d.Known, d.Log = h, zap.NewNop()
	reply, err := d.Serve(t.Context(), event)
	if err != nil {
		t.Fatal(err)
	}
	return reply
}

func TestTheHandlerSeesThePathThatTheCallerMeant(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name, base string
		event      []byte
		want       string
	}{
		{"a function URL", "", event(), "/a"},
		{"nothing", "", event(set("rawPath", "")), "/"},
		{"escaped", "", event(set("rawPath", "/a%2Fb/c%20d")), "/a%2Fb/c%20d"},
		{"decoded", "", event(set("rawPath", "/a b/é")), "/a%20b/%C3%A9"},
		{"decoded with a percent", "", event(set("rawPath", "/100%")), "/100%25"},
		{"a stage of an HTTP API", "", event(set("requestContext.stage", "prod"), set("rawPath", "/prod/a")), "/a"},
		{"a stage alone", "", event(set("requestContext.stage", "prod"), set("rawPath", "/prod")), "/"},
		{"a stage that the path begins with", "", event(set("requestContext.stage", "v1"), set("rawPath", "/v1/v1/inferences")), "/v1/inferences"},
		{"a path that only looks like a stage", "", event(set("requestContext.stage", "v1"), set("rawPath", "/v12/a")), "/v12/a"},
		{"a base path", "/ml/", event(set("rawPath", "/ml/a")), "/a"},
		{"a base path and a stage", "ml", event(set("requestContext.stage", "prod"), set("rawPath", "/ml/prod/a")), "/a"},
		{"another base path", "ml", event(set("rawPath", "/mla")), "/mla"},
		{"a REST API", "", rest(), "/a"},
		{"a REST API whose stage the path begins with", "", rest(set("requestContext.stage", "v1"), set("path", "/v1/a"), set("requestContext.path", "/v1/v1/a")), "/v1/a"},
		{"a REST API whose domain leaves the stage in the path", "", rest(set("path", "/prod/a"), set("requestContext.path", "/prod/a")), "/a"},
		{"a REST API with a base path", "ml", rest(set("path", "/ml/a"), set("requestContext.path", "/ml/a")), "/a"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			var got string
			serve(t, proxy.Door{BasePath: test.base}, test.event, func(_ http.ResponseWriter, r *http.Request) { got = r.URL.EscapedPath() })
			if got != test.want {
				t.Errorf("the handler sees %q, want %q", got, test.want)
			}
		})
	}
}

func TestTheHandlerSeesTheRequestAsItWasSent(t *testing.T) {
	t.Parallel()
	binary := "\x89PNG\x00\xff"
	for name, e := range map[string][]byte{
		"format 2.0": event(
			set("rawQueryString", "n=a%20b&n=c"), set("cookies", []string{"x=1", "y=2"}), set("body", base64.StdEncoding.EncodeToString([]byte(binary))), set("isBase64Encoded", true),
			set("headers", map[string]any{"host": "door.example", "content-length": "999", "x-two": "1,2"}),
		),
		"format 1.0": rest(
			set("multiValueQueryStringParameters", map[string]any{"n": []string{"a b", "c"}}), set("body", base64.StdEncoding.EncodeToString([]byte(binary))), set("isBase64Encoded", true),
			set("multiValueHeaders", map[string]any{"Host": []string{"door.example"}, "X-Two": []string{"1", "2"}, "Cookie": []string{"x=1; y=2"}}),
		),
	} {
		serve(t, proxy.Door{}, e, func(_ http.ResponseWriter, r *http.Request) {
			body, _ := io.ReadAll(r.Body)
			two := strings.Join(r.Header.Values("X-Two"), ",")
			if string(body) != binary || r.ContentLength != int64(len(binary)) || two != "1,2" || r.Host != "door.example" || r.RemoteAddr != "192.0.2.1:0" ||
				!reflect.DeepEqual(r.URL.Query()["n"], []string{"a b", "c"}) || len(r.Cookies()) != 2 || r.Method != "POST" {
				t.Errorf("%s: the handler sees %s %s from %s at %s, %v, cookies %v, %q of %d bytes", name, r.Method, r.URL, r.RemoteAddr, r.Host, r.Header, r.Cookies(), body, r.ContentLength)
			}
		})
	}
}

func TestTheReplyIsTextOrBase64ByWhatItIs(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		contentType, encoding, body string
		base64                      bool
	}{
		{"application/json", "", `{"a":"é"}`, false},
		{"application/problem+json", "", `{}`, false},
		{"text/csv; charset=utf-8", "", "1,2", false},
		{"application/jsonlines", "", "{}\n{}", false},
		{"application/x-npy", "", "\x93NUMPY", true},
		{"application/octet-stream", "", "text by chance", true},
		{"application/json", "gzip", "by chance", true},
		{"application/json", "", "\xff", true},
		{"", "", "", false},
	} {
		for _, e := range [][]byte{event(), rest()} {
			reply := serve(t, proxy.Door{}, e, func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Content-Type", test.contentType)
				if test.encoding != "" {
					w.Header().Set("Content-Encoding", test.encoding)
				}
				io.WriteString(w, test.body)
			})
			got := reply.Body
			if reply.IsBase64Encoded {
				b, err := base64.StdEncoding.DecodeString(got)
				if got = string(b); err != nil {
					t.Fatal(err)
				}
			}
			if got != test.body || reply.IsBase64Encoded != test.base64 {
				t.Errorf("%q as %s is replied %q, base64 %t", test.body, test.contentType, reply.Body, reply.IsBase64Encoded)
			}
		}
	}
}

func TestTheReplyHasTheHeadersOfItsFormat(t *testing.T) {
	t.Parallel()
	h := func(w http.ResponseWriter, _ *http.Request) {
		w.Header()["Link"] = []string{"a", "b"}
		w.Header()["x-amzn-RequestId"] = []string{"7"}
		w.Header().Add("Set-Cookie", "x=1")
		w.Header().Add("Set-Cookie", "y=2")
		w.Header().Set("Content-Length", "2")
		w.WriteHeader(http.StatusEarlyHints)
		w.WriteHeader(http.StatusCreated)
		w.WriteHeader(http.StatusOK) // too late
		w.Header().Set("Late", "1")
		io.WriteString(w, "ok")
	}
	second := serve(t, proxy.Door{}, event(), h)
	if want := map[string]string{"Link": "a, b", "x-amzn-RequestId": "7"}; !reflect.DeepEqual(second.Headers, want) || len(second.Cookies) != 2 || second.MultiValueHeaders != nil || second.StatusCode != 201 {
		t.Errorf("in format 2.0 it is %+v", second)
	}
	first := serve(t, proxy.Door{}, rest(), h)
	if want := map[string][]string{"Link": {"a", "b"}, "x-amzn-RequestId": {"7"}, "Set-Cookie": {"x=1", "y=2"}}; !reflect.DeepEqual(first.MultiValueHeaders, want) || first.Headers != nil || first.StatusCode != 201 {
		t.Errorf("in format 1.0 it is %+v", first)
	}
}

func TestNobodyIsServedWhomAWSHasNotIdentified(t *testing.T) {
	t.Parallel()
	iam := map[string]any{"userArn": "arn:aws:iam::123456789012:user/a"}
	for _, test := range []struct {
		name  string
		event []byte
		known bool
	}{
		{"IAM", event(), true},
		{"a JWT", event(set("requestContext.authorizer", map[string]any{"jwt": map[string]any{"claims": map[string]any{"sub": "a"}}})), true},
		{"a Lambda authorizer", event(set("requestContext.authorizer", map[string]any{"lambda": map[string]any{"user": "a"}})), true},
		{"a client's certificate", event(set("requestContext.authorizer", nil), set("requestContext.authentication", map[string]any{"clientCert": iam})), true},
		{"nobody", event(set("requestContext.authorizer", nil)), false},
		{"an empty authorizer", event(set("requestContext.authorizer", map[string]any{})), false},
		{"an authorizer that said nothing", event(set("requestContext.authorizer", map[string]any{"iam": nil, "lambda": map[string]any{}})), false},
		{"a header that says so", event(set("requestContext.authorizer", nil), set("headers", map[string]any{"authorization": "Bearer x"})), false},
		{"IAM of a REST API", rest(), true},
		{"a REST API's authorizer", rest(set("requestContext.identity", nil), set("requestContext.authorizer", map[string]any{"principalId": "a"})), true},
		{"a REST API's key alone", rest(set("requestContext.identity", map[string]any{"apiKey": "a", "userArn": nil})), false},
		{"nobody at a REST API", rest(set("requestContext.identity", map[string]any{"userArn": nil, "clientCert": nil}), set("requestContext.authorizer", nil)), false},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			served := false
			reply := serve(t, proxy.Door{}, test.event, func(http.ResponseWriter, *http.Request) { served = true })
			if served != test.known || (reply.StatusCode == http.StatusForbidden) == test.known {
				t.Errorf("served: %t, status %d", served, reply.StatusCode)
			}
			own := 0
			serve(t, proxy.Door{Strangers: http.HandlerFunc(func(http.ResponseWriter, *http.Request) { own++ })}, test.event, func(http.ResponseWriter, *http.Request) {})
			if (own == 1) == test.known {
				t.Errorf("the strangers' handler was asked %d times", own)
			}
		})
	}
}

func TestAHandlerThatPanicsIsAnsweredFor(t *testing.T) {
	t.Parallel()
	reply := serve(t, proxy.Door{}, event(), func(w http.ResponseWriter, _ *http.Request) {
		io.WriteString(w, "half")
		panic("no")
	})
	if reply.StatusCode != http.StatusInternalServerError || strings.Contains(reply.Body, "half") {
		t.Errorf("the reply is %+v", reply)
	}
}

func TestWhatLambdaCanNotReturnIsAnErrorThatSaysSo(t *testing.T) {
	t.Parallel()
	answer := func(body string) func(http.ResponseWriter, *http.Request) {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			io.WriteString(w, body)
		}
	}
	const lambda = 6 << 20
	for _, test := range []struct {
		name, body string
		ok         bool
	}{
		{"a large text", strings.Repeat("x", 5<<20), true},
		{"a text that JSON doubles", strings.Repeat("\"", proxy.MaxBody), true}, // as base64
		{"too large", strings.Repeat("\"", proxy.MaxBody+1), false},
	} {
		reply := serve(t, proxy.Door{}, event(), answer(test.body))
		encoded, err := json.Marshal(reply)
		if err != nil || len(encoded) > lambda {
			t.Errorf("%s: the reply has %d bytes, Lambda takes %d (%v)", test.name, len(encoded), lambda, err)
		}
		if (reply.StatusCode == http.StatusOK) != test.ok {
			t.Errorf("%s: status %d", test.name, reply.StatusCode)
		}
	}
}

func TestAHEADHasNoBody(t *testing.T) {
	t.Parallel()
	reply := serve(t, proxy.Door{}, event(set("requestContext.http.method", "HEAD")), func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "body") })
	if reply.Body != "" || reply.Headers["Content-Type"] == "" {
		t.Errorf("the reply is %+v", reply)
	}
}

// FuzzServe holds: whatever an event is, it is answered in its format or
// refused, and never with a panic.
func FuzzServe(f *testing.F) {
	files, err := filepath.Glob("../testdata/events/http-*.json")
	if err != nil || len(files) == 0 {
		f.Fatalf("no documents: %v", err)
	}
	for _, file := range files {
		e, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(e, "")
		f.Add(e, "/echo")
	}
	h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		if !strings.HasPrefix(r.URL.Path, "/") {
			panic(fmt.Sprintf("the path %q is not absolute", r.URL.Path))
		}
		maps.Copy(w.Header(), r.Header)
		w.Write(body)
	})
	f.Fuzz(func(t *testing.T, e []byte, base string) {
		door := proxy.Door{Known: h, BasePath: base, Log: zap.NewNop()}
		reply, err := door.Serve(t.Context(), e)
		if err != nil {
			return
		}
		if reply.StatusCode < 200 || reply.StatusCode > 599 || reply.StatusCode == http.StatusInternalServerError {
			t.Errorf("status %d: %s", reply.StatusCode, reply.Body)
		}
		if _, err := json.Marshal(reply); err != nil {
			t.Error(err)
		}
	})
}
