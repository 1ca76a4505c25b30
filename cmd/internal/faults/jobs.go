//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/penstock/penstock/queue/request"
	"github.com/penstock/penstock/storage"
)

// jobProof proves what docs/batch.md promises of jobs, by the built binaries
// on real servers: one large file and many small objects go through workers that
// are killed all the time, two workers share a file, and live requests go beside
// a job. It prints figures.
type jobProof struct {
	*rig
	records, objects, beside int           // the sizes
	split                    []string      // flags of jobs over the file
	killFile, killObjects    time.Duration // so often a worker is killed, on average
	dice                     *rand.Rand
	places                   request.Locations
	env                      []string
	workers                  []*jobWorker
}

// jobBucket is the bucket, and the queue of live requests; jobQueue that of jobs.
const (
	jobBucket = "proof"
	jobQueue  = "proof-batch"
)

// jobWorker is a place for a worker: whatever ends it, it is started again.
type jobWorker struct {
	mu   sync.Mutex
	now  *worker
	kept chan struct{} // closed when nobody keeps it any more
	log  *os.File
}

// proveJobs is the whole proof.
func (r *rig) proveJobs(ctx context.Context) (err error) {
	p := &jobProof{rig: r, records: 1_000_000, objects: 100_000, beside: 50_000, killFile: 2 * time.Second, killObjects: 12 * time.Second, dice: rand.New(rand.NewPCG(r.seed, 3))}
	if r.short {
		p.records, p.objects, p.beside, p.killObjects = 30_000, 2_000, 3_000, 4*time.Second
		p.split = []string{"-part-size", "65536"} // or it would be one part
	}
	r.began = time.Now()
	if err := r.open(ctx, []string{jobBucket, jobQueue}); err != nil {
		return errors.Join(err, r.close())
	}
	defer func() {
		err = errors.Join(err, r.close())
		if err == nil && !r.keep {
			err = os.RemoveAll(r.dir)
		} else if err != nil {
			err = fmt.Errorf("%w\nseed %d; logs, buckets and queues are kept in %s", err, r.seed, r.dir)
		}
	}()
	fmt.Fprintf(r.out, "seed %d, logs in %s\n", r.seed, r.dir)
	if err := p.open(); err != nil {
		return err
	}
	for _, step := range []struct {
		name string
		run  func(context.Context) error
	}{{"one file", p.oneFile}, {"many objects", p.manyObjects}, {"a file for two", p.shared}, {"beside live", p.besideLive}} {
		if err := step.run(ctx); err != nil {
			return fmt.Errorf("%s: %w", step.name, err)
		}
	}
	return nil
}

// open says where things lie.
func (p *jobProof) open() error {
	var err error
	if p.places, err = request.ParseLocations("s3://"+jobBucket+"/in/", "s3://"+jobBucket+"/out/", "s3://"+jobBucket+"/failed/", ""); err != nil {
		return err
	}
	s := p.servers.line
	p.env = append(os.Environ(),
		"AWS_ACCESS_KEY_ID="+s.AccessKey, "AWS_SECRET_ACCESS_KEY="+s.SecretKey, "AWS_REGION="+s.Region,
		"AWS_ENDPOINT_URL_S3="+s.S3, "AWS_ENDPOINT_URL_SQS="+s.SQS,
		"PENSTOCK_QUEUE_URL="+s.Queues[jobBucket], "PENSTOCK_BATCH_QUEUE_URL="+s.Queues[jobQueue],
		"PENSTOCK_INPUT=s3://"+jobBucket+"/in/", "PENSTOCK_OUTPUT=s3://"+jobBucket+"/out/", "PENSTOCK_FAILURE=s3://"+jobBucket+"/failed/",
		"PENSTOCK_MODEL="+filepath.Join(p.models, "fails_on_negative"), "PENSTOCK_ADDR=127.0.0.1:0", "PENSTOCK_VISIBILITY_TIMEOUT=15s",
	)
	return nil
}

// staff starts workers, and ends them by what it returns.
func (p *jobProof) staff(ctx context.Context, n int) (dismiss func(), err error) {
	ctx, stop := context.WithCancel(ctx)
	p.workers = nil
	dismiss = func() {
		stop()
		for _, w := range p.workers {
			<-w.kept
			w.log.Close()
		}
	}
	for i := range n {
		w := &jobWorker{kept: make(chan struct{})}
		if w.log, err = os.OpenFile(filepath.Join(p.dir, fmt.Sprintf("worker-%d.log", i+1)), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644); err != nil {
			break
		}
		p.workers = append(p.workers, w)
		go p.hold(ctx, w)
	}
	for _, w := range p.workers {
		for err == nil && w.current() == nil {
			select {
			case <-time.After(20 * time.Millisecond):
			case <-ctx.Done():
				err = ctx.Err()
			}
		}
		if err == nil {
			select {
			case <-w.current().working:
			case <-w.current().over:
				err = errors.New("a worker does not start")
			}
		}
	}
	if err != nil {
		dismiss()
	}
	return dismiss, err
}

// hold keeps a worker in its place until ctx is done.
func (p *jobProof) hold(ctx context.Context, w *jobWorker) {
	defer close(w.kept)
	for ctx.Err() == nil {
		now, err := startWorker(p.start, program{path: filepath.Join(p.binaries, "worker"), env: p.env}, w.log)
		if err != nil {
			p.say("jobs", "%v", err)
			return
		}
		w.mu.Lock()
		w.now = now
		w.mu.Unlock()
		select {
		case <-now.over:
		case <-ctx.Done():
			_ = now.terminate() // it is told by the counts if it did harm
		}
		<-now.logged
	}
}

func (w *jobWorker) current() *worker {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.now
}

// kill kills workers at random times until ctx is done, and says how many.
func (p *jobProof) kill(ctx context.Context, every time.Duration) (kills int) {
	for {
		wait := every/2 + time.Duration(p.dice.Int64N(int64(every)))
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return kills
		}
		w := p.workers[p.dice.IntN(len(p.workers))].current()
		select {
		case <-w.working: // one that starts is left alone
			w.signal(syscall.SIGKILL)
			kills++
		default:
		}
	}
}

// penstock runs the command line, and gives what it printed. An exit code of 1
// is no error: something of a job has failed.
func (p *jobProof) penstock(ctx context.Context, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, filepath.Join(p.binaries, "penstock"), args...)
	cmd.Env, cmd.Dir = p.env, p.dir
	cmd.Stderr = new(strings.Builder)
	out, err := cmd.Output()
	if e := new(exec.ExitError); errors.As(err, &e) && e.ExitCode() == 1 {
		err = nil
	}
	if err != nil {
		return "", fmt.Errorf("penstock %s: %w\n%s", strings.Join(args, " "), err, cmd.Stderr)
	}
	return string(out), nil
}

// through runs a job while workers are killed. It says how long it took and how
// many were.
func (p *jobProof) through(ctx context.Context, every time.Duration, args ...string) (took time.Duration, kills int, err error) {
	dismiss, err := p.staff(ctx, 2)
	if err != nil {
		return 0, 0, err
	}
	defer dismiss()
	killing, stop := context.WithCancel(ctx)
	var wg sync.WaitGroup
	wg.Go(func() { kills = p.kill(killing, every) })
	began := time.Now()
	_, err = p.penstock(ctx, append([]string{"batch", "submit", "-wait", "-o", "json"}, args...)...)
	stop()
	wg.Wait()
	return time.Since(began), kills, err
}

func at(key string) storage.Ref { return storage.Ref{Bucket: jobBucket, Key: key} }
