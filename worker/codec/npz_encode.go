package codec

import (
	"archive/zip"
	"bytes"
	"fmt"
	"time"

	"github.com/penstock/penstock/worker/model"
)

// refusesNPZ says why an .npz file can't hold r.
func refusesNPZ(r *result) string {
	for i, t := range r.outputs {
		if t.DType == model.String {
			return fmt.Sprintf("output %q is of strings", r.in.Signature.Outputs[i].Name)
		}
	}
	return ""
}

// encodeNPZ writes arrays named after the outputs, stored as numpy.savez does.
func encodeNPZ(r *result) ([]byte, error) {
	var b bytes.Buffer
	z := zip.NewWriter(&b)
	for i := range r.outputs {
		name := r.in.Signature.Outputs[i].Name
		w, err := z.CreateHeader(&zip.FileHeader{
			Name: name + ".npy", Method: zip.Store,
			Modified: time.Date(1980, 1, 1, 0, 0, 0, 0, time.UTC), // the least date of the format: equal results have equal bytes
		})
		if err == nil {
			_, err = w.Write(npyOf(&r.outputs[i]))
		}
		if err != nil {
			return nil, badOutput("output %q can't be put into an .npz file: %v", name, err)
		}
	}
	if err := z.Close(); err != nil {
		return nil, badOutput("the .npz file can't be ended: %v", err)
	}
	return b.Bytes(), nil
}
