package standin

import (
	"encoding/base64"
	"net/url"
	"slices"
	"strings"

	"github.com/penstock/penstock/cmd/local/standin/broker"
)

// maxListed is the most queues in one reply, as in SQS.
const maxListed = 1000

// url is the URL of a queue as this caller can reach it.
func (c *call) url(name string) string {
	return "http://" + c.host + "/" + c.broker.Account() + "/" + name
}

// queue returns the name of the queue that a URL means. The host is not
// looked at: one process may be reached under several.
func (c *call) queue(queueURL string) (string, error) {
	if queueURL == "" {
		return "", missing("QueueUrl")
	}
	u, err := url.Parse(queueURL)
	if err != nil {
		return "", broker.Errorf(broker.InvalidAddress, "The address %s is not valid for this endpoint.", queueURL)
	}
	account, name, ok := strings.Cut(strings.Trim(u.Path, "/"), "/")
	if !ok {
		return "", broker.Errorf(broker.InvalidAddress, "The address %s is not valid for this endpoint: it should end in /%s/NAME.", queueURL, c.broker.Account())
	}
	if account != c.broker.Account() {
		return "", broker.Errorf(broker.QueueDoesNotExist, "The specified queue does not exist.")
	}
	return name, nil
}

func missing(parameter string) error {
	return broker.Errorf(broker.MissingParameter, "The request must contain the parameter %s.", parameter)
}

func (c *call) createQueue(in *struct {
	QueueName  string
	Attributes map[string]string
	Tags       map[string]string `json:"tags"`
},
) (any, error) {
	if in.QueueName == "" {
		return nil, missing("QueueName")
	}
	if err := c.broker.CreateQueue(in.QueueName, in.Attributes, in.Tags); err != nil {
		return nil, err
	}
	return map[string]string{"QueueUrl": c.url(in.QueueName)}, nil
}

func (c *call) deleteQueue(name string, _ *onQueue) (any, error) {
	return nil, c.broker.DeleteQueue(name)
}

func (c *call) purgeQueue(name string, _ *onQueue) (any, error) {
	return nil, c.broker.PurgeQueue(name)
}

func (c *call) queueURL(in *struct{ QueueName, QueueOwnerAWSAccountId string }) (any, error) {
	if in.QueueName == "" {
		return nil, missing("QueueName")
	}
	if owner := in.QueueOwnerAWSAccountId; owner != "" && owner != c.broker.Account() {
		return nil, broker.Errorf(broker.QueueDoesNotExist, "The specified queue does not exist.")
	}
	if err := c.broker.Exists(in.QueueName); err != nil {
		return nil, err
	}
	return map[string]string{"QueueUrl": c.url(in.QueueName)}, nil
}

func (c *call) listQueues(in *struct {
	QueueNamePrefix string
	MaxResults      *int
	NextToken       string
},
) (any, error) {
	names, err := c.broker.Queues(in.QueueNamePrefix)
	if err != nil {
		return nil, err
	}
	urls, next, err := c.page(names, in.MaxResults, in.NextToken)
	if err != nil {
		return nil, err
	}
	return struct {
		QueueUrls []string `json:",omitempty"`
		NextToken string   `json:",omitempty"`
	}{urls, next}, nil
}

func (c *call) deadLetterSources(name string, in *struct {
	onQueue
	MaxResults *int
	NextToken  string
},
) (any, error) {
	names, err := c.broker.DeadLetterSources(name)
	if err != nil {
		return nil, err
	}
	urls, next, err := c.page(names, in.MaxResults, in.NextToken)
	if err != nil {
		return nil, err
	}
	return struct {
		QueueUrls []string `json:"queueUrls"`
		NextToken string   `json:",omitempty"`
	}{urls, next}, nil
}

// page cuts sorted names to one reply. A token is the last name of the page
// before, so queues that come and go between pages do no harm.
func (c *call) page(names []string, limit *int, token string) (urls []string, next string, err error) {
	most := maxListed
	if limit != nil {
		most = *limit
	}
	if most < 1 || most > maxListed {
		return nil, "", broker.Errorf(broker.InvalidParameterValue, "Value %d for parameter MaxResults is invalid. Reason: Must be between 1 and 1000, if provided.", most)
	}
	if token != "" {
		last, err := base64.RawURLEncoding.DecodeString(token)
		if err != nil {
			return nil, "", broker.Errorf(broker.InvalidParameterValue, "Invalid or expired next token.")
		}
		i, found := slices.BinarySearch(names, string(last))
		if found {
			i++
		}
		names = names[i:]
	}
	if len(names) > most {
		names = names[:most]
		if limit != nil { // without a limit SQS gives the first thousand and no token
			next = base64.RawURLEncoding.EncodeToString([]byte(names[most-1]))
		}
	}
	urls = make([]string, 0, len(names))
	for _, name := range names {
		urls = append(urls, c.url(name))
	}
	return urls, next, nil
}

func (c *call) attributes(name string, in *struct {
	onQueue
	AttributeNames []string
},
) (any, error) {
	attributes, err := c.broker.Attributes(name, in.AttributeNames)
	if err != nil {
		return nil, err
	}
	return struct {
		Attributes map[string]string `json:",omitempty"`
	}{attributes}, nil
}

func (c *call) setAttributes(name string, in *struct {
	onQueue
	Attributes map[string]string
},
) (any, error) {
	if len(in.Attributes) == 0 {
		return nil, missing("Attribute.Name")
	}
	return nil, c.broker.SetAttributes(name, in.Attributes)
}

func (c *call) listTags(name string, _ *onQueue) (any, error) {
	tags, err := c.broker.Tags(name)
	if err != nil {
		return nil, err
	}
	return struct {
		Tags map[string]string `json:",omitempty"`
	}{tags}, nil
}

func (c *call) tag(name string, in *struct {
	onQueue
	Tags map[string]string
},
) (any, error) {
	return nil, c.broker.Tag(name, in.Tags)
}

func (c *call) untag(name string, in *struct {
	onQueue
	TagKeys []string
},
) (any, error) {
	return nil, c.broker.Untag(name, in.TagKeys)
}

// permission is what AddPermission and RemovePermission answer: nothing here
// enforces permissions, and accepting them would say otherwise.
func (c *call) permission(*struct{}) (any, error) {
	return nil, broker.Errorf(broker.UnsupportedOperation, "this local stand-in for SQS has no permissions")
}
