// Package standin is a local stand-in for Amazon SQS: an http.Handler that
// speaks SQS's AWS JSON 1.0 protocol to any AWS SDK. It is for one machine,
// for local mode and for tests, and is no replacement for SQS: it has one
// node, checks no signatures, permissions or encryption, and is stricter
// about order and counts than SQS is. Package broker says where it differs.
//
// The older Query protocol (form-encoded requests, XML replies) is not
// spoken: SDKs before late 2023 need an update.
package standin

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strings"

	"github.com/penstock/penstock/cmd/local/standin/broker"
	"go.uber.org/zap"
)

// maxRequest bounds a request's body: 1 MiB of payload whose every byte is
// escaped as six, and some room.
const maxRequest = 8 << 20

// target begins the header that names the action.
const target = "AmazonSQS."

// Config of a Handler. All fields may be left zero.
type Config struct {
	// Logger gets one debug line a call. Default: nothing is logged.
	Logger *zap.Logger
	// Control serves FaultsPath, so that another process can inject faults.
	// Whoever reaches the port can use it then. Default: off.
	Control bool
}

// Handler serves SQS requests. Every queue URL begins with the host that the
// request was sent to.
type Handler struct {
	broker  *broker.Broker
	log     *zap.Logger
	control bool
	faults  faults
}

// New returns a handler for the queues of b, which the caller closes.
func New(b *broker.Broker, config Config) *Handler {
	log := config.Logger
	if log == nil {
		log = zap.NewNop()
	}
	return &Handler{broker: b, log: log, control: config.Control}
}

// call is one request.
type call struct {
	*Handler
	ctx    context.Context
	host   string // for queue URLs
	sender string
	fault  Fault // zero when none strikes
}

// action runs one kind of call on its JSON input.
type action func(c *call, input []byte) (any, error)

// op makes an action of a function on typed input.
func op[In any](fn func(*call, *In) (any, error)) action {
	return func(c *call, input []byte) (any, error) {
		in := new(In)
		if err := json.Unmarshal(input, in); err != nil {
			return nil, broker.Errorf(serializationException, "the request is not what the action takes: %v", err)
		}
		return fn(c, in)
	}
}

// onQueue is in the input of actions on one queue.
type onQueue struct{ QueueUrl string }

func (q onQueue) url() string { return q.QueueUrl }

// opOn makes an action of a function on one queue, which it is told by name.
func opOn[In interface{ url() string }](fn func(c *call, name string, in *In) (any, error)) action {
	return op(func(c *call, in *In) (any, error) {
		name, err := c.queue((*in).url())
		if err != nil {
			return nil, err
		}
		return fn(c, name, in)
	})
}

var actions = map[string]action{
	"CreateQueue":                  op((*call).createQueue),
	"DeleteQueue":                  opOn((*call).deleteQueue),
	"GetQueueUrl":                  op((*call).queueURL),
	"ListQueues":                   op((*call).listQueues),
	"GetQueueAttributes":           opOn((*call).attributes),
	"SetQueueAttributes":           opOn((*call).setAttributes),
	"PurgeQueue":                   opOn((*call).purgeQueue),
	"ListDeadLetterSourceQueues":   opOn((*call).deadLetterSources),
	"ListQueueTags":                opOn((*call).listTags),
	"TagQueue":                     opOn((*call).tag),
	"UntagQueue":                   opOn((*call).untag),
	"SendMessage":                  opOn((*call).send),
	"SendMessageBatch":             opOn((*call).sendBatch),
	"ReceiveMessage":               opOn((*call).receive),
	"DeleteMessage":                op((*call).deleteMessage),
	"DeleteMessageBatch":           op((*call).deleteBatch),
	"ChangeMessageVisibility":      op((*call).changeVisibility),
	"ChangeMessageVisibilityBatch": op((*call).changeVisibilityBatch),
	"StartMessageMoveTask":         op((*call).startMove),
	"ListMessageMoveTasks":         op((*call).listMoves),
	"CancelMessageMoveTask":        op((*call).cancelMove),
	"AddPermission":                op((*call).permission),
	"RemovePermission":             op((*call).permission),
}

// ServeHTTP answers one SQS call.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if h.control && r.URL.Path == FaultsPath {
		h.serveFaults(w, r)
		return
	}
	w.Header().Set("x-amzn-RequestId", broker.NewID())
	name, input, err := readCall(w, r)
	if err != nil {
		writeError(w, err, 0)
		return
	}
	c := &call{Handler: h, ctx: r.Context(), host: r.Host, sender: accessKey(r), fault: h.faults.next(name, input)}
	if c.fault.before(c.ctx, w) {
		h.log.Debug("fault", zap.String("action", name), zap.String("kind", string(c.fault.Kind)))
		return
	}
	out, failed := actions[name](c, input)
	h.log.Debug("call", zap.String("action", name), zap.Error(failed))
	if c.fault.Kind == DropReply {
		panic(http.ErrAbortHandler) // net/http closes the connection without a reply
	}
	if failed != nil {
		writeError(w, asError(failed), 0)
		return
	}
	body := []byte("{}")
	if out != nil {
		body, failed = json.Marshal(out)
	}
	if failed != nil {
		writeError(w, broker.Errorf(broker.InternalError, "encode reply: %v", failed), 0)
		return
	}
	write(w, http.StatusOK, body)
}

// readCall returns the name of a known action and its input.
func readCall(w http.ResponseWriter, r *http.Request) (string, []byte, *broker.Error) {
	name, ok := strings.CutPrefix(r.Header.Get("X-Amz-Target"), target)
	if _, known := actions[name]; !ok || !known {
		return "", nil, broker.Errorf(unknownOperation, "the header X-Amz-Target is %q: this stand-in for SQS speaks the AWS JSON protocol and knows AmazonSQS.SendMessage and the like; if it is missing, update the SDK", r.Header.Get("X-Amz-Target"))
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxRequest))
	if _, large := errors.AsType[*http.MaxBytesError](err); large {
		return "", nil, broker.Errorf(broker.InvalidParameterValue, "One or more parameters are invalid. Reason: the request is larger than %d bytes.", maxRequest)
	}
	if err != nil {
		return "", nil, broker.Errorf(serializationException, "read request: %v", err)
	}
	if len(body) == 0 {
		body = []byte("{}")
	}
	return name, body, nil
}

// accessKey is who signed the request. The signature is not verified.
func accessKey(r *http.Request) string {
	_, credential, ok := strings.Cut(r.Header.Get("Authorization"), "Credential=")
	if !ok {
		return "anonymous"
	}
	key, _, _ := strings.Cut(credential, "/")
	return key
}
