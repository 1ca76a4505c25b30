package request_test

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/penstock/penstock/queue/request"
)

func TestFailureIsJSONThatAPersonCanRead(t *testing.T) {
	t.Parallel()
	f := request.Failure{
		Error: request.Problem{
			Code: request.CodeModelError, Message: `input "x" has the shape <2, 3> & the model takes <?, 4>`,
			Stage: request.StagePredict, Hint: "send rows of 4 numbers",
		},
		InferenceID: "mine", Input: "s3://uploads/in/a b+é.json", Model: "digits", Attempts: 3,
		Time: time.Date(2026, 3, 1, 12, 0, 0, 123456789, time.FixedZone("", 2*3600+17)), // RFC 3339 has no seconds of an offset
	}
	golden(t, "failure.golden", string(f.JSON()))
	golden(t, "failure-bare.golden", string(request.Failure{Error: request.Problem{Code: request.CodeExpired, Stage: request.StageAccept, Retryable: true}}.JSON()))

	var back request.Failure
	if err := json.Unmarshal(f.JSON(), &back); err != nil {
		t.Fatal(err)
	}
	if want := f.Time.Truncate(time.Millisecond); !back.Time.Equal(want) {
		t.Errorf("the time comes back as %v, want %v", back.Time, want)
	}
	back.Time = f.Time
	if back != f {
		t.Errorf("comes back as %+v, want %+v", back, f)
	}
}

func TestProblemIsAnError(t *testing.T) {
	t.Parallel()
	var err error = &request.Problem{Code: request.CodeTimeout, Stage: request.StagePredict, Message: "the run took longer than 30s"}
	if got, want := err.Error(), "Timeout (predict): the run took longer than 30s"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}
