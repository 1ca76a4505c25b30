package queue

import (
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"
)

// The limits of SQS on one message, and on one batch in all.
const (
	MaxMessageBytes = 1 << 20 // body and attributes (see Outgoing.Size); also of a batch
	MaxAttributes   = 10
	MaxDelay        = 15 * time.Minute
)

// ErrInvalid says that a message can never be sent as it is: trying again is
// no use. Test with errors.Is.
var ErrInvalid = errors.New("invalid message")

// Size is what SQS counts of the message against its limits, in bytes: the
// body, and the names, types and values of the attributes.
func (o Outgoing) Size() int {
	size := len(o.Body)
	for name, value := range o.Attributes {
		size += len(name) + len("String") + len(value)
	}
	return size
}

// Validate reports what SQS would not take of the message, as an ErrInvalid.
// Adapters call it before they send, so that one bad message is refused by
// itself and doesn't take the nine others of its batch along.
func (o Outgoing) Validate() error {
	if o.Body == "" {
		return fmt.Errorf("%w: the body is empty", ErrInvalid)
	}
	if size := o.Size(); size > MaxMessageBytes {
		return fmt.Errorf("%w: body and attributes are %d bytes; SQS takes %d: put the data into S3 and send a reference", ErrInvalid, size, MaxMessageBytes)
	}
	if err := checkText(o.Body); err != nil {
		return fmt.Errorf("%w: the body has %w", ErrInvalid, err)
	}
	if o.Delay < 0 || o.Delay > MaxDelay {
		return fmt.Errorf("%w: the delay %v is not within 0 and %v", ErrInvalid, o.Delay, MaxDelay)
	}
	if len(o.Attributes) > MaxAttributes {
		return fmt.Errorf("%w: %d attributes; SQS takes %d", ErrInvalid, len(o.Attributes), MaxAttributes)
	}
	for name, value := range o.Attributes {
		if err := checkAttribute(name, value); err != nil {
			return fmt.Errorf("%w: the attribute %q %w", ErrInvalid, name, err)
		}
	}
	if err := checkID(o.Group); err != nil {
		return fmt.Errorf("%w: the group %q %w", ErrInvalid, o.Group, err)
	}
	if err := checkID(o.DedupID); err != nil {
		return fmt.Errorf("%w: the deduplication id %q %w", ErrInvalid, o.DedupID, err)
	}
	return nil
}

func checkAttribute(name, value string) error {
	lower := strings.ToLower(name)
	switch {
	case name == "" || len(name) > 256:
		return errors.New("must have a name of 1 to 256 characters")
	case strings.HasPrefix(lower, "aws.") || strings.HasPrefix(lower, "amazon."):
		return errors.New("has a name that is reserved for AWS")
	case strings.HasPrefix(name, ".") || strings.HasSuffix(name, ".") || strings.Contains(name, ".."):
		return errors.New("has a misplaced period in its name")
	case value == "":
		return errors.New("has an empty value, which SQS does not take")
	}
	for _, c := range []byte(name) {
		if !isAlphanumeric(c) && !strings.ContainsRune("_-.", rune(c)) {
			return errors.New("may have letters, digits, '_', '-' and '.' only in its name")
		}
	}
	if err := checkText(value); err != nil {
		return fmt.Errorf("has %w in its value", err)
	}
	return nil
}

// checkText reports the first thing that is not a character of XML 1.0, which
// is what SQS takes in bodies and values.
func checkText(s string) error {
	for i, r := range s {
		switch {
		case r == utf8.RuneError && !strings.HasPrefix(s[i:], "\uFFFD"):
			return fmt.Errorf("the byte 0x%02X at %d, which is not UTF-8: send binary data in base64 or by way of S3", s[i], i)
		case r < ' ' && r != '\t' && r != '\n' && r != '\r', r == '\uFFFE', r == '\uFFFF':
			return fmt.Errorf("the character %U at byte %d, which SQS does not take", r, i)
		}
	}
	return nil
}

// checkID reports what is no MessageGroupId or MessageDeduplicationId.
func checkID(id string) error {
	if len(id) > 128 {
		return fmt.Errorf("is %d characters long; SQS takes 128", len(id))
	}
	for _, c := range []byte(id) {
		if c <= ' ' || c > '~' {
			return errors.New("may have letters, digits and ASCII punctuation only")
		}
	}
	return nil
}

func isAlphanumeric(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9'
}
