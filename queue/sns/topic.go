// Package sns publishes to topics of Amazon SNS.
package sns

import (
	"context"
	"fmt"

	awssns "github.com/aws/aws-sdk-go-v2/service/sns"
)

// Topics publishes messages. Its method may be called concurrently.
type Topics struct{ client *awssns.Client }

// New publishes by client.
func New(client *awssns.Client) *Topics { return &Topics{client} }

// Publish sends message, of at most 256 KiB, to the topic of that ARN. A
// FIFO topic (its name ends in .fifo) gets group as its message group, and
// dedup tells its copies.
func (t *Topics) Publish(ctx context.Context, topic, message, group, dedup string) error {
	in := &awssns.PublishInput{TopicArn: &topic, Message: &message}
	if len(topic) > 5 && topic[len(topic)-5:] == ".fifo" {
		in.MessageGroupId, in.MessageDeduplicationId = &group, &dedup
	}
	if _, err := t.client.Publish(ctx, in); err != nil {
		return fmt.Errorf("publish to %s: %w", topic, err)
	}
	return nil
}
