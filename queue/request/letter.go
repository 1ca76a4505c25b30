package request

import "strings"

// Attributes of dead letters: messages that a person must look at, in the
// dead-letter queue. The worker sets them. A message there that has no reason
// was put there by the queue itself, for it was received too often.
//
// Whoever sends a dead letter to the queue again keeps its reason: by that a
// worker knows that the request is to be run afresh, and that its failure
// object may be replaced.
const (
	LetterReason = "penstock-reason" // why, for a person
	LetterCode   = "penstock-code"   // why, for a program: a Problem's code, or CodeUnreadable
	LetterID     = "penstock-id"     // the inference id

	// LetterRedrive names the redrive that sent the message to the queue again,
	// so that it is known when it comes back.
	LetterRedrive = "penstock-redrive"
)

// CodeUnreadable is the LetterCode of a message that is no request. It is no
// Problem's, for such a message has no failure object.
const CodeUnreadable = "UnreadableMessage"

// maxLetterText is how much of a reason a dead letter carries, in bytes, so
// that it does not crowd out the body.
const maxLetterText = 1000

// LetterText makes text fit for a message attribute of SQS: not empty, legal in
// XML, and not too long.
func LetterText(s string) string {
	s = strings.Map(func(c rune) rune {
		if c < ' ' || c == 0xFFFE || c == 0xFFFF {
			return ' '
		}
		return c
	}, strings.ToValidUTF8(s, "?"))
	if len(s) > maxLetterText {
		s = strings.ToValidUTF8(s[:maxLetterText], "") + "…"
	}
	if s == "" {
		return "-"
	}
	return s
}
