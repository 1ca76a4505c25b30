// Package codec turns the bytes of an input object into the tensors that a
// model's signature takes, and a model's tensors into the bytes of a result
// object.
//
// It is written for input that nobody vetted: whatever the bytes are, the
// answer is tensors or an *Error that tells their author what is wrong with
// them. It never panics and never takes memory out of proportion to the input.
//
// # Inputs
//
// What an input is follows from its content type; where that is missing or
// generic (application/octet-stream, S3's binary/octet-stream), from the
// extension of its name, then from the model file's default; failing that, from
// its first bytes.
//
// Any of them may be compressed with gzip: by its content encoding, by the
// content type application/gzip or the extension .gz, or just so.
//
// TensorFlow Serving's predict JSON, row format {"instances": [...]} and column
// format {"inputs": ...}, as TensorFlow Serving reads it, with these choices:
//
//   - Whole numbers for an integer input carry no fraction or exponent (1.0 is
//     refused) and fit the type.
//   - Numbers for a float input are rounded correctly. One too large for the
//     type (1e39 for float32) is refused, and so is a whole number that the
//     type can't hold exactly (16777217 for float32): it is likely to be an id.
//   - NaN, Infinity and -Infinity, and Inf for short, are numbers of a float
//     input, though JSON has no such words.
//   - A string must be valid UTF-8 and have no unpaired surrogates; other bytes
//     travel as {"b64": "..."}.
//   - A key may appear once in an object. A byte order mark in front is
//     skipped. Nesting ends at 64 levels.
//
// JSON lines: each line is one instance, written as an element of "instances"
// is. Blank lines are passed over. A file that begins like a predict request
// has to be one, and nothing else.
//
// CSV (RFC 4180, with \n or \r\n): each record is a row. A first record that
// names inputs is a header: "x" is the column of an input with one value a row,
// "x[0]", "x[1]" and so on are those of one with several. With one input the
// columns may also have no header, and be its values in order, or one of the
// user's own names: for an input of numbers, a first record without any number
// is such a header. text/csv's parameter header=present or header=absent
// overrides that. Numbers are as strict as in JSON; nan, inf and -inf are taken
// in any case, true, false, 1 and 0 for booleans. Fields of numbers may have
// spaces around them, those of strings are taken as they are. Blank lines are
// passed over, so that a lone empty string is written "".
//
// NumPy's .npy, for signatures with one input: any element order and byte
// order; a type that widens to the input's without loss (uint8 or float16 to
// float32) is widened, any other is refused. An array of one dimension less than
// the input is one row.
//
// NumPy's .npz, stored or deflated: arrays named after the inputs, each as
// .npy; others are passed over. The only array of a file is the only input's,
// whatever its name.
//
// TFRecord, each record a row and its checksums checked. A record is a
// tf.Example whose features are called after the inputs: an int64_list for
// integers and booleans (0 and 1), a float_list for floats, a bytes_list for
// strings; a single byte string for a uint8 input is its elements. Their values
// are in row-major order. Other features are passed over. If the model takes
// one string a row and the first record has no feature called after that input,
// the model parses its records itself, and each is an element as it is.
//
// PNG and JPEG, for models whose penstock.json has an "image" section.
//
// Text, in UTF-8, is one string of a model that takes strings, one a row. For
// such a model any content that has no decoder, and images too, is one string
// as it is. text/plain is the weakest of content types: where the extension is
// another format's, it counts.
//
// The bytes of a tensor, row-major and little-endian, for signatures with one
// input and only when the content type is application/x-tensor-bytes: nothing
// in them could tell. Its parameter shape=2x28x28 says the shape where the
// signature leaves more than the number of rows open, and dtype=float32, which
// may be left out, guards against another one.
//
// # Records
//
// JSON lines, CSV and TFRecord are sequences of records. Decode makes one input
// of all of them, and the first bad one is its error. OpenRecords reads them
// piece by piece, in memory that doesn't depend on their number, and reports a
// bad one in its place; Results writes what comes of them. Both read a record
// by the same parts. Unlike Decode, a stream takes records of different shapes
// where the signature leaves dimensions open. A record has at most 1<<20 fields
// of CSV, or strings.
//
// # Results
//
// TensorFlow Serving's JSON, or what Accept asks for. Floats are written so that
// they read back to the bit, NaN and infinities included.
//
// In JSON and JSON lines, a prediction a line, a string that isn't valid UTF-8
// is written as {"b64": "..."}, as all strings of an output whose name ends in
// "_bytes" are.
//
// CSV has a row a line: the values of a sole output, with no header unless
// header=present is asked for, or the columns of several outputs below a header
// of their names, "y" for one value a row and "y[0]", "y[1]" for several. The
// content type says header=present where there is one.
//
// .npy is for one output, .npz for any number; neither holds strings. The
// labels of a model file are written in JSON and JSON lines only.
package codec

