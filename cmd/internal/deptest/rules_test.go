package deptest

import "strings"

// module is the path that the rules below leave out of this module's own
// packages.
const module = "github.com/penstock/penstock/"

// required are the packages that the rules were written for. One that is
// renamed or removed must not take its rules along in silence.
var required = []string{
	"queue", "queue/request", "queue/sqs", "queue/mem", "queue/queuetest",
	"storage", "storage/s3", "storage/mem", "storage/storagetest", "storage/manifest",
	"worker", "worker/terminal", "worker/job", "worker/rest", "worker/codec", "worker/jsonpath", "worker/model", "worker/model/fake", "worker/model/tf", "worker/model/source", "worker/model/catalog",
	"cmd/internal/clients", "cmd/internal/frontdoor", "cmd/internal/frontdoor/auth", "cmd/internal/frontdoor/desk", "cmd/internal/frontdoor/native", "cmd/internal/frontdoor/sagemaker", "cmd/worker", "cmd/producer", "cmd/penstock",
}

// A pattern is the path of a package; with "/..." at its end, also of those
// below it. Those of this module stand without the module's path.

const (
	awsSDK    = "github.com/aws/aws-sdk-go-v2/..."
	awsErrors = "github.com/aws/smithy-go/..."
	tfgo      = "github.com/galeone/tfgo/..."
	binding   = "github.com/galeone/tensorflow/tensorflow/go" // cgo; the generated protobufs below it are pure Go
	protobufs = binding + "/core/..."
	zap       = "go.uber.org/zap/..."
	metrics   = "github.com/prometheus/client_golang/prometheus/..."
	xsync     = "golang.org/x/sync/..."
)

type directRule struct {
	of  string
	may []string
	why string
}

// direct says what a package may import beside the standard library. The
// first rule that fits a package counts; outside cmd every package has one.
var direct = []directRule{
	{
		"queue", nil,
		"a port is a contract: who implements it or uses it inherits the standard library and nothing else",
	},
	{
		"queue/request",
		[]string{"storage"},
		"all programs share it, the Lambda producer too: it names objects, and is pure otherwise",
	},
	{
		"queue/sqs/...",
		[]string{"queue", awsSDK, awsErrors},
		"an adapter knows its own port and its technology, so that it can be replaced without touching another",
	},
	{
		"queue/sns/...",
		[]string{awsSDK, awsErrors},
		"an adapter knows its own port, here the worker's, and its technology",
	},
	{
		"queue/...",
		[]string{"queue"},
		"a queue in memory and the conformance suite know the port alone, so that they hold for every adapter",
	},
	{
		"storage", nil,
		"a port is a contract: who implements it or uses it inherits the standard library and nothing else",
	},
	{
		"storage/s3/...",
		[]string{"storage", awsSDK, awsErrors},
		"an adapter knows its own port and its technology, so that it can be replaced without touching another",
	},
	{
		"storage/...",
		[]string{"storage"},
		"a store in memory and the conformance suite know the port alone, so that they hold for every adapter; manifests are read from any",
	},
	{
		"worker/terminal/...",
		[]string{"queue/request", "storage", "storage/storagetest", "storage/mem"},
		"whoever writes a terminal object does so by its rules, be it a worker or not",
	},
	{
		"worker/job/...",
		[]string{"queue", "queue/request", "storage", "storage/manifest", "worker/codec", "worker/jsonpath", xsync},
		"a job's books are kept by workers and by the command line alike, in whatever store; of formats it knows where records end, and what a filter is",
	},
	{
		"worker/model",
		[]string{"worker/model/spelling"},
		"it is the contract with whatever runs models: TensorFlow and the fake stand below it",
	},
	{
		"worker/model/golden/...",
		[]string{"worker/model", "worker/model/source", "worker/model/tf", "worker/codec", "storage"},
		"real models on real inputs go the worker's whole way from bytes to bytes",
	},
	{
		"worker/model/tf/...",
		[]string{"worker/model", "worker/model/exif", "worker/model/savedmodel", tfgo, binding, binding + "/...", "google.golang.org/protobuf/...", zap},
		"all that knows TensorFlow is in one place, and it knows nothing of queues and stores",
	},
	{
		"worker/model/savedmodel/...",
		[]string{"worker/model", protobufs, "google.golang.org/protobuf/..."},
		"what a SavedModel says of itself is for programs without TensorFlow too",
	},
	{
		"worker/model/catalog/...",
		[]string{"worker/model", "worker/model/source", zap, metrics},
		"it decides which versions are served and knows where they lie; what loads them is given to it",
	},
	{
		"worker/model/source/...",
		[]string{"worker/model", "storage"},
		"finding a model's files needs a store, in whatever technology, and no TensorFlow",
	},
	{
		"worker/model/spelling", nil,
		"the commands' settings use it too, and it knows nothing but words",
	},
	{
		"worker/model/...",
		[]string{"worker/model", "worker/model/exif"},
		"other models, such as the fake, know their contract alone",
	},
	{
		"worker/jsonpath", nil,
		"a path is read by whoever submits a job and applied by the codec: it knows neither",
	},
	{
		"worker/codec/...",
		[]string{"worker/jsonpath", "worker/model", "worker/model/exif"},
		"it turns bytes into tensors and back; where the bytes come from is not its matter",
	},
	{
		"worker/...",
		[]string{"worker/...", "queue", "queue/request", "storage", zap, metrics, xsync},
		"the worker's heart is written against the ports: which queue, store and model it gets is decided in cmd/worker",
	},
}

