package sns

import (
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	awssns "github.com/aws/aws-sdk-go-v2/service/sns"
)

// topicsAt publishes to a server that answers with status and keeps what it got.
func topicsAt(t *testing.T, status int, reply string) (*Topics, *url.Values) {
	t.Helper()
	got := new(url.Values)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		*got, _ = url.ParseQuery(string(body))
		w.Header().Set("Content-Type", "text/xml")
		w.WriteHeader(status)
		_, _ = io.WriteString(w, reply)
	}))
	t.Cleanup(server.Close)
	return New(awssns.New(awssns.Options{
		Region: "eu-west-1", BaseEndpoint: &server.URL, RetryMaxAttempts: 1,
		Credentials: aws.NewCredentialsCache(credentials.NewStaticCredentialsProvider("id", "secret", "")),
	})), got
}

const published = `<PublishResponse xmlns="http://sns.amazonaws.com/doc/2010-03-31/"><PublishResult><MessageId>m</MessageId></PublishResult></PublishResponse>`

func TestPublishSendsTheMessageToItsTopic(t *testing.T) {
	t.Parallel()
	for topic, grouped := range map[string]bool{
		"arn:aws:sns:eu-west-1:123456789012:done":      false,
		"arn:aws:sns:eu-west-1:123456789012:done.fifo": true,
	} {
		topics, got := topicsAt(t, http.StatusOK, published)
		if err := topics.Publish(t.Context(), topic, `{"a":"é"}`, "g", "d"); err != nil {
			t.Fatal(err)
		}
		if got.Get("Action") != "Publish" || got.Get("TopicArn") != topic || got.Get("Message") != `{"a":"é"}` {
			t.Errorf("the server got %v", got)
		}
		if has := got.Get("MessageGroupId") == "g" && got.Get("MessageDeduplicationId") == "d"; has != grouped || got.Has("MessageGroupId") != grouped {
			t.Errorf("%s: the server got the group %v", topic, got)
		}
	}
}

func TestARefusalNamesTheTopic(t *testing.T) {
	t.Parallel()
	topics, _ := topicsAt(t, http.StatusNotFound, `<ErrorResponse><Error><Type>Sender</Type><Code>NotFound</Code><Message>Topic does not exist</Message></Error></ErrorResponse>`)
	err := topics.Publish(t.Context(), "arn:aws:sns:eu-west-1:123456789012:gone", "m", "g", "d")
	if err == nil || !strings.Contains(err.Error(), "arn:aws:sns:eu-west-1:123456789012:gone") || !strings.Contains(err.Error(), "Topic does not exist") {
		t.Errorf("the error is %v", err)
	}
}
