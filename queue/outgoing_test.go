package queue_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/penstock/penstock/queue"
)

func TestSizeCountsNamesTypesAndValues(t *testing.T) {
	m := queue.Outgoing{Body: "12345", Attributes: map[string]string{"ab": "xyz"}}
	if got, want := m.Size(), 5+2+len("String")+3; got != want {
		t.Errorf("the size is %d, want %d", got, want)
	}
}

func TestValidateTakesWhatSQSTakes(t *testing.T) {
	for _, m := range []queue.Outgoing{
		{Body: "a"},
		{Body: "\t\r\n \u0085\uD7FF\uE000\uFFFD\U00010000\U0010FFFF"},
		{Body: strings.Repeat("x", queue.MaxMessageBytes)},
		{Body: "a", Attributes: map[string]string{"A-b_c.1": "v"}, Delay: queue.MaxDelay, Group: "a!~", DedupID: strings.Repeat("d", 128)},
	} {
		if err := m.Validate(); err != nil {
			t.Errorf("%.40q: %v", m.Body, err)
		}
	}
}

func TestValidateSaysWhatSQSWouldNotTake(t *testing.T) {
	attribute := func(name, value string) queue.Outgoing {
		return queue.Outgoing{Body: "a", Attributes: map[string]string{name: value}}
	}
	for want, m := range map[string]queue.Outgoing{
		"the body is empty":                 {},
		"put the data into S3":              {Body: strings.Repeat("x", queue.MaxMessageBytes+1)},
		"the byte 0xFF at 1":                {Body: "a\xff"},
		"the character U+0000 at byte 2":    {Body: "ab\x00"},
		"the character U+FFFE at byte 0":    {Body: "\uFFFE"},
		"the delay -1s":                     {Body: "a", Delay: -time.Second},
		"the delay 15m1s":                   {Body: "a", Delay: queue.MaxDelay + time.Second},
		"must have a name":                  attribute("", "v"),
		"reserved for AWS":                  attribute("Amazon.x", "v"),
		"misplaced period":                  attribute("a..b", "v"),
		"letters, digits, '_', '-' and '.'": attribute("a\u00e9", "v"),
		"an empty value":                    attribute("a", ""),
		"the character U+0001 at byte 0":    attribute("a", "\x01"),
		`the group "a b"`:                   {Body: "a", Group: "a b"},
		"is 129 characters long":            {Body: "a", DedupID: strings.Repeat("d", 129)},
	} {
		err := m.Validate()
		if !errors.Is(err, queue.ErrInvalid) || !strings.Contains(err.Error(), want) {
			t.Errorf("the error is %v, want ErrInvalid with %q", err, want)
		}
	}
}