// tensorFlow is what brings the C library along.
var tensorFlow = []string{tfgo, binding, "worker/model/tf/..."}

// never says what a package must not depend on, by whatever way.
var never = []struct {
	of      string
	on      []string
	inTests bool // its tests must not import it either
	why     string
}{
	{
		of: "worker", on: []string{"queue/mem/...", "storage/mem/...", "worker/model/tf/...", "worker/model/fake/..."},
		why: "an adapter that comes in by the back door makes the ports a fiction",
	},
	{
		of: "worker/...", on: []string{"queue/sqs/...", "storage/s3/...", awsSDK, "cmd/..."}, inTests: true,
		why: "the worker is built and tested against the ports, so that its tests need no server and cmd stays the only place of wiring",
	},
	{
		of: "queue/...", on: []string{"worker/...", "cmd/..."}, inTests: true,
		why: "dependencies point inward: cmd to worker and adapters, worker to ports",
	},
	{
		of: "storage/...", on: []string{"worker/...", "queue/...", "cmd/..."}, inTests: true,
		why: "dependencies point inward: cmd to worker and adapters, worker to ports",
	},
	{
		of: "cmd/producer", on: tensorFlow, inTests: true,
		why: "the Lambda producer is a small static binary: with TensorFlow it would need 600 MB of libraries and seconds to start",
	},
	{
		of: "cmd/penstock/...", on: tensorFlow, inTests: true,
		why: "the command line is pure Go and runs on machines that TensorFlow does not",
	},
	{
		of: "cmd/internal/frontdoor/...", on: []string{metrics},
		why: "the Lambda answers with the same handlers, and nobody reads a function's metrics over HTTP",
	},
	{
		of: "cmd/internal/frontdoor/native", on: []string{"cmd/internal/frontdoor/sagemaker"}, inTests: true,
		why: "two APIs share the desk, and neither knows the other",
	},
	{
		of: "cmd/internal/frontdoor/sagemaker", on: []string{"cmd/internal/frontdoor/native"}, inTests: true,
		why: "two APIs share the desk, and neither knows the other",
	},
	{
		of: "cmd/internal/...", on: tensorFlow, inTests: true,
		why: "the commands share it, so it can link only what all of them may",
	},
}

// sdk are the packages that may import the AWS SDK.
var sdk = []string{"queue/sqs/...", "queue/sns/...", "storage/s3/...", "cmd/..."}

// cgo are the packages that may link C code, and so are left out of a build
// with CGO_ENABLED=0.
var cgo = []string{"worker/model/tf/...", "worker/model/golden", "cmd/worker/..."}

// matches says whether the package of that full path fits the pattern.
func matches(pattern, path string) bool {
	path = strings.TrimPrefix(path, module)
	if parent, ok := strings.CutSuffix(pattern, "/..."); ok {
		return path == parent || strings.HasPrefix(path, parent+"/")
	}
	return path == pattern
}
