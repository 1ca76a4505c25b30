//go:build linux

package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/penstock/penstock/queue/request"
)

func TestASeedRepeatsSchedulesAndInputs(t *testing.T) {
	t.Parallel()
	plan := func(seed uint64) string {
		r := &rig{seed: seed, digits: []golden{{Label: 7, bytes: []byte("png")}}}
		var b strings.Builder
		for _, sc := range scenarios {
			for _, s := range r.schedule(sc) {
				fmt.Fprintln(&b, sc.name, s.at, s.lead, s)
			}
			m := maker{dice: r.dice(sc.name, "inputs"), bucket: bucketOf(sc), digits: r.digits}
			for _, in := range m.make(sc.inputs, sc.special) {
				fmt.Fprintln(&b, in.request.Input, in.request.ID, in.rows)
			}
		}
		return b.String()
	}
	first := plan(1)
	if plan(1) != first {
		t.Error("two runs of one seed differ")
	}
	if plan(2) == first {
		t.Error("two seeds give the same")
	}
}

func TestEveryScenarioHasFaultsAndTheLoadForThem(t *testing.T) {
	t.Parallel()
	names := make(map[string]bool)
	for _, sc := range scenarios {
		if names[sc.name] {
			t.Errorf("two scenarios are named %s", sc.name)
		}
		names[sc.name] = true
		for _, short := range []bool{false, true} {
			r := &rig{seed: 1, short: short}
			if len(r.schedule(sc)) == 0 {
				t.Errorf("%s has no faults", sc.name)
			}
		}
	}
	r := &rig{seed: 1}
	count := make(map[string]int)
	for _, s := range r.schedule(scenarios[0]) {
		count[s.what]++
	}
	if scenarios[0].inputs < 2000 || count["SIGKILL"] < 5 || count["SIGTERM"] < 5 {
		t.Errorf("the first scenario has %d inputs and %v; it should have 2,000 and five of each at least", scenarios[0].inputs, count)
	}
}

func TestInputsHoldWhatTheirKindSays(t *testing.T) {
	t.Parallel()
	r := &rig{seed: 3, digits: []golden{{Label: 7, bytes: []byte("png")}}}
	m := maker{dice: r.dice("x", "inputs"), bucket: "bucket", digits: r.digits}
	want := map[kind]int{slow: 1, refused: 2, broken: 3, missing: 4, expired: 5, killer: 6, hanging: 7, long: 2}
	got := make(map[kind]int)
	keys := make(map[string]bool)
	for i, in := range m.make(200, want) {
		got[in.kind]++
		keys[in.request.Input.Key] = true
		if i < 20 && want[in.kind] > 0 {
			t.Errorf("input %d is %s: the first tenth shows what is normal", i, in.kind)
		}
		if err := in.request.Validate(); err != nil {
			t.Error(err)
		}
		if valid := json.Valid(in.body); valid == (in.kind == broken) && in.kind != digit && !in.kind.hasRecords() {
			t.Errorf("%s: its body is valid JSON: %v", in.kind, valid)
		}
	}
	for k, n := range want {
		if got[k] != n {
			t.Errorf("%d inputs are %s, want %d", got[k], k, n)
		}
	}
	if len(keys) != 200 {
		t.Errorf("200 inputs have %d keys", len(keys))
	}
}

func TestAnswersAreJudged(t *testing.T) {
	t.Parallel()
	in := &input{kind: rows, rows: [][2]float32{{1, 2}, {3, 4.5}}}
	in.request.Input.Bucket, in.request.Input.Key = "b", "in/x"
	for body, right := range map[string]bool{
		`{"predictions":[[2,4],[6,9]]}`:   true,
		`{"predictions":[[2,4],[6,9.5]]}`: false,
		`{"predictions":[[6,9],[2,4]]}`:   false,
		`{"predictions":[[2,4]]}`:         false,
		`{"predictions":[[2,4],[6,`:       false,
	} {
		if err := in.checkOutput([]byte(body)); (err == nil) != right {
			t.Errorf("%s: %v", body, err)
		}
	}
	failure := func(code string) []byte {
		return request.Failure{
			Error:       request.Problem{Code: code, Message: "m", Stage: "predict"},
			InferenceID: "i", Input: "s3://b/in/x", Time: time.Unix(1, 0),
		}.JSON()
	}
	if in.checkFailure(failure(request.CodePoison)) == nil {
		t.Error("an innocent's failure passed")
	}
	bad := *in
	bad.kind = killer
	if err := bad.checkFailure(failure(request.CodePoison)); err != nil {
		t.Error(err)
	}
	if bad.checkFailure(failure(request.CodeTimeout)) == nil || bad.checkOutput([]byte(`{"predictions":[[2,4],[6,9]]}`)) == nil {
		t.Error("a killer's output or other failure passed")
	}
}

