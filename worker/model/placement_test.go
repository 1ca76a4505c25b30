package model

import (
	"strings"
	"testing"
)

func TestNoImageIsTooNarrowToBePlaced(t *testing.T) {
	t.Parallel()
	for _, crop := range []Crop{Stretch, CropToAspect, Letterbox, CenterCrop} {
		for _, size := range [][2]int64{{1, 1}, {1, 7}, {1, 40_000}, {40_000, 1}, {50_000_000, 1}, {3, 2}, {7001, 7000}} {
			spec := ImageSpec{Height: 224, Width: 160, Crop: crop}
			p, err := spec.Place(size[0], size[1])
			if err != nil {
				if crop != CenterCrop || max(size[0], size[1]) < 1000 {
					t.Errorf("%s of %v: %v", crop, size, err)
				}
				continue
			}
			inImage := p.Y >= 0 && p.X >= 0 && p.Height > 0 && p.Width > 0 && p.Y+p.Height <= size[0] && p.X+p.Width <= size[1]
			inRow := p.Top < 224 && p.Left < 160 && p.Top+p.ResizedHeight > 0 && p.Left+p.ResizedWidth > 0
			if !inImage || !inRow || p.ResizedHeight*p.ResizedWidth > maxResized {
				t.Errorf("%s of %v: %+v", crop, size, p)
			}
		}
	}
}

func TestTheCentreOfALongImageIsNotCutOutOfAHugeOne(t *testing.T) {
	t.Parallel()
	spec := ImageSpec{Height: 224, Width: 224, Crop: CenterCrop, ResizeShorter: 256}
	if _, err := spec.Place(1, 50_000_000); err == nil || !strings.Contains(err.Error(), "too long and narrow") {
		t.Errorf("got %v", err)
	}
	spec.ResizeShorter = 100
	if _, err := spec.Place(50, 60); err == nil || !strings.Contains(err.Error(), "less than the row's") {
		t.Errorf("got %v", err)
	}
}
