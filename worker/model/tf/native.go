//go:build cgo

package tf

/*
#cgo LDFLAGS: -ltensorflow
#include "tensorflow/c/c_api.h"
#include "tensorflow/c/tf_tstring.h"

static TF_TString *string_at(TF_Tensor *t, int64_t i) {
	return (TF_TString *)TF_TensorData(t) + i;
}

static void put_string(TF_Tensor *t, int64_t i, const char *s, size_t n) {
	TF_StringCopy(string_at(t, i), s, n);
}

// strings_of points begins and sizes at the n elements of t.
static void strings_of(TF_Tensor *t, int64_t n, const char **begins, size_t *sizes) {
	for (int64_t i = 0; i < n; i++) {
		begins[i] = TF_StringGetDataPointer(string_at(t, i));
		sizes[i] = TF_StringGetSize(string_at(t, i));
	}
}
*/
import "C"

import (
	"fmt"
	"reflect"
	"runtime"
	"unsafe"

	tensorflow "github.com/galeone/tensorflow/tensorflow/go"
	"github.com/galeone/tfgo"
)

// The binding wraps C objects and exports too little of them: it frees tensors
// by finalizers only, so native memory grows until Go happens to collect; it
// hides the code of an error; and it neither reads nor writes the contents of
// string, uint32 and uint64 tensors without reflection. All three need the C
// pointer that the wrapper keeps in its field "c". And tfgo hides the session
// that it never closes. This file is the only place that knows of those fields;
// they are read, never written, and Load checks first that they are there.

// pointerIn gives the pointer that a struct keeps in an unexported field, or
// nil when it isn't made as expected.
func pointerIn(wrapper any, field string) unsafe.Pointer {
	v := reflect.ValueOf(wrapper)
	if v.Kind() != reflect.Pointer || v.Elem().Kind() != reflect.Struct {
		return nil
	}
	p := v.Elem().FieldByName(field)
	if p.Kind() != reflect.Pointer {
		return nil
	}
	return p.UnsafePointer()
}

// checkBinding errs when tfgo and the binding aren't made as this file expects.
func checkBinding() error {
	for wrapper, field := range map[reflect.Type]string{
		reflect.TypeFor[tensorflow.Tensor](): "c",
		reflect.TypeFor[tfgo.Model]():        "saved",
	} {
		f, ok := wrapper.FieldByName(field)
		if !ok || f.Type.Kind() != reflect.Pointer {
			return fmt.Errorf("%s has no pointer %q in this version of the TensorFlow binding; build with the versions that go.mod names", wrapper, field)
		}
	}
	return nil
}

// sessionOf gives the session that a tfgo model keeps.
func sessionOf(m *tfgo.Model) *tensorflow.Session {
	return (*tensorflow.SavedModel)(pointerIn(m, "saved")).Session
}

func native(t *tensorflow.Tensor) *C.TF_Tensor { return (*C.TF_Tensor)(pointerIn(t, "c")) }

// free deletes tensors at once. Nobody uses them, or memory of theirs, after.
func free(tensors []*tensorflow.Tensor) {
	for _, t := range tensors {
		if t == nil {
			continue
		}
		runtime.SetFinalizer(t, nil) // we own it now, so it isn't deleted twice
		C.TF_DeleteTensor(native(t))
	}
}

// contents is the native memory of t, valid until t is freed.
func contents(t *tensorflow.Tensor) []byte {
	c := native(t)
	return unsafe.Slice((*byte)(C.TF_TensorData(c)), C.TF_TensorByteSize(c))
}

// putString copies s into element i of the string tensor t.
func putString(t *tensorflow.Tensor, i int64, s []byte) {
	C.put_string(native(t), C.int64_t(i), (*C.char)(unsafe.Pointer(unsafe.SliceData(s))), C.size_t(len(s)))
}

// stringsOf copies the n elements of the string tensor t.
func stringsOf(t *tensorflow.Tensor, n int64) [][]byte {
	if n == 0 {
		return [][]byte{}
	}
	begins, sizes := make([]*C.char, n), make([]C.size_t, n)
	C.strings_of(native(t), C.int64_t(n), &begins[0], &sizes[0])
	list := make([][]byte, n)
	for i := range list {
		list[i] = append([]byte{}, unsafe.Slice((*byte)(unsafe.Pointer(begins[i])), sizes[i])...)
	}
	runtime.KeepAlive(t)
	return list
}

// statusCode is the canonical code of an error that the binding returned, and
// false when err isn't one of its.
func statusCode(err error) (code int, ok bool) {
	if reflect.TypeOf(err).String() != "*tensorflow.statusError" {
		return 0, false
	}
	c := pointerIn(err, "c")
	if c == nil {
		return 0, false
	}
	code = int(C.TF_GetCode((*C.TF_Status)(c)))
	runtime.KeepAlive(err)
	return code, true
}
