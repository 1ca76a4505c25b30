// Package tf runs TensorFlow SavedModels as a [model.Model], through tfgo. It
// is the only package of Penstock that needs cgo and libtensorflow; built
// without cgo, [Load] says so.
//
// tfgo panics where TensorFlow errs and hides a model's signatures. Its panics
// are recovered in one place, recovered, and signatures are read from saved_model.pb.
// Native memory is freed as soon as a run's results were copied out, not by the
// garbage collector, which can't see it: see native.go.
package tf
