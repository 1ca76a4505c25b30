package model

// ImageSpec says how an encoded image becomes one row: which pixels, and which
// numbers they become. A pixel p in 0..255 becomes (p*Scale - Mean[c]) / Std[c]
// when the input is of a float type, and is rounded, unscaled, when it is of an
// integer type.
//
// The image is turned upright first, then cropped and resized, then filled up,
// then inverted and scaled, and its channels and dimensions are put in order
// last. Mean and Std are in the order that the model sees.
type ImageSpec struct {
	Input    string `json:"input,omitempty"`    // which input; may be left out when there is one
	Height   int64  `json:"height,omitempty"`   // pixels; 0 takes the signature's, else the image's
	Width    int64  `json:"width,omitempty"`    // pixels; 0 takes the signature's, else the image's
	Channels int64  `json:"channels,omitempty"` // 1 grey, 3 colours, 4 with alpha; 0 takes the signature's, else 3

	// Resize is the method, by the names of tf.image.resize; empty is Bilinear.
	Resize Resize `json:"resize,omitempty"`
	// Antialias widens the method's kernel where an image is made smaller. Nil
	// is true for the methods that know it, which Nearest and Area don't.
	Antialias *bool `json:"antialias,omitempty"`
	// Crop says what becomes of an image of another aspect ratio; empty is
	// Stretch.
	Crop Crop `json:"crop,omitempty"`
	// ResizeShorter is what CenterCrop resizes the shorter side to, in pixels;
	// 0 is the larger of Height and Width.
	ResizeShorter int64 `json:"resize_shorter,omitempty"`
	// Fill is the pixel, 0..255, in the margins of Letterbox.
	Fill float64 `json:"fill,omitempty"`
	// EXIFOrientation turns a JPEG upright as its EXIF data say; nil is true.
	EXIFOrientation *bool `json:"exif_orientation,omitempty"`

	// Preset stands for Scale, Mean, Std and ColorOrder, which are then left
	// out; empty is none.
	Preset     Preset     `json:"preset,omitempty"`
	ColorOrder ColorOrder `json:"color_order,omitempty"` // empty is RGB
	Layout     Layout     `json:"layout,omitempty"`      // empty is ChannelsLast
	Scale      float64    `json:"scale,omitempty"`       // 0 means 1/255
	Mean       []float64  `json:"mean,omitempty"`        // one, or one a channel; none means 0
	Std        []float64  `json:"std,omitempty"`         // one, or one a channel; none means 1
	Invert     bool       `json:"invert,omitempty"`      // p becomes 255-p first: dark ink on white paper for a model of white on black
}

// Resize is a method of tf.image.resize.
type Resize string

// The methods of tf.image.resize.
const (
	Bilinear      Resize = "bilinear"
	Nearest       Resize = "nearest"
	Bicubic       Resize = "bicubic"
	Area          Resize = "area"
	Lanczos3      Resize = "lanczos3"
	Lanczos5      Resize = "lanczos5"
	Gaussian      Resize = "gaussian"
	MitchellCubic Resize = "mitchellcubic"
)

// antialiases says whether the method knows antialiasing.
func (r Resize) antialiases() bool { return r != Nearest && r != Area }

// Crop is a way from one aspect ratio to another.
type Crop string

// The ways, each with the function of Python that does the same.
const (
	Stretch      Crop = "none"           // resize to the row's size: tf.image.resize
	CenterCrop   Crop = "center_crop"    // resize the shorter side, then cut out the centre: keras.layers.CenterCrop
	CropToAspect Crop = "crop_to_aspect" // cut out the centre, then resize: keras.layers.Resizing(crop_to_aspect_ratio=True)
	Letterbox    Crop = "pad"            // resize the longer side, then fill the margins: tf.image.resize_with_pad
)

// ColorOrder is the order of an image's channels.
type ColorOrder string

// The orders; alpha stays the last of four.
const (
	RGB ColorOrder = "RGB"
	BGR ColorOrder = "BGR"
)

// Layout is where a row has its channels.
type Layout string

// The layouts, by Keras's names.
const (
	ChannelsLast  Layout = "channels_last"  // [height, width, channels]
	ChannelsFirst Layout = "channels_first" // [channels, height, width]
)

// Preset is a convention for pixels, by the name that
// keras.applications.imagenet_utils.preprocess_input has for it.
type Preset string

// The presets of Keras.
const (
	Caffe Preset = "caffe" // BGR, less ImageNet's mean, unscaled
	TF    Preset = "tf"    // -1..1
	Torch Preset = "torch" // 0..1, less ImageNet's mean, by its deviation
)

var presets = map[Preset]ImageSpec{
	Caffe: {ColorOrder: BGR, Scale: 1, Mean: []float64{103.939, 116.779, 123.68}},
	TF:    {Scale: 1 / 127.5, Mean: []float64{1}},
	Torch: {Mean: []float64{0.485, 0.456, 0.406}, Std: []float64{0.229, 0.224, 0.225}},
}

// Complete is the spec with its preset and every default spelled out, but for
// the three sizes. A decoder works on a complete spec.
func (s ImageSpec) Complete() ImageSpec {
	if p, ok := presets[s.Preset]; ok {
		s.Scale, s.Mean, s.Std, s.ColorOrder = p.Scale, p.Mean, p.Std, p.ColorOrder
		s.Preset = ""
	}
	if s.Scale == 0 {
		s.Scale = 1.0 / 255
	}
	if s.Resize == "" {
		s.Resize = Bilinear
	}
	if s.Antialias == nil {
		s.Antialias = new(s.Resize.antialiases())
	}
	if s.Crop == "" {
		s.Crop = Stretch
	}
	if s.ResizeShorter == 0 {
		s.ResizeShorter = max(s.Height, s.Width)
	}
	if s.EXIFOrientation == nil {
		s.EXIFOrientation = new(true)
	}
	if s.ColorOrder == "" {
		s.ColorOrder = RGB
	}
	if s.Layout == "" {
		s.Layout = ChannelsLast
	}
	return s
}

// Shape is the row's shape with its leading 1, in the layout's order.
func (s ImageSpec) Shape() []int64 {
	if s.Layout == ChannelsFirst {
		return []int64{1, s.Channels, s.Height, s.Width}
	}
	return []int64{1, s.Height, s.Width, s.Channels}
}
