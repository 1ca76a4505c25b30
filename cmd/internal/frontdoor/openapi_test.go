package frontdoor_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/penstock/penstock/cmd/internal/frontdoor"
	"github.com/penstock/penstock/cmd/internal/frontdoor/auth"
)

// description is openapi.json, as far as it is held against the handlers.
var description = func() (d document) {
	b, err := os.ReadFile("native/openapi.json")
	if err == nil {
		err = json.Unmarshal(b, &d)
	}
	if err != nil {
		panic(err)
	}
	return d
}()

type document struct {
	Paths      map[string]map[string]operation `json:"paths"`
	Components struct {
		Responses map[string]response `json:"responses"`
		Headers   map[string]any      `json:"headers"`
		Schemas   map[string]schema   `json:"schemas"`
	} `json:"components"`
}

type operation struct {
	Responses map[string]response `json:"responses"`
}

type response struct {
	Ref     string         `json:"$ref"`
	Headers map[string]any `json:"headers"`
	Content map[string]struct {
		Schema schema `json:"schema"`
	} `json:"content"`
}

// schema is the part of JSON Schema that the document uses.
type schema struct {
	Ref                  string            `json:"$ref"`
	Type                 string            `json:"type"`
	Enum                 []any             `json:"enum"`
	Const                any               `json:"const"`
	Required             []string          `json:"required"`
	Properties           map[string]schema `json:"properties"`
	AdditionalProperties *bool             `json:"additionalProperties"`
	Items                *schema           `json:"items"`
}

// seen is which answers the tests have had, by "METHOD route status".
type seen struct {
	mu    sync.Mutex
	route string // of the call under way
	all   map[string]bool
}

func (s *seen) add(method, route string, status int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.route = route
	if s.all == nil {
		s.all = map[string]bool{}
	}
	if route != "" && method != "HEAD" {
		s.all[fmt.Sprintf("%s %s %d", method, route, status)] = true
	}
}

// check holds an answer of a test against its description.
func (s *seen) check(t *testing.T, method string, r reply) {
	t.Helper()
	if s.route == "" || method == "HEAD" {
		return
	}
	what := fmt.Sprintf("%s %s %d", method, s.route, r.code)
	described, ok := description.Paths[s.route][strings.ToLower(method)].Responses[fmt.Sprint(r.code)]
	if !ok {
		t.Errorf("%s is not described", what)
		return
	}
	if described.Ref != "" {
		described = description.Components.Responses[described.Ref[strings.LastIndex(described.Ref, "/")+1:]]
	}
	contentType := r.header.Get("Content-Type")
	media, ok := described.Content[contentType]
	if any, wild := described.Content["*/*"]; wild {
		media, ok = any, true
	}
	if !ok {
		t.Errorf("%s: the content type %q is not described", what, contentType)
		return
	}
	if !strings.HasSuffix(contentType, "json") {
		return
	}
	var v any
	if err := json.Unmarshal([]byte(r.body), &v); err != nil {
		t.Errorf("%s: %v", what, err)
	}
	for _, fault := range media.Schema.faults("body", v) {
		t.Errorf("%s: %s\n%s", what, fault, r.body)
	}
}

// faults says how a value is not as the schema has it.
func (s schema) faults(at string, v any) (list []string) {
	if s.Ref != "" {
		s = description.Components.Schemas[s.Ref[strings.LastIndex(s.Ref, "/")+1:]]
	}
	kinds := map[string]bool{"": true}
	switch v := v.(type) {
	case string:
		kinds["string"] = true
	case bool:
		kinds["boolean"] = true
	case float64:
		kinds["number"], kinds["integer"] = true, v == float64(int64(v))
	case []any:
		kinds["array"] = true
		for i, e := range v {
			if s.Items != nil {
				list = append(list, s.Items.faults(fmt.Sprintf("%s[%d]", at, i), e)...)
			}
		}
	case map[string]any:
		kinds["object"] = true
		for _, name := range s.Required {
			if _, ok := v[name]; !ok {
				list = append(list, fmt.Sprintf("%s has no %s", at, name))
			}
		}
		for name, e := range v {
			member, ok := s.Properties[name]
			if !ok && s.AdditionalProperties != nil && !*s.AdditionalProperties {
				list = append(list, fmt.Sprintf("%s.%s is not described", at, name))
			}
			list = append(list, member.faults(at+"."+name, e)...)
		}
	}
	if !kinds[s.Type] || s.Enum != nil && !slices.Contains(s.Enum, v) || s.Const != nil && s.Const != v {
		list = append(list, fmt.Sprintf("%s is %v, which is not as described", at, v))
	}
	return list
}

