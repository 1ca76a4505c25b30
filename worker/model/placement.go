package model

import "fmt"

// Placement says which pixels of an upright image come where in a row: the box
// Y, X, Height, Width is cut out of the image, resized to ResizedHeight,
// ResizedWidth, and put into the row with its corner at Top, Left. What lies
// beyond the row is cut off; what is left empty is filled.
type Placement struct {
	Y, X, Height, Width         int64
	ResizedHeight, ResizedWidth int64
	Top, Left                   int64
}

// maxResized bounds the pixels that a long and narrow image is resized to
// before its centre is cut out.
const maxResized = 1 << 25

// Place finds the place of an upright image of height, width in a row of
// s.Height, s.Width; all four are positive. It counts in float32 where Python's
// functions do, so that it rounds as they do. It errs when CenterCrop would
// make a narrow image too large.
func (s ImageSpec) Place(height, width int64) (Placement, error) {
	p := Placement{Height: height, Width: width, ResizedHeight: s.Height, ResizedWidth: s.Width}
	switch s.Crop {
	case CropToAspect:
		p.Height = min(height, max(1, int64(float32(width*s.Height)/float32(s.Width))))
		p.Width = min(width, max(1, int64(float32(height*s.Width)/float32(s.Height))))
		p.Y, p.X = (height-p.Height)/2, (width-p.Width)/2
	case Letterbox:
		h, w := float32(height), float32(width)
		ratio := max(w/float32(s.Width), h/float32(s.Height))
		p.ResizedHeight = min(s.Height, max(1, int64(h/ratio)))
		p.ResizedWidth = min(s.Width, max(1, int64(w/ratio)))
		p.Top = int64((float32(s.Height) - h/ratio) / 2)
		p.Left = int64((float32(s.Width) - w/ratio) / 2)
	case CenterCrop:
		return s.placeCentre(p)
	}
	return p, nil
}

// placeCentre resizes the shorter side and cuts the centre out of the result.
func (s ImageSpec) placeCentre(p Placement) (Placement, error) {
	n := s.ResizeShorter
	if n == 0 {
		n = max(s.Height, s.Width)
	}
	p.ResizedHeight, p.ResizedWidth = n, n
	if p.Height > p.Width {
		p.ResizedHeight = scaled(n, p.Height, p.Width)
	} else {
		p.ResizedWidth = scaled(n, p.Width, p.Height)
	}
	if p.ResizedHeight > max(maxResized, s.Height*s.Width)/p.ResizedWidth {
		return p, fmt.Errorf("%d x %d pixels are too long and narrow for %q: with the shorter side at %d it would have %d x %d",
			p.Width, p.Height, CenterCrop, n, p.ResizedWidth, p.ResizedHeight)
	}
	if p.ResizedHeight < s.Height || p.ResizedWidth < s.Width {
		return p, fmt.Errorf("%d x %d pixels with the shorter side at %d make %d x %d, less than the row's %d x %d",
			p.Width, p.Height, n, p.ResizedWidth, p.ResizedHeight, s.Width, s.Height)
	}
	p.Top, p.Left = -((p.ResizedHeight - s.Height) / 2), -((p.ResizedWidth - s.Width) / 2)
	return p, nil
}

// scaled is n*long/short, rounded down.
func scaled(n, long, short int64) int64 { return n * long / short }
