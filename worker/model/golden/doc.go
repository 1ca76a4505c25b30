// Package golden holds Penstock's answers against TensorFlow for Python's. It has
// tests only.
//
// testdata has, by model, object files as users upload them and what Python said
// of each. The tests take the worker's way from the bytes of an input to those of
// a result, for each input alone and in batches with others. models.json lists
// models and inputs, for the tests as for the scripts beside it; see
// docs/correctness.md.
package golden
