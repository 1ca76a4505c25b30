package s3_test

import (
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"reflect"
	"testing"

	"github.com/penstock/penstock/storage"
	"github.com/penstock/penstock/storage/s3"
)

const notificationsXML = `<?xml version="1.0" encoding="UTF-8"?>
<NotificationConfiguration xmlns="http://s3.amazonaws.com/doc/2006-03-01/">
<QueueConfiguration><Id>up</Id><Queue>arn:aws:sqs:eu-west-1:1:q</Queue><Event>s3:ObjectCreated:Put</Event><Event>s3:ObjectCreated:Copy</Event>
<Filter><S3Key><FilterRule><Name>Prefix</Name><Value>in/</Value></FilterRule><FilterRule><Name>Suffix</Name><Value>.png</Value></FilterRule></S3Key></Filter></QueueConfiguration>
<CloudFunctionConfiguration><Id>fn</Id><CloudFunction>arn:aws:lambda:eu-west-1:1:function:f</CloudFunction><Event>s3:ObjectCreated:*</Event></CloudFunctionConfiguration>
<EventBridgeConfiguration/>
</NotificationConfiguration>`

const lifecycleXML = `<?xml version="1.0" encoding="UTF-8"?>
<LifecycleConfiguration xmlns="http://s3.amazonaws.com/doc/2006-03-01/">
<Rule><ID>parts</ID><Filter/><Status>Enabled</Status><AbortIncompleteMultipartUpload><DaysAfterInitiation>1</DaysAfterInitiation></AbortIncompleteMultipartUpload></Rule>
<Rule><ID>records</ID><Filter><Prefix>.penstock/requests/</Prefix></Filter><Status>Enabled</Status><Expiration><Days>7</Days></Expiration></Rule>
<Rule><ID>tagged</ID><Filter><And><Prefix>out/</Prefix><Tag><Key>a</Key><Value>b</Value></Tag></And></Filter><Status>Enabled</Status><Expiration><Days>1</Days></Expiration></Rule>
<Rule><ID>old</ID><Prefix>failed/</Prefix><Status>Enabled</Status><Expiration><Days>30</Days></Expiration></Rule>
<Rule><ID>off</ID><Filter/><Status>Disabled</Status><Expiration><Days>1</Days></Expiration></Rule>
</LifecycleConfiguration>`

func TestABucketsRulesAreRead(t *testing.T) {
	t.Parallel()
	s := open(t, func(w http.ResponseWriter, r *http.Request) {
		q := r.URL.Query()
		switch {
		case r.Method == http.MethodHead:
			w.Header().Set("x-amz-bucket-region", "eu-west-1")
		case q.Has("notification"):
			fmt.Fprint(w, notificationsXML)
		case q.Has("lifecycle"):
			fmt.Fprint(w, lifecycleXML)
		}
	})
	if region, err := s.Region(t.Context(), "bucket"); err != nil || region != "eu-west-1" {
		t.Errorf("the region is %q, %v", region, err)
	}
	notifications, err := s.Notifications(t.Context(), "bucket")
	if want := []s3.Notification{
		{ID: "up", Target: "arn:aws:sqs:eu-west-1:1:q", Events: []string{"s3:ObjectCreated:Put", "s3:ObjectCreated:Copy"}, Prefix: "in/", Suffix: ".png"},
		{ID: "fn", Target: "arn:aws:lambda:eu-west-1:1:function:f", Events: []string{"s3:ObjectCreated:*"}},
		{ID: "EventBridge"},
	}; err != nil || !reflect.DeepEqual(notifications, want) {
		t.Errorf("the notifications are %+v, %v; want %+v", notifications, err, want)
	}
	rules, err := s.Lifecycle(t.Context(), "bucket")
	if want := []s3.LifecycleRule{
		{ID: "parts", AbortUploads: 1},
		{ID: "records", Prefix: ".penstock/requests/", Expires: true, ExpireDays: 7},
		{ID: "tagged", Prefix: "out/", Narrow: true, Expires: true, ExpireDays: 1},
		{ID: "old", Prefix: "failed/", Expires: true, ExpireDays: 30},
	}; err != nil || !reflect.DeepEqual(rules, want) {
		t.Errorf("the rules are %+v, %v; want %+v", rules, err, want)
	}
}

func TestWhatABucketDoesNotTellIsSaidAsSuch(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		status int
		code   string
		want   error
	}{
		{501, "NotImplemented", errors.ErrUnsupported},
		{405, "MethodNotAllowed", errors.ErrUnsupported},
		{404, "NoSuchBucket", fs.ErrNotExist},
		{403, "AccessDenied", storage.ErrForbidden},
	} {
		s := open(t, func(w http.ResponseWriter, r *http.Request) { refuse(w, r, test.status, test.code) })
		_, notificationsErr := s.Notifications(t.Context(), "bucket")
		_, lifecycleErr := s.Lifecycle(t.Context(), "bucket")
		for step, err := range map[string]error{"notifications": notificationsErr, "lifecycle": lifecycleErr} {
			if !errors.Is(err, test.want) {
				t.Errorf("%s after %s: %v, want %v", step, test.code, err, test.want)
			}
		}
	}
	none := open(t, func(w http.ResponseWriter, r *http.Request) { refuse(w, r, 404, "NoSuchLifecycleConfiguration") })
	if rules, err := none.Lifecycle(t.Context(), "bucket"); err != nil || len(rules) != 0 {
		t.Errorf("a bucket without rules gave %+v, %v", rules, err)
	}
}
