package tf

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	tensorpb "github.com/galeone/tensorflow/tensorflow/go/core/framework/tensor_go_proto"
	shapepb "github.com/galeone/tensorflow/tensorflow/go/core/framework/tensor_shape_go_proto"
	typespb "github.com/galeone/tensorflow/tensorflow/go/core/framework/types_go_proto"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"github.com/penstock/penstock/worker/model"
)

// message is a field that is a message.
func message(number protowire.Number, value []byte) []byte {
	return protowire.AppendBytes(protowire.AppendTag(nil, number, protowire.BytesType), value)
}

// record puts a record's length and checksums around it.
func record(b []byte) []byte {
	head := binary.LittleEndian.AppendUint64(nil, uint64(len(b)))
	head = binary.LittleEndian.AppendUint32(head, maskedChecksum(head))
	return binary.LittleEndian.AppendUint32(append(head, b...), maskedChecksum(b))
}

func shapeProto(dims ...int64) *shapepb.TensorShapeProto {
	s := &shapepb.TensorShapeProto{}
	for _, d := range dims {
		s.Dim = append(s.Dim, &shapepb.TensorShapeProto_Dim{Size: d})
	}
	return s
}

func tensorBytes(t *testing.T, dtype typespb.DataType, shape []int64, content []byte) []byte {
	t.Helper()
	b, err := proto.Marshal(&tensorpb.TensorProto{Dtype: dtype, TensorShape: shapeProto(shape...), TensorContent: content})
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// readWarmUp reads a warm-up file.
func readWarmUp(t *testing.T, file []byte) (requests []*warmUpRequest, errs []string) {
	t.Helper()
	dir := t.TempDir()
	path := filepath.Join(dir, filepath.FromSlash(warmUpFile))
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, file, 0o644); err != nil {
		t.Fatal(err)
	}
	for r, err := range warmUpRequests(dir) {
		if err != nil {
			errs = append(errs, fmt.Sprintf("%d: %v", r.number, err))
		} else {
			requests = append(requests, r)
		}
	}
	return requests, errs
}

func TestAWarmUpFileIsReadUpToAThousandRequests(t *testing.T) {
	t.Parallel()
	one := record(message(predictLog, message(logRequest, message(modelSpec, message(signatureName, []byte("s"))))))
	requests, errs := readWarmUp(t, bytes.Repeat(one, 1200))
	if len(requests) != 1000 || len(errs) != 0 || requests[999].signature != "s" || requests[999].number != 1000 {
		t.Errorf("%d requests, errors %v", len(requests), errs)
	}
}

func TestWhatIsWrongWithAWarmUpFileIsToldByItsRecord(t *testing.T) {
	t.Parallel()
	good := record(message(predictLog, message(logRequest, nil)))
	flipped := bytes.Clone(good)
	flipped[13] ^= 1
	long := binary.LittleEndian.AppendUint64(nil, 1<<40)
	long = binary.LittleEndian.AppendUint32(long, maskedChecksum(long))
	huge := message(requestInputs, message(mapValue, tensorBytes(t, 1, []int64{1 << 20, 1 << 20}, nil)))
	half := message(requestInputs, append(message(mapKey, []byte("x")), message(mapValue, tensorBytes(t, 19, nil, nil))...))
	for name, c := range map[string]struct {
		file []byte
		says string
	}{
		"cut off in its length": {good[:5], "2: the file is cut off"},
		"cut off":               {good[:len(good)-6], "2: the file is cut off"},
		"cut off at its sum":    {good[:len(good)-2], "2: the file is cut off"},
		"damaged":               {flipped, "2: its checksum is wrong"},
		"no TFRecord":           {[]byte("{\"instances\": [1, 2]}"), "2: the checksum of its length is wrong"},
		"too long":              {long, "2: it has 1099511627776 bytes"},
		"no message":            {record([]byte{0xff}), "2: it is no PredictionLog"},
		"nothing":               {record(nil), "2: it has no predict request"},
		"another kind":          {record(message(3, nil)), "2: it is a regress request"},
		"a huge tensor":         {record(message(predictLog, message(logRequest, huge))), `2: it is no PredictionLog: input "": its shape has more elements`},
		"another type":          {record(message(predictLog, message(logRequest, half))), `input "x": it is of type float16`},
	} {
		requests, errs := readWarmUp(t, append(bytes.Clone(good), c.file...))
		if len(requests) != 1 || len(errs) != 1 || !strings.Contains(errs[0], c.says) {
			t.Errorf("%s: %d requests, %v; want %q", name, len(requests), errs, c.says)
		}
	}
}

