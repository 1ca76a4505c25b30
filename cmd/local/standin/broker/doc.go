// Package broker is the state machine of the local SQS stand-in: queues,
// messages and time, without HTTP. It is for one machine and one process and
// is no replacement for Amazon SQS.
//
// A Broker keeps everything but message payloads in memory and writes every
// change to a Journal before the call that made it returns, so what was
// acknowledged survives the death of the process at any instant: messages,
// visibility deadlines, receive counts, deduplication and receipts. Changes
// of concurrent calls share one commit. Without a Journal it is memory-only.
//
// # Where it differs from SQS, on purpose
//
//   - It delivers in order, each message once a visibility time-out, and
//     counts exactly. SQS promises none of that on standard queues.
//   - A short poll finds whatever there is. SQS asks some of its servers, and
//     an empty answer does not say that the queue is empty.
//   - A long poll whose caller goes away takes nothing. SQS may hide for a
//     visibility time-out what it was about to hand over; the handler's fault
//     drop-reply does the same.
//   - Fair queues are not imitated: a MessageGroupId on a standard queue is
//     kept and returned, nothing more.
//   - A queue's name can be used again at once after DeleteQueue; SQS wants
//     60 seconds.
//   - Encryption, policies and permissions are kept as attributes and not
//     enforced.
//   - ReceiveRequestAttemptId is ignored.
//
// # Receipts
//
// Every delivery has its own receipt. The latest one of a message is good for
// Delete until the message is gone, even when its visibility ran out, on a
// standard queue; a FIFO queue refuses it then. An older one is stale: Delete
// answers success and deletes nothing (SQS says that the message "might not
// be deleted"), ChangeVisibility answers MessageNotInflight.
package broker
