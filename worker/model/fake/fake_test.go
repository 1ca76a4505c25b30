package fake_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"image"
	"image/color"
	"image/png"
	"math"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/penstock/penstock/worker/model"
	"github.com/penstock/penstock/worker/model/fake"
)

func row(values ...float32) []model.Tensor {
	t := model.Tensor{DType: model.Float32, Shape: []int64{1, int64(len(values))}}
	for _, v := range values {
		b := math.Float32bits(v)
		t.Data = append(t.Data, byte(b), byte(b>>8), byte(b>>16), byte(b>>24))
	}
	return []model.Tensor{t}
}

func first(t model.Tensor) float32 {
	d := t.Data
	return math.Float32frombits(uint32(d[0]) | uint32(d[1])<<8 | uint32(d[2])<<16 | uint32(d[3])<<24)
}

func ExampleDouble() {
	m := fake.Double(1)
	sig := m.Signatures()["serving_default"]
	results, err := m.Run(context.Background(), sig, [][]model.Tensor{row(1.5), row(-2)})
	fmt.Println(first(results[0][0]), first(results[1][0]), err)
	// Output: 3 -4 <nil>
}

func TestDelayAndRecorderUseTheBubblesClock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var rec fake.Recorder
		m := fake.Double(1, rec.Knob(), fake.Delay(time.Minute))
		var wg sync.WaitGroup
		for range 3 {
			wg.Go(func() {
				if _, err := m.Run(t.Context(), m.Signatures()["serving_default"], [][]model.Tensor{row(1), row(2)}); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		if got := rec.MostConcurrent(); got != 3 {
			t.Errorf("most concurrent runs: %d, want 3", got)
		}
		for _, b := range rec.Batches() {
			if b.Parts != 2 || b.Rows != 2 || b.End.Sub(b.Start) != time.Minute {
				t.Errorf("recorded %+v", b)
			}
		}
	})
}

func TestFailWhenFailsOnlyBatchesThatMatch(t *testing.T) {
	boom := &model.Error{Code: "INVALID_ARGUMENT", Message: "negative", Permanent: true}
	m := fake.Double(1, fake.FailWhen(func(part []model.Tensor) bool { return first(part[0]) < 0 }, boom))
	sig := m.Signatures()["serving_default"]
	if _, err := m.Run(t.Context(), sig, [][]model.Tensor{row(1), row(-1)}); !errors.Is(err, boom) {
		t.Errorf("a batch with a bad part: %v, want %v", err, boom)
	}
	if _, err := m.Run(t.Context(), sig, [][]model.Tensor{row(1)}); err != nil {
		t.Errorf("a good batch: %v", err)
	}
}

func TestFailTimesFailsThatOften(t *testing.T) {
	boom := errors.New("boom")
	m := fake.Double(1, fake.FailTimes(2, boom))
	for i, want := range []error{boom, boom, nil} {
		if _, err := m.Run(t.Context(), m.Signatures()["serving_default"], [][]model.Tensor{row(1)}); !errors.Is(err, want) {
			t.Errorf("run %d: %v, want %v", i, err, want)
		}
	}
}

func TestHangWhenHoldsUntilReleased(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		m := fake.Double(1, fake.HangWhen(func([]model.Tensor) bool { return true }, release))
		done := make(chan error, 1)
		go func() {
			_, err := m.Run(t.Context(), m.Signatures()["serving_default"], [][]model.Tensor{row(1)})
			done <- err
		}()
		time.Sleep(time.Hour)
		if len(done) != 0 {
			t.Fatal("the run ended before its release")
		}
		close(release)
		if err := <-done; err != nil {
			t.Fatal(err)
		}
	})
}

func TestCallsAgainstTheContractAreRefused(t *testing.T) {
	m := fake.Double(2)
	sig := m.Signatures()["serving_default"]
	for want, parts := range map[string][][]model.Tensor{
		"no parts":              {},
		"0 tensors":             {{}},
		"not float32":           {{{DType: model.Int8, Shape: []int64{1, 2}, Data: make([]byte, 2)}}},
		"does not fill":         {{{DType: model.Float32, Shape: []int64{1, 2}, Data: make([]byte, 4)}}},
		"has shape [1 3]":       {row(1, 2, 3)},
		"has shape [2], not [-": {{{DType: model.Float32, Shape: []int64{2}, Data: make([]byte, 8)}}},
	} {
		if _, err := m.Run(t.Context(), sig, parts); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want an error with %q", err, want)
		}
	}
	if err := m.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := m.Run(t.Context(), sig, [][]model.Tensor{row(1, 2)}); err == nil {
		t.Error("a run after Close succeeded")
	}
}

func TestDecodeImageScalesAndInverts(t *testing.T) {
	img := image.NewGray(image.Rect(0, 0, 2, 1))
	img.SetGray(0, 0, color.Gray{Y: 255})
	img.SetGray(1, 0, color.Gray{Y: 55})
	var encoded bytes.Buffer
	if err := png.Encode(&encoded, img); err != nil {
		t.Fatal(err)
	}
	m := fake.Double(1)
	spec := model.ImageSpec{Height: 1, Width: 2, Channels: 1, Invert: true}
	got, err := m.DecodeImage(t.Context(), encoded.Bytes(), spec, model.Uint8)
	if err != nil || !bytes.Equal(got.Data, []byte{0, 200}) {
		t.Errorf("uint8: %v %v, want [0 200]", got.Data, err)
	}
	spec = model.ImageSpec{Height: 1, Width: 1, Channels: 1, Scale: 1, Mean: []float64{55}, Std: []float64{100}}
	got, err = m.DecodeImage(t.Context(), encoded.Bytes(), spec, model.Float32)
	if err != nil || first(got) != 2 {
		t.Errorf("float32: %v %v, want 2", got.Data, err)
	}
	if _, err := m.DecodeImage(t.Context(), encoded.Bytes()[:20], spec, model.Float32); err == nil {
		t.Error("half an image was decoded")
	} else if e, ok := errors.AsType[*model.Error](err); !ok || !e.Permanent {
		t.Errorf("half an image: %v, want a permanent *model.Error", err)
	}
}

func TestDecodeImagePlacesAndOrders(t *testing.T) {
	img := image.NewNRGBA(image.Rect(0, 0, 2, 1))
	img.Set(0, 0, color.NRGBA{1, 2, 3, 255})
	img.Set(1, 0, color.NRGBA{4, 5, 6, 255})
	var encoded bytes.Buffer
	if err := png.Encode(&encoded, img); err != nil {
		t.Fatal(err)
	}
	spec := model.ImageSpec{
		Height: 2, Width: 2, Channels: 3, Crop: model.Letterbox, Fill: 9,
		ColorOrder: model.BGR, Layout: model.ChannelsFirst,
	}
	got, err := fake.Double(1).DecodeImage(t.Context(), encoded.Bytes(), spec, model.Uint8)
	if want := []byte{3, 6, 9, 9, 2, 5, 9, 9, 1, 4, 9, 9}; err != nil || !bytes.Equal(got.Data, want) || !slices.Equal(got.Shape, []int64{1, 3, 2, 2}) {
		t.Errorf("%v %v %v, want %v", got.Shape, got.Data, err, want)
	}
}
