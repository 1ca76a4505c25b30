package producer_test

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/penstock/penstock/cmd/internal/intake"
)

// slowDesk takes a second for each request.
type slowDesk struct{ *desk }

func (d slowDesk) Accept(ctx context.Context, s intake.Submission) (intake.Accepted, error) {
	time.Sleep(time.Second)
	return d.desk.Accept(ctx, s)
}

func TestRequestsWithAnIDDoNotWaitForEachOtherUnlessTheQueueIsFIFO(t *testing.T) {
	for queue, most := range map[string]time.Duration{"requests": 10 * time.Second, "requests.fifo": 100 * time.Second} {
		synctest.Test(t, func(t *testing.T) {
			b := setup(t)
			b.QueueURL, b.Handler.Intake = "https://sqs.eu-west-1.amazonaws.com/123456789012/"+queue, slowDesk{b.intake}
			var all []string
			for n := range 100 {
				all = append(all, fmt.Sprintf(`{"id":"%02d","input":"s3://uploads/in/%d"}`, n, n))
			}
			began := time.Now()
			if _, err := b.Handle(t.Context(), json.RawMessage(`{"requests":[`+strings.Join(all, ",")+`]}`)); err != nil {
				t.Fatal(err)
			}
			if took := time.Since(began); took > most {
				t.Errorf("%s: 100 requests of a second each took %v", queue, took)
			}
			for n, s := range b.intake.submissions {
				if most > 10*time.Second && s.Request.ID != fmt.Sprintf("%02d", n) {
					t.Errorf("%s: %s was accepted as number %d", queue, s.Request.ID, n)
				}
			}
		})
	}
}
