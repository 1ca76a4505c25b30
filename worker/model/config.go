package model

// ConfigFile is the name of the model's own file. It lies in the SavedModel's
// directory, beside saved_model.pb, or one directory up, beside the version
// directories; the nearer one wins.
const ConfigFile = "penstock.json"

// Config is what a model's own file says. The zero value, no file, is a model
// without labels that takes no images.
type Config struct {
	// Labels name the classes of LabelOutput, by index. A prediction of that
	// output is then answered as {"label","confidence","scores"}.
	Labels []string `json:"labels,omitempty"`
	// LabelsFile is a text file in the folder of the model file that holds
	// Labels, one a line, instead of them; [ReadConfig] reads it.
	LabelsFile string `json:"labels_file,omitempty"`
	// LabelOutput is the output that Labels name; it may be left out when the
	// signature has one output.
	LabelOutput string `json:"label_output,omitempty"`
	// TopK is how many labels "scores" holds, best first; 0 means 5.
	TopK int `json:"top_k,omitempty"`
	// LabelThreshold leaves labels with a lower score out of "scores"; 0 leaves
	// out none. "label" and "confidence" are the best one's all the same.
	LabelThreshold float64 `json:"label_threshold,omitempty"`
	// Activation turns the scores of LabelOutput into probabilities where
	// labels are answered, for a model that gives logits: Softmax, Sigmoid, or
	// empty for scores as they are.
	Activation Activation `json:"activation,omitempty"`
	// Image says how an encoded image becomes an input row; nil refuses images.
	Image *ImageSpec `json:"image,omitempty"`
	// MaxBatchSize lowers the worker's own limit for this model, in rows; 0
	// leaves it.
	MaxBatchSize int `json:"max_batch_size,omitempty"`
	// AllowedBatchSizes are the only numbers of rows that a run has, in
	// ascending order: a batch between two of them is filled with rows of its own.
	// The last is the largest batch. None allows any number.
	AllowedBatchSizes []int `json:"allowed_batch_sizes,omitempty"`
	// BatchTimeoutMicros replaces the worker's own batch timeout for this
	// model, in microseconds; nil leaves it.
	BatchTimeoutMicros *int64 `json:"batch_timeout_micros,omitempty"`
	// MaxConcurrentBatches is how many runs of this model may be under way at
	// once, so that it leaves runners to the others; 0 is no limit of its own.
	MaxConcurrentBatches int `json:"max_concurrent_batches,omitempty"`
	// Pad says, by input, how rows of different lengths get into one batch.
	// Without it only rows of the same shape share a run.
	Pad map[string]Pad `json:"pad,omitempty"`
	// Trim names, by output, the input whose padding is cut off that output
	// again: wherever the output has the padded length in a dimension that its
	// signature leaves open, it is cut back to the row's own.
	Trim map[string]string `json:"trim,omitempty"`
	// Signature runs where neither the request nor its body names one; empty
	// means "serving_default", else the only one.
	Signature string `json:"signature,omitempty"`
	// ContentType is what an input is whose own content type and extension say
	// nothing; Accept is the form of a result for which nobody asked otherwise.
	ContentType string `json:"content_type,omitempty"`
	Accept      string `json:"accept,omitempty"`
	// RecordErrors says what becomes of an input of many records of which some
	// are bad: "report" (or empty) writes each error in its record's place,
	// "fail" fails the input.
	RecordErrors string `json:"record_errors,omitempty"`
}

// Activation is what happens to the scores of labelled classes.
type Activation string

// The activations.
const (
	Softmax Activation = "softmax" // one class of all: they add up to 1
	Sigmoid Activation = "sigmoid" // each class for itself, between 0 and 1
)

// Pad says how an input's open dimensions, but for the first, are filled up.
type Pad struct {
	// Value fills: a number, a boolean or a string, as the input's type is. Nil
	// is zero, false or the empty string.
	Value any `json:"value,omitempty"`
	// Sizes are what an open dimension is filled up to, in ascending order: the
	// least that is large enough. A longer row keeps its size. None means the
	// next power of two.
	Sizes []int64 `json:"sizes,omitempty"`
}
