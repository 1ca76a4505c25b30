package tf

import (
	"go.uber.org/zap"

	"github.com/penstock/penstock/worker/model"
)

// Options say how a model is loaded. The zero value works.
type Options struct {
	// Name is how requests name the model. Default: the directory's base name.
	Name string
	// Version is reported with results. Default: empty, unversioned.
	Version string
	// Config is what the model's own file says; Load doesn't look for the
	// file. Default: no labels, no images.
	Config *model.Config
	// Logger hears of signatures that are left out and of warm-up runs that
	// failed. Default: none.
	Logger *zap.Logger
	// MaxBatchSize is how many rows the runs of the model will have at most;
	// WarmUp runs that many. Default: WarmUp runs one row, or what Config allows.
	MaxBatchSize int
	// IntraOpThreads is how many threads one operation may use. TensorFlow
	// keeps one pool for the process, sized by the first model that is loaded.
	// Default: GOMAXPROCS. More than the CPU quota makes runs slower.
	IntraOpThreads int
	// InterOpThreads is how many operations of one run may be computed at
	// once, shared like IntraOpThreads. -1 computes a run's operations one
	// after the other on the calling thread. Default: GOMAXPROCS.
	InterOpThreads int
}
