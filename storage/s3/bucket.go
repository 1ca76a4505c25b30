package s3

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	awss3 "github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"github.com/penstock/penstock/storage"
)

// What follows is of whole buckets, for those who look at an installation. It
// is no part of the contract of package storage, and servers other than AWS's
// often have nothing of it: that is errors.ErrUnsupported.

// Notification is one rule by which a bucket tells of its objects.
type Notification struct {
	ID             string
	Target         string   // the ARN of a queue, topic or function; empty for EventBridge
	Events         []string // such as "s3:ObjectCreated:*"; empty for EventBridge, which gets all
	Prefix, Suffix string   // of the keys that are told of
}

// LifecycleRule is one rule by which a bucket ends things by itself.
type LifecycleRule struct {
	ID           string
	Prefix       string
	Narrow       bool  // it looks at tags or sizes as well as at the prefix
	Expires      bool  // objects are deleted
	ExpireDays   int32 // after so many days; 0 when it is at a date
	AbortUploads int32 // unfinished uploads in parts end after so many days; 0 is never
}

// Region asks where a bucket is. S3 says us-east-1 for a bucket that was made
// without a place.
func (s *Store) Region(ctx context.Context, bucket string) (string, error) {
	out, err := s.client.HeadBucket(ctx, &awss3.HeadBucketInput{Bucket: &bucket})
	if err != nil {
		return "", wrapBucket("look at", bucket, err)
	}
	if out.BucketRegion == nil {
		return "", fmt.Errorf("the region of s3://%s: %w: the reply has none", bucket, errors.ErrUnsupported)
	}
	return *out.BucketRegion, nil
}

// Notifications gives the rules by which the bucket tells of its objects.
func (s *Store) Notifications(ctx context.Context, bucket string) ([]Notification, error) {
	out, err := s.client.GetBucketNotificationConfiguration(ctx, &awss3.GetBucketNotificationConfigurationInput{Bucket: &bucket})
	if err != nil {
		return nil, wrapBucket("read the notifications of", bucket, err)
	}
	var all []Notification
	add := func(id, target *string, events []types.Event, filter *types.NotificationConfigurationFilter) {
		n := Notification{ID: value(id), Target: value(target)}
		for _, e := range events {
			n.Events = append(n.Events, string(e))
		}
		if filter != nil && filter.Key != nil {
			for _, r := range filter.Key.FilterRules {
				switch r.Name {
				case types.FilterRuleNamePrefix, "Prefix":
					n.Prefix = value(r.Value)
				case types.FilterRuleNameSuffix, "Suffix":
					n.Suffix = value(r.Value)
				}
			}
		}
		all = append(all, n)
	}
	for _, c := range out.QueueConfigurations {
		add(c.Id, c.QueueArn, c.Events, c.Filter)
	}
	for _, c := range out.LambdaFunctionConfigurations {
		add(c.Id, c.LambdaFunctionArn, c.Events, c.Filter)
	}
	for _, c := range out.TopicConfigurations {
		add(c.Id, c.TopicArn, c.Events, c.Filter)
	}
	if out.EventBridgeConfiguration != nil {
		all = append(all, Notification{ID: "EventBridge"})
	}
	return all, nil
}

// Lifecycle gives the bucket's rules that are in force; none is no error.
func (s *Store) Lifecycle(ctx context.Context, bucket string) ([]LifecycleRule, error) {
	out, err := s.client.GetBucketLifecycleConfiguration(ctx, &awss3.GetBucketLifecycleConfigurationInput{Bucket: &bucket})
	if code(err) == "NoSuchLifecycleConfiguration" {
		return nil, nil
	}
	if err != nil {
		return nil, wrapBucket("read the lifecycle rules of", bucket, err)
	}
	var all []LifecycleRule
	for _, r := range out.Rules {
		if r.Status != types.ExpirationStatusEnabled {
			continue
		}
		rule := LifecycleRule{ID: value(r.ID)}
		rule.Prefix, rule.Narrow = lifecyclePrefix(r)
		if e := r.Expiration; e != nil && (e.Days != nil || e.Date != nil) {
			rule.Expires, rule.ExpireDays = true, value(e.Days)
		}
		if a := r.AbortIncompleteMultipartUpload; a != nil {
			rule.AbortUploads = value(a.DaysAfterInitiation)
		}
		all = append(all, rule)
	}
	return all, nil
}

// lifecyclePrefix is what a rule's keys begin with. Old rules have it in
// another place.
func lifecyclePrefix(r types.LifecycleRule) (prefix string, narrow bool) {
	switch f := r.Filter; {
	case f == nil:
		//lint:ignore SA1019 S3 still gives it of old rules
		return value(r.Prefix), false
	case f.And != nil:
		return value(f.And.Prefix), true
	default:
		return value(f.Prefix), f.Tag != nil || f.ObjectSizeGreaterThan != nil || f.ObjectSizeLessThan != nil
	}
}

// wrapBucket puts an error about a bucket into the words of the contract.
func wrapBucket(step, bucket string, err error) error {
	ref := storage.Ref{Bucket: bucket}
	switch code(err) {
	case "NotImplemented", "MethodNotAllowed", "XNotImplemented":
		return fmt.Errorf("%s s3://%s: %w: %w", step, bucket, errors.ErrUnsupported, err)
	}
	switch status(err) {
	case http.StatusNotImplemented, http.StatusMethodNotAllowed:
		return fmt.Errorf("%s s3://%s: %w: %w", step, bucket, errors.ErrUnsupported, err)
	}
	if kind := classify(ref, err); kind != nil {
		return fmt.Errorf("%s s3://%s: %w: %w", step, bucket, kind, err)
	}
	return fmt.Errorf("%s s3://%s: %w", step, bucket, err)
}