func TestAnswersToRecordsAreJudgedOneByOne(t *testing.T) {
	t.Parallel()
	in := &input{kind: lines, resultType: "application/jsonlines", records: []record{
		{line: "[1,2]", want: "[2,4]"}, {line: "[1,", code: "MalformedInput"}, {line: `"a"`, text: true},
	}}
	const first, second, third = "[2,4]\n", `{"error":{"code":"MalformedInput","record":2}}` + "\n", `{"upper":"A","length":1}` + "\n"
	for body, right := range map[string]bool{
		first + second + third:                                         true,
		first + second:                                                 false,
		first + third + second:                                         false,
		"[2,5]\n" + second + third:                                     false,
		first + second + strings.TrimSpace(third):                      false, // cut off
		first + strings.ReplaceAll(second, "2}", "3}") + third:         false,
		first + strings.ReplaceAll(second, "Malformed", "Any") + third: false,
		first + first + third:                                          false,
	} {
		if err := in.checkOutput([]byte(body)); (err == nil) != right {
			t.Errorf("%s: %v", body, err)
		}
	}
	in.resultType = "application/json"
	if err := in.checkOutput([]byte(`{"predictions":[` + first + "," + second + "," + third + "]}")); err != nil {
		t.Error(err)
	}
}

func TestTheLedgerSeesWhatIsReplacedAndWhatStands(t *testing.T) {
	t.Parallel()
	l := newLedger()
	do := func(method string, status int) {
		l.observe(httptest.NewRequest(method, "/bucket/out/a%20b.out", nil), status)
	}
	ref := locationOf(t).Output
	ref.Key += "a b.out"
	do(http.MethodPut, http.StatusPreconditionFailed)
	if _, ok := l.stands(ref); ok {
		t.Error("a refused write stands")
	}
	do(http.MethodPut, http.StatusOK)
	do(http.MethodGet, http.StatusOK)
	if _, ok := l.stands(ref); !ok || l.replaced(ref) != 0 {
		t.Error("a write does not stand, or counts twice")
	}
	do(http.MethodDelete, http.StatusNoContent)
	if _, ok := l.stands(ref); ok {
		t.Error("what was removed stands")
	}
	do(http.MethodPut, http.StatusOK)
	do(http.MethodPut, http.StatusOK)
	if n := l.replaced(ref); n != 1 {
		t.Errorf("replaced %d times, want 1", n)
	}
}

func TestTheLedgerSeesAnUploadInPartsWhenItIsComplete(t *testing.T) {
	t.Parallel()
	l := newLedger()
	do := func(method, query string) {
		l.observe(httptest.NewRequest(method, "/bucket/out/a.out?"+query, nil), http.StatusOK)
	}
	ref := locationOf(t).Output
	ref.Key += "a.out"
	do(http.MethodPost, "uploads")
	do(http.MethodPut, "partNumber=1&uploadId=u")
	do(http.MethodPut, "partNumber=2&uploadId=u")
	if _, ok := l.stands(ref); ok {
		t.Error("parts stand")
	}
	do(http.MethodPost, "uploadId=u")
	do(http.MethodPost, "uploadId=u") // the reply was lost, and S3 answers it again
	do(http.MethodDelete, "uploadId=other")
	if _, ok := l.stands(ref); !ok || l.replaced(ref) != 0 {
		t.Error("the object does not stand, or counts more than once")
	}
	do(http.MethodPost, "uploadId=v")
	if n := l.replaced(ref); n != 1 {
		t.Errorf("replaced %d times, want 1", n)
	}
}

func locationOf(t *testing.T) request.Locations {
	t.Helper()
	l, err := locations("bucket")
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func TestAFailedTrialSaysSoInTheTable(t *testing.T) {
	t.Parallel()
	good := &trial{scenario: scenario{fault: "none"}, inputs: 5, recovery: 1500 * time.Millisecond}
	bad := &trial{scenario: scenario{fault: "some"}, inputs: 5}
	bad.found.add(&bad.found.lost, "x")
	if !good.passed() || bad.passed() {
		t.Error("the wrong one passed")
	}
	var b strings.Builder
	printTable(&b, []*trial{good, bad}, true)
	lines := strings.Split(b.String(), "\n")
	if !slices.Contains(lines, "| none |  | 5 | 0 | 0 | 0 | 1.5 s |") || !slices.Contains(lines, "| some |  | 5 | 1 | 0 | 0 | not |") {
		t.Error(b.String())
	}
}