// provoke has every operation give every answer that it can give.
func provoke(t *testing.T) map[string]bool {
	all := map[string]bool{}
	some := func(test func(h *house), options ...func(*frontdoor.Config)) {
		in(t, func(h *house) {
			test(h)
			maps.Copy(all, h.seen.all)
		}, options...)
	}
	submits := []string{"/predict", "/v1/inferences", "/v1/models/double/inferences"}
	const async, sync = "/endpoints/digits/async-invocations", "/endpoints/digits/invocations"
	every := [][]string{
		{"GET", "/v1/inferences?input=s3://uploads/in/x"},
		{"GET", "/v1/inferences/x"},
		{"DELETE", "/v1/inferences/x"},
		{"GET", "/v1/inferences/x/result"},
		{"POST", "/v1/uploads"},
		{"POST", async},
		{"POST", sync},
	}
	for _, path := range submits {
		every = append(every, []string{"POST", path})
	}
	some(func(h *house) { // nobody works
		h.call("GET", "/openapi.json", "").want(200)
		h.call("POST", "/v1/uploads", "").want(201)
		h.put("s3://uploads/in/x", one, "")
		h.call("GET", "/v1/inferences?input=s3://uploads/in/x", "").want(200)
		h.call("GET", "/v1/inferences?input=s3://uploads/in/y", "").want(404)
		h.call("GET", "/v1/inferences", "").want(400)
		for i, path := range submits {
			id := fmt.Sprintf("x%d", i)
			h.call("POST", path, one, asKey, id).want(202)
			h.call("POST", path, two, asKey, id).want(409)
			h.call("POST", path, "").want(400)
			h.call("POST", path, strings.Repeat("x", 2000)).want(413)
			h.call("POST", path, one, "Content-Type", "multipart/form-data; boundary=x").want(415)
		}
		h.call("GET", "/v1/inferences/x0", "").want(200)
		h.call("GET", "/v1/inferences/x0/result", "").want(202)
		h.call("DELETE", "/v1/inferences/x0", "").want(202)
		for _, path := range []string{"/v1/inferences/y", "/v1/inferences/y/result"} {
			h.call("GET", path, "").want(404)
		}
		h.call("DELETE", "/v1/inferences/y", "").want(404)
		h.call("POST", async, one).want(202)
		h.call("POST", async, "").want(400)
		h.call("POST", sync, "").want(400)
		h.call("POST", sync, one).want(424)
		h.breaks()
		for _, call := range every {
			if call[1] != "/v1/uploads" {
				h.call(call[0], call[1], one).want(503)
			}
		}
		h.heals()
	}, func(c *frontdoor.Config) { c.MaxBody = 1000 })
	some(func(h *house) { h.call("POST", "/v1/uploads", "").want(501) }, func(c *frontdoor.Config) { c.Presign = nil })
	some(func(h *house) { h.call("POST", "/v1/uploads", "").want(503) }, func(c *frontdoor.Config) { c.Presign = presigner{errBroken} })
	some(func(h *house) { // with a gate
		for _, call := range every {
			h.call(call[0], call[1], one).want(401)
			h.call(call[0], call[1], one, "Authorization", "AWS4-HMAC-SHA256 Credential=x").want(403)
		}
	}, func(c *frontdoor.Config) {
		keys, err := auth.ParseKeys("keys", strings.NewReader("[x]\naws_access_key_id=x\naws_secret_access_key=y"))
		if err != nil {
			t.Fatal(err)
		}
		c.Gate = func() auth.Gate { return auth.Gate{Keys: keys} }
	})
	some(func(h *house) { // with a worker
		for i, path := range submits {
			name := func(s string) string { return fmt.Sprintf("%s%d", s, i) }
			h.call("POST", path, one, asKey, name("unwanted")).want(202)
			h.call("DELETE", "/v1/inferences/"+name("unwanted"), "").want(202)
			h.call("POST", path+"?ttl=1", one, asKey, name("late")).want(202)
		}
		h.put("s3://results/out/requests/taken.out", "x", "")
		h.call("POST", "/predict", one, asKey, "taken").want(202)
		h.sleep(3)
		h.works()
		for i, path := range submits {
			name := func(s string) string { return fmt.Sprintf("%s%d", s, i) }
			h.call("POST", path, one, asKey, name("good"), prefer, "wait=60").want(200)
			h.call("POST", path, `{"instances":[[13]]}`, asKey, name("bad"), prefer, "wait=60").want(422)
			h.call("POST", path, `{"instances":[[14]]}`, asKey, name("broken"), prefer, "wait=60").want(500)
			h.call("POST", path, one, asKey, name("unwanted"), prefer, "wait=60").want(410)
			h.call("POST", path+"?ttl=1", one, asKey, name("late"), prefer, "wait=60").want(504)
			h.config.MaxResult = 1
			h.call("POST", path, one, asKey, name("good"), prefer, "wait=60").want(303)
			h.config.MaxResult = 0
		}
		for id, code := range map[string]int{"good0": 200, "bad0": 422, "broken0": 500, "unwanted0": 410, "late0": 504, "taken": 409} {
			h.call("GET", "/v1/inferences/"+id+"/result", "", prefer, "wait=60").want(code)
		}
		h.config.MaxResult = 1
		h.call("GET", "/v1/inferences/good0/result", "").want(303)
		h.config.MaxResult = 0
		h.call("DELETE", "/v1/inferences/good0", "").want(200)
		h.call("POST", sync, one).want(200)
	})
	return all
}

func TestTheDescriptionAndTheHandlersAgree(t *testing.T) {
	had := provoke(t)
	for path, operations := range description.Paths {
		for method, o := range operations {
			for status := range o.Responses {
				what := fmt.Sprintf("%s %s %s", strings.ToUpper(method), path, status)
				if !had[what] {
					t.Errorf("%s is described, and did not happen", what)
				}
				delete(had, what)
			}
		}
	}
	for what := range had {
		t.Errorf("%s happened, and is not described", what)
	}
}