import (
	"context"
	"errors"

	"github.com/penstock/penstock/worker/jsonpath"
	"github.com/penstock/penstock/worker/model"
)

// Source says what is known of an input before its bytes are read.
type Source struct {
	ContentType     string // as the uploader gave it; may be empty or a generic one
	ContentEncoding string // as the uploader gave it: gzip, or none
	Name            string // the object's key: its extension is the second clue
	Signature       string // the signature that the request asks for; empty leaves it to the body, else "serving_default", else the only one
	MaxPixels       int64  // an image with more is refused before it is decoded; 0 means DefaultMaxPixels
	MaxBytes        int64  // what is compressed and becomes more bytes is refused by Decode; 0 means DefaultMaxBytes. OpenRecords has a bound of its own
	MaxRecordBytes  int64  // a longer record of JSON lines, CSV or TFRecord is a bad one; 0 means DefaultMaxRecordBytes

	// Excerpt is for OpenRecords: what it reads is a part of a larger file.
	Excerpt *Excerpt
	// Texts is for OpenRecords: records keep their text. It counts as memory of
	// their chunk.
	Texts bool
	// Filter is for OpenRecords: what of each record is decoded. A record of JSON
	// lines is the value of its line; one of CSV is an array of its columns, and
	// so is the header. One in which the path finds nothing is bad. Texts are
	// those of whole records.
	Filter jsonpath.Path

	byDefault bool // ContentType is the model file's
}

// DefaultMaxPixels bounds width times height of an image: 50 megapixels, which
// take 150 MB as decoded RGB.
const DefaultMaxPixels = 50_000_000

// Input is a decoded request body.
type Input struct {
	Signature *model.Signature
	Tensors   []model.Tensor // one for each of Signature.Inputs, in order
	// Rows is the common first dimension: the number of instances. It is 1
	// when the signature has no batch dimension.
	Rows int64
	// Column says that the body was in TF Serving's column format: the result
	// then is {"outputs": ...} instead of {"predictions": ...}.
	Column bool
}

// Error is what is wrong with an input or with what was asked of it.
type Error struct {
	Code    string // one of the Code constants
	Message string // what and where: one sentence, lower case, no full stop
	Hint    string // what its author can do; may be empty
}

// Codes of Error.
const (
	CodeUnsupportedType  = "UnsupportedMediaType" // no decoder for this kind of content
	CodeMalformed        = "MalformedInput"       // not what its type says it is: broken JSON, a truncated image
	CodeInvalidShape     = "InvalidShape"         // well-formed, but of another shape than the model takes; ragged
	CodeInvalidDType     = "InvalidDType"         // an element of another type than the model takes
	CodeEmpty            = "EmptyInput"           // no bytes, or no instances
	CodeTooLarge         = "InputTooLarge"        // more pixels or decompressed bytes than the limit
	CodeUnknownSignature = "UnknownSignature"     // the model has no such signature
	CodeNotAcceptable    = "NotAcceptable"        // no encoder for what Accept asks for
	CodeBadOutput        = "InvalidModelOutput"   // the model's outputs can't be written in the asked format
	CodeNothingSelected  = "NothingSelected"      // a filter's path finds nothing there
)

func (e *Error) Error() string { return e.Code + ": " + e.Message }

// Decode reads body as what src says it is and fits it to a signature of m.
// The tensors may share memory with body. An error that is an *Error is the
// input's fault; a *model.Error comes from decoding an image.
func Decode(ctx context.Context, body []byte, src Source, m model.Model) (*Input, error) {
	body, src, err := unpack(body, src, m)
	if err != nil {
		return nil, err
	}
	f, err := formatOf(body, src)
	if e, ok := errors.AsType[*Error](err); ok && e.Code == CodeUnsupportedType {
		if in, ok := decodeOpaque(body, src, m); ok {
			return in, nil
		}
	}
	if err != nil {
		return nil, err
	}
	return f.decode(ctx, body, src, m)
}

// Encode writes the outputs that the model gave for in, in the best format
// that accept (an HTTP Accept header; empty means the model file's, else
// TensorFlow Serving's JSON) allows. outputs has one tensor for each of
// in.Signature.Outputs, in order. Where their first dimensions are not
// in.Rows, JSON has the column format, {"outputs": ...}, and formats of rows
// refuse them. The error is an *Error.
func Encode(in *Input, outputs []model.Tensor, m model.Model, accept string) (body []byte, contentType string, err error) {
	if err := checkOutputs(in.Signature, outputs); err != nil {
		return nil, "", err
	}
	r := &result{in: in, outputs: outputs, config: m.Config()}
	r.column = in.Column || refusesRows(r) != ""
	e, err := negotiate(accept, r, func(e *encoding) string { return e.refuses(r) })
	if err != nil {
		return nil, "", err
	}
	body, err = e.encode(r)
	if err != nil {
		return nil, "", err
	}
	return body, r.mediaType, nil
}
