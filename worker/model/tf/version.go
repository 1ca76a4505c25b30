//go:build cgo

package tf

import tensorflow "github.com/galeone/tensorflow/tensorflow/go"

// LibraryVersion is the version of TensorFlow's library, such as "2.21.0".
func LibraryVersion() string { return tensorflow.Version() }
