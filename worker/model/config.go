package model

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
)

// ConfigFile is the name of the model's own file. It lies in the SavedModel's
// directory, beside saved_model.pb, or one directory up, beside the version
// directories; the nearer one wins.
const ConfigFile = "penstock.json"

// Config is what a model's own file says. The zero value, no file, is a model
// without labels that takes no images.
type Config struct {
	// Labels name the classes of Output, by index. A prediction of that output
	// is then answered as {"label","confidence","scores"}.
	Labels []string `json:"labels,omitempty"`
	// LabelOutput is the output that Labels name; it may be left out when the
	// signature has one output.
	LabelOutput string `json:"label_output,omitempty"`
	// TopK is how many labels "scores" holds, best first; 0 means 5.
	TopK int `json:"top_k,omitempty"`
	// Image says how an encoded image becomes an input row; nil refuses images.
	Image *ImageSpec `json:"image,omitempty"`
	// MaxBatchSize lowers the worker's own limit for this model, in rows; 0
	// leaves it.
	MaxBatchSize int `json:"max_batch_size,omitempty"`
	// AllowedBatchSizes are the only numbers of rows that a run has, in
	// ascending order: a batch between two of them is filled with zero rows.
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

// ImageSpec says how an encoded image becomes one row [height, width, channels].
// A pixel p in 0..255 becomes (p*Scale - Mean[c]) / Std[c] when the input is
// of a float type, and is cast unscaled when it is uint8 or an int.
type ImageSpec struct {
	Input    string    `json:"input,omitempty"`    // which input; may be left out when there is one
	Height   int64     `json:"height,omitempty"`   // pixels; 0 takes the signature's
	Width    int64     `json:"width,omitempty"`    // pixels; 0 takes the signature's
	Channels int64     `json:"channels,omitempty"` // 1 grey, 3 RGB, 4 RGBA; 0 takes the signature's
	Scale    float64   `json:"scale,omitempty"`    // 0 means 1/255
	Mean     []float64 `json:"mean,omitempty"`     // one, or one a channel; none means 0
	Std      []float64 `json:"std,omitempty"`      // one, or one a channel; none means 1
	Invert   bool      `json:"invert,omitempty"`   // p becomes 255-p first: dark ink on white paper for a model of white on black
}

// ParseConfig reads and validates a model file. All faults are reported at
// once, joined.
func ParseConfig(b []byte) (*Config, error) {
	var c Config
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	if err := d.Decode(&c); err != nil {
		return nil, fmt.Errorf("%s: %w", ConfigFile, err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("%s: there is more behind the JSON object", ConfigFile)
	}
	if err := c.validate(); err != nil {
		return nil, err
	}
	return &c, nil
}

func (c *Config) validate() error {
	var errs []error
	fault := func(format string, args ...any) {
		errs = append(errs, fmt.Errorf(ConfigFile+": "+format, args...))
	}
	if c.TopK < 0 {
		fault("top_k is %d; it must not be negative", c.TopK)
	}
	if c.MaxBatchSize < 0 {
		fault("max_batch_size is %d; it must not be negative", c.MaxBatchSize)
	}
	if c.LabelOutput != "" && len(c.Labels) == 0 {
		fault("label_output is %q, but there are no labels", c.LabelOutput)
	}
	seen := make(map[string]bool)
	for i, l := range c.Labels {
		if l == "" || seen[l] {
			fault("labels: number %d, %q, is empty or a repetition; each class needs a name of its own", i, l)
		}
		seen[l] = true
	}
	if s := c.Image; s != nil {
		if s.Height < 0 || s.Width < 0 {
			fault("image: height %d and width %d must not be negative", s.Height, s.Width)
		}
		switch s.Channels {
		case 0, 1, 3, 4:
		default:
			fault("image: channels is %d; it must be 1, 3 or 4", s.Channels)
		}
		for name, list := range map[string][]float64{"mean": s.Mean, "std": s.Std} {
			if n := int64(len(list)); n > 1 && s.Channels != 0 && n != s.Channels {
				fault("image: %s has %d numbers; it must have 1 or one a channel (%d)", name, n, s.Channels)
			}
		}
		for _, v := range s.Std {
			if v == 0 {
				fault("image: std must not hold 0")
			}
		}
	}
	return errors.Join(errs...)
}
