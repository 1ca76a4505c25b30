package tf

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"os"
	"path/filepath"

	tensorpb "github.com/galeone/tensorflow/tensorflow/go/core/framework/tensor_go_proto"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"github.com/penstock/penstock/worker/model"
)

const (
	// warmUpFile is where TensorFlow Serving has a model's warm-up requests, in
	// its directory: a TFRecord file of tensorflow.serving.PredictionLog.
	warmUpFile = "assets.extra/tf_serving_warmup_requests"
	// maxWarmUpRequests is TensorFlow Serving's limit. The rest is not run.
	maxWarmUpRequests = 1000
	// maxWarmUpRecord bounds a record, and each tensor in it, in bytes.
	maxWarmUpRecord = 64 << 20
)

// warmUpRequest is one request of a warm-up file.
type warmUpRequest struct {
	number    int    // from 1
	signature string // may be empty
	inputs    map[string]model.Tensor
	ran       bool
}

// warmUpRequests reads the warm-up file of the model in dir; without one there
// are none. What can't be read is an error with its number alone. After one of
// the file itself nothing follows.
func warmUpRequests(dir string) iter.Seq2[*warmUpRequest, error] {
	return func(yield func(*warmUpRequest, error) bool) {
		f, err := os.Open(filepath.Join(dir, filepath.FromSlash(warmUpFile)))
		if errors.Is(err, fs.ErrNotExist) {
			return
		}
		if err != nil {
			yield(&warmUpRequest{number: 1}, err)
			return
		}
		defer f.Close()
		n := 0
		for record, err := range tfrecords(bufio.NewReader(f), maxWarmUpRecord) {
			if n++; n > maxWarmUpRequests {
				return
			}
			r := &warmUpRequest{number: n, inputs: make(map[string]model.Tensor)}
			if err == nil {
				err = r.parse(record)
			}
			if !yield(r, err) {
				return
			}
		}
	}
}

// Fields of TensorFlow Serving's messages, which the binding doesn't have:
//
//	PredictionLog { PredictLog predict_log = 6; }, beside other kinds of logs
//	PredictLog { PredictRequest request = 1; }
//	PredictRequest { ModelSpec model_spec = 1; map<string, TensorProto> inputs = 2; }
//	ModelSpec { string signature_name = 3; }
const (
	predictLog    = 6
	logRequest    = 1
	modelSpec     = 1
	requestInputs = 2
	signatureName = 3
	mapKey        = 1
	mapValue      = 2
)

// otherLogs are the kinds of requests that Penstock doesn't serve.
var otherLogs = map[protowire.Number]string{2: "classify", 3: "regress", 4: "multi-inference", 5: "session run", 7: "streamed predict"}

func (r *warmUpRequest) parse(log []byte) error {
	found, other := false, ""
	err := messages(log, func(field protowire.Number, b []byte) error {
		if field != predictLog {
			other = otherLogs[field]
			return nil
		}
		return messages(b, func(field protowire.Number, b []byte) error {
			if field != logRequest {
				return nil
			}
			found = true
			return messages(b, r.parseField)
		})
	})
	switch {
	case err != nil:
		return fmt.Errorf("it is no PredictionLog: %w", err)
	case other != "":
		return fmt.Errorf("it is a %s request; only predict requests are run", other)
	case !found:
		return errors.New("it has no predict request")
	}
	return nil
}

func (r *warmUpRequest) parseField(field protowire.Number, b []byte) error {
	switch field {
	case modelSpec:
		return messages(b, func(field protowire.Number, b []byte) error {
			if field == signatureName {
				r.signature = string(b)
			}
			return nil
		})
	case requestInputs:
		var name string
		var value tensorpb.TensorProto
		err := messages(b, func(field protowire.Number, b []byte) error {
			switch field {
			case mapKey:
				name = string(b)
			case mapValue:
				return proto.Unmarshal(b, &value)
			}
			return nil
		})
		if err == nil {
			r.inputs[name], err = fromProto(&value)
		}
		if err != nil {
			return fmt.Errorf("input %q: %w", name, err)
		}
	}
	return nil
}

// messages calls f for each field of a message that is a message, a string or
// bytes.
func messages(b []byte, f func(field protowire.Number, value []byte) error) error {
	for len(b) > 0 {
		field, kind, n := protowire.ConsumeTag(b)
		if n < 0 {
			return protowire.ParseError(n)
		}
		b = b[n:]
		if kind != protowire.BytesType {
			if n = protowire.ConsumeFieldValue(field, kind, b); n < 0 {
				return protowire.ParseError(n)
			}
			b = b[n:]
			continue
		}
		value, n := protowire.ConsumeBytes(b)
		if n < 0 {
			return protowire.ParseError(n)
		}
		if err := f(field, value); err != nil {
			return err
		}
		b = b[n:]
	}
	return nil
}
