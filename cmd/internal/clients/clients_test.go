package clients

import (
	"encoding/pem"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/penstock/penstock/cmd/internal/clients/clientstest"
)

func open(t *testing.T, opts Options) *Clients {
	t.Helper()
	c, err := Open(t.Context(), opts)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// reply answers as S3 does to a HEAD of an object, with this clock.
func reply(w http.ResponseWriter, date time.Time) {
	w.Header().Set("x-amz-request-id", "1")
	w.Header().Set("Date", date.UTC().Format(http.TimeFormat))
	w.Header().Set("ETag", `"e"`)
}

func head(t *testing.T, c *Clients) {
	t.Helper()
	if _, err := c.S3.HeadObject(t.Context(), &s3.HeadObjectInput{Bucket: new("bucket"), Key: new("key")}); err != nil {
		t.Fatal(err)
	}
}

func TestOpenSaysWhatToDoWithoutARegion(t *testing.T) {
	clientstest.Environment(t)
	_, err := Open(t.Context(), Options{})
	if err == nil || !strings.Contains(err.Error(), "set AWS_REGION") {
		t.Errorf("the error is %v, want the advice to set AWS_REGION", err)
	}
}

func TestEndpointsAreTakenFromTheEnvironment(t *testing.T) {
	const both, ofS3, ofSQS = "http://127.0.0.1:1", "http://127.0.0.1:2", "http://127.0.0.1:3"
	for _, test := range []struct {
		name          string
		env           []string
		wantS3        string
		wantSQS       string
		wantPathStyle bool
	}{
		{"none", nil, "", "", false},
		{"one for both", []string{"AWS_ENDPOINT_URL", both}, both, both, true},
		{"one for SQS", []string{"AWS_ENDPOINT_URL_SQS", ofSQS}, "", ofSQS, false},
		{"one for each", []string{"AWS_ENDPOINT_URL", both, "AWS_ENDPOINT_URL_S3", ofS3, "AWS_ENDPOINT_URL_SQS", ofSQS}, ofS3, ofSQS, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			clientstest.Environment(t, append(test.env, "AWS_REGION", "us-east-1")...)
			c := open(t, Options{})
			forS3, forSQS := c.S3.Options(), c.SQS.Options()
			if got := text(forS3.BaseEndpoint); got != test.wantS3 || forS3.UsePathStyle != test.wantPathStyle {
				t.Errorf("S3 is at %q, path style %t; want %q and %t", got, forS3.UsePathStyle, test.wantS3, test.wantPathStyle)
			}
			if got := text(forSQS.BaseEndpoint); got != test.wantSQS {
				t.Errorf("SQS is at %q, want %q", got, test.wantSQS)
			}
		})
	}
}

func text(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}

func TestRequestsNameThePathAndThisProgram(t *testing.T) {
	var path, agent string
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		path, agent = r.URL.Path, r.UserAgent()
		reply(w, time.Now())
	}))
	defer server.Close()
	clientstest.Environment(t, "AWS_REGION", "us-east-1", "AWS_ENDPOINT_URL", server.URL)
	head(t, open(t, Options{Version: "1.2.3"}))
	if path != "/bucket/key" || !strings.Contains(agent, "penstock/1.2.3") {
		t.Errorf("the request was for %q by %q, want /bucket/key by penstock/1.2.3", path, agent)
	}
}

func TestCertificatesOfAWSCABundleAreTrusted(t *testing.T) {
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		reply(w, time.Now())
	}))
	defer server.Close()
	bundle := filepath.Join(t.TempDir(), "bundle.pem")
	certificate := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
	if err := os.WriteFile(bundle, certificate, 0o600); err != nil {
		t.Fatal(err)
	}
	clientstest.Environment(t, "AWS_REGION", "us-east-1", "AWS_ENDPOINT_URL", server.URL, "AWS_CA_BUNDLE", bundle)
	head(t, open(t, Options{}))
}

func TestSkewIsLearnedFromReplies(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		reply(w, time.Now().Add(-time.Hour))
	}))
	defer server.Close()
	clientstest.Environment(t, "AWS_REGION", "us-east-1", "AWS_ENDPOINT_URL", server.URL)
	c := open(t, Options{})
	if got := c.Skew(); got != 0 {
		t.Errorf("the skew is %v before the first reply, want 0", got)
	}
	head(t, c)
	if got := c.Skew(); (got + time.Hour).Abs() > time.Minute {
		t.Errorf("the skew is %v, want about -1h", got)
	}
}

func TestThrottledCallsAreTriedAgain(t *testing.T) {
	calls := 0
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if calls++; calls < 3 {
			w.Header().Set("x-amzn-query-error", "RequestThrottled;Sender")
			w.WriteHeader(http.StatusBadRequest)
			w.Write([]byte(`{"__type":"com.amazonaws.sqs#RequestThrottled","message":"slow down"}`))
			return
		}
		w.Write([]byte(`{"QueueUrls":["http://q"]}`))
	}))
	defer server.Close()
	clientstest.Environment(t, "AWS_REGION", "us-east-1", "AWS_ENDPOINT_URL", server.URL)
	out, err := open(t, Options{}).SQS.ListQueues(t.Context(), &sqs.ListQueuesInput{})
	if err != nil {
		t.Fatal(err)
	}
	if len(out.QueueUrls) != 1 || calls != 3 {
		t.Errorf("%d calls gave %d queues, want 3 and 1", calls, len(out.QueueUrls))
	}
}

func TestSDKWarningsGoToTheLogger(t *testing.T) {
	core, logs := observer.New(zap.DebugLevel)
	to := logger(zap.New(core))
	to.Logf("WARN", "one %d", 1)
	to.Logf("DEBUG", "two %d", 2)
	all := logs.All()
	if len(all) != 2 || all[0].Level != zap.WarnLevel || all[0].ContextMap()["message"] != "one 1" || all[1].Level != zap.DebugLevel {
		t.Errorf("logged %+v", all)
	}
}
