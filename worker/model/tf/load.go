//go:build cgo

package tf

import (
	"errors"
	"fmt"
	"path/filepath"
	"runtime"
	"sync/atomic"

	tensorflow "github.com/galeone/tensorflow/tensorflow/go"
	corepb "github.com/galeone/tensorflow/tensorflow/go/core/protobuf/for_core_protos_go_proto"
	"github.com/galeone/tfgo"
	"go.uber.org/zap"
	"google.golang.org/protobuf/proto"

	"github.com/penstock/penstock/worker/model"
	"github.com/penstock/penstock/worker/model/savedmodel"
)

// Model is a loaded SavedModel.
type Model struct {
	dir        string
	opts       Options // completed
	graph      *tfgo.Model
	signatures map[string]*model.Signature
	callables  map[string]*callable
	decoders   decoders
	closed     atomic.Bool
}

var _ model.Model = (*Model)(nil)

// Load loads the SavedModel in a local directory: its graph tagged "serve",
// and every signature whose types Penstock can carry. The others are left out
// with a warning, unless none is left. Load doesn't run the model: WarmUp does.
func Load(dir string, opts Options) (*Model, error) {
	m, err := load(dir, opts.complete(dir))
	if err != nil {
		return nil, fmt.Errorf("load model %s: %w", dir, err)
	}
	return m, nil
}

func (o Options) complete(dir string) Options {
	if o.Name == "" {
		o.Name = filepath.Base(dir)
	}
	if o.Config == nil {
		o.Config = &model.Config{}
	}
	if o.Logger == nil {
		o.Logger = zap.NewNop()
	}
	if o.IntraOpThreads == 0 {
		o.IntraOpThreads = runtime.GOMAXPROCS(0)
	}
	if o.InterOpThreads == 0 {
		o.InterOpThreads = runtime.GOMAXPROCS(0)
	}
	return o
}

func load(dir string, opts Options) (*Model, error) {
	if err := checkBinding(); err != nil {
		return nil, err
	}
	metaGraph, err := savedmodel.ReadMetaGraph(dir)
	if err != nil {
		return nil, err
	}
	endpoints, refused, err := savedmodel.ReadEndpoints(metaGraph)
	if err != nil {
		return nil, err
	}
	for _, reason := range refused {
		opts.Logger.Warn("signature left out", zap.String("model", opts.Name), zap.Error(reason))
	}
	if err := checkVariables(dir); err != nil {
		return nil, err
	}
	options, err := sessionOptions(opts.IntraOpThreads, opts.InterOpThreads)
	if err != nil {
		return nil, err
	}
	m := &Model{
		dir:        dir,
		opts:       opts,
		signatures: make(map[string]*model.Signature, len(endpoints)),
		callables:  make(map[string]*callable, len(endpoints)),
	}
	if err := recovered(func() { m.graph = tfgo.LoadModel(dir, []string{savedmodel.ServeTag}, options) }); err != nil {
		return nil, withoutCode(err)
	}
	if err := m.resolve(endpoints); err != nil {
		_ = m.Close() // what matters is why
		return nil, err
	}
	return m, nil
}

// checkVariables errs when the model needs variables and their files are not
// there, as of a model that was copied in part. TensorFlow would load it, and
// fail every run.
func checkVariables(dir string) error {
	if savedmodel.HasVariables(dir) {
		return nil
	}
	d, err := savedmodel.Describe(dir)
	if err == nil && d.Variables.Count > 0 {
		err = errors.New(savedmodel.NoCheckpoint)
	}
	return err
}

// resolve finds the signatures' tensors in the graph, and holds the model file
// against them.
func (m *Model) resolve(endpoints []savedmodel.Endpoint) error {
	for _, e := range endpoints {
		c := &callable{Signature: e.Signature}
		err := recovered(func() {
			for _, n := range e.Feeds {
				c.feeds = append(c.feeds, m.graph.Op(n.Op, n.Index))
			}
			for _, n := range e.Fetches {
				c.fetches = append(c.fetches, m.graph.Op(n.Op, n.Index))
			}
		})
		if err != nil {
			return fmt.Errorf("signature %q: %w", e.Name, withoutCode(err))
		}
		if c.padding, err = model.NewPadding(e.Signature, m.opts.Config); err != nil {
			return fmt.Errorf("signature %q: %s: %w", e.Name, model.ConfigFile, err)
		}
		m.signatures[e.Name] = e.Signature
		m.callables[e.Name] = c
	}
	return m.opts.Config.Check(m.signatures)
}

// withoutCode gives the text of a panic of tfgo, which dropped the code.
func withoutCode(err error) error {
	if e, ok := errors.AsType[*model.Error](err); ok {
		return errors.New(e.Message)
	}
	return err
}

// sessionOptions sets the threads of a session. Soft placement lets a model
// that was exported for another device run here.
func sessionOptions(intraOp, interOp int) (*tensorflow.SessionOptions, error) {
	b, err := proto.Marshal(&corepb.ConfigProto{
		IntraOpParallelismThreads: int32(intraOp),
		InterOpParallelismThreads: int32(interOp),
		AllowSoftPlacement:        true,
	})
	if err != nil {
		return nil, err
	}
	return &tensorflow.SessionOptions{Config: b}, nil
}

// Name is how requests name the model.
func (m *Model) Name() string { return m.opts.Name }

// Version is the version that Load was told.
func (m *Model) Version() string { return m.opts.Version }

// Signatures maps each signature's name to its description.
func (m *Model) Signatures() map[string]*model.Signature { return m.signatures }

// Config is what the model's own file says, as Load was told.
func (m *Model) Config() *model.Config { return m.opts.Config }

// Close frees the model; a second call does nothing. No Run, WarmUp or
// DecodeImage may be under way.
func (m *Model) Close() error {
	if m.closed.Swap(true) {
		return nil
	}
	err := sessionOf(m.graph).Close()
	runtime.SetFinalizer(m.graph, nil) // which would hold the graph until the collection after the next
	m.graph, m.callables = nil, nil
	m.decoders.close()
	runtime.GC() // the graph is freed by a finalizer, and Go sees a few bytes of it
	trim()
	return err
}