func TestTensorsAreReadFromEachOfTheirLists(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		proto *tensorpb.TensorProto
		want  string
	}{
		{&tensorpb.TensorProto{Dtype: 1, TensorShape: shapeProto(2), TensorContent: []byte{0, 0, 128, 63, 0, 0, 0, 64}}, "[2] [0 0 128 63 0 0 0 64]"},
		{&tensorpb.TensorProto{Dtype: 1, TensorShape: shapeProto(3), FloatVal: []float32{1, 2}}, "[3] [0 0 128 63 0 0 0 64 0 0 0 64]"},
		{&tensorpb.TensorProto{Dtype: 2, TensorShape: shapeProto(), DoubleVal: []float64{1}}, "[] [0 0 0 0 0 0 240 63]"},
		{&tensorpb.TensorProto{Dtype: 3, TensorShape: shapeProto(2), IntVal: []int32{-2}}, "[2] [254 255 255 255 254 255 255 255]"},
		{&tensorpb.TensorProto{Dtype: 4, TensorShape: shapeProto(3), IntVal: []int32{7, 200}}, "[3] [7 200 200]"},
		{&tensorpb.TensorProto{Dtype: 17, TensorShape: shapeProto(1), IntVal: []int32{513}}, "[1] [1 2]"},
		{&tensorpb.TensorProto{Dtype: 9, TensorShape: shapeProto(1), Int64Val: []int64{-1}}, "[1] [255 255 255 255 255 255 255 255]"},
		{&tensorpb.TensorProto{Dtype: 22, TensorShape: shapeProto(1), Uint32Val: []uint32{5}}, "[1] [5 0 0 0]"},
		{&tensorpb.TensorProto{Dtype: 23, TensorShape: shapeProto(1), Uint64Val: []uint64{5}}, "[1] [5 0 0 0 0 0 0 0]"},
		{&tensorpb.TensorProto{Dtype: 10, TensorShape: shapeProto(3), BoolVal: []bool{false, true}}, "[3] [0 1 1]"},
		{&tensorpb.TensorProto{Dtype: 5, TensorShape: shapeProto(2)}, "[2] [0 0 0 0]"},
		{&tensorpb.TensorProto{Dtype: 1, TensorShape: shapeProto(0, 5)}, "[0 5] []"},
		{&tensorpb.TensorProto{Dtype: 7, TensorShape: shapeProto(3), StringVal: [][]byte{[]byte("a"), []byte("b")}}, "[3] [a b b]"},
		{&tensorpb.TensorProto{Dtype: 7, TensorShape: shapeProto(2)}, "[2] [ ]"},
		{&tensorpb.TensorProto{Dtype: 1, TensorShape: shapeProto(2), TensorContent: make([]byte, 7)}, "needs 8 bytes, there are 7"},
		{&tensorpb.TensorProto{Dtype: 1, TensorShape: shapeProto(1), FloatVal: []float32{1, 2}}, "needs 4 bytes, there are 8"},
		{&tensorpb.TensorProto{Dtype: 7, TensorShape: shapeProto(1), StringVal: make([][]byte, 2)}, "needs 1 strings, there are 2"},
		{&tensorpb.TensorProto{Dtype: 7, TensorShape: shapeProto(1 << 24)}, "too many strings"},
		{&tensorpb.TensorProto{Dtype: 9, TensorShape: shapeProto(1 << 25)}, "more bytes than"},
		{&tensorpb.TensorProto{Dtype: 1, TensorShape: shapeProto(1<<33, 1<<33)}, "more elements than"},
		{&tensorpb.TensorProto{Dtype: 1, TensorShape: shapeProto(-1)}, "the dimension -1"},
		{&tensorpb.TensorProto{Dtype: 1, TensorShape: &shapepb.TensorShapeProto{UnknownRank: true}}, "no shape"},
		{&tensorpb.TensorProto{Dtype: 14}, "type bfloat16"},
	} {
		got, err := fromProto(c.proto)
		said := fmt.Sprint(got.Shape, " ", got.Data)
		if got.Bytes != nil {
			said = fmt.Sprintf("%v %s", got.Shape, got.Bytes)
		}
		if err != nil {
			said = err.Error()
		}
		if err == nil && said != c.want || !strings.Contains(said, c.want) {
			t.Errorf("%v: %s, want %s", c.proto, said, c.want)
		}
	}
}

func FuzzWarmUpRequest(f *testing.F) {
	b, err := os.ReadFile(filepath.Join(testModel("warmed/1"), filepath.FromSlash(warmUpFile)))
	if err != nil {
		f.Fatal(err)
	}
	for record, err := range tfrecords(bytes.NewReader(b), maxWarmUpRecord) {
		if err != nil {
			f.Fatal(err)
		}
		f.Add(bytes.Clone(record))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		r := warmUpRequest{inputs: map[string]model.Tensor{}}
		if r.parse(b) != nil {
			return
		}
		for name, in := range r.inputs {
			if n := model.Elements(in.Shape); n != int64(len(in.Bytes)) && n*int64(in.DType.Size()) != int64(len(in.Data)) {
				t.Errorf("%s: %v does not fill its shape", name, in.Shape)
			}
		}
	})
}
