//go:build image && linux

// Package image_test starts what is in the images, in a place where nothing else
// is, as a container would be started: see check.sh.
package image_test

import (
	"bufio"
	"context"
	"encoding/json"
	"io/fs"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	awss3 "github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/penstock/penstock/storage"
	"github.com/penstock/penstock/storage/s3"
)

// top is the repository, seen from this package.
const top = "../.."

// image is an image whose files lie below root.
type image struct {
	root       string
	user       uint32
	env        []string
	entrypoint []string
	health     []string
}

func open(t *testing.T, name string) image {
	t.Helper()
	work := os.Getenv("IMAGES")
	if work == "" {
		t.Fatal("IMAGES is not set: run deploy/image/check.sh")
	}
	b, err := os.ReadFile(filepath.Join(work, name+".json"))
	if err != nil {
		t.Fatal(err)
	}
	var inspected struct {
		Docker struct {
			Config struct {
				User        string
				Env         []string
				Entrypoint  []string
				Healthcheck struct{ Test []string }
			} `json:"config"`
		}
	}
	if err := json.Unmarshal(b, &inspected); err != nil {
		t.Fatal(err)
	}
	c := inspected.Docker.Config
	number, _, _ := strings.Cut(c.User, ":")
	user, err := strconv.ParseUint(number, 10, 32)
	if err != nil || user == 0 {
		t.Fatalf("the user is %q, want the number of one that is not root", c.User)
	}
	i := image{filepath.Join(work, "root", name), uint32(user), c.Env, c.Entrypoint, nil}
	if len(c.Healthcheck.Test) > 0 {
		i.health = c.Healthcheck.Test[1:] // after CMD
	}
	return i
}

// command is one that runs in the image. It is process 1 of its own, as in a
// container, and ends with this one.
func (i image) command(ctx context.Context, argv, env []string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Dir = "/"
	cmd.Env = slices.Concat(i.env, env)
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Chroot: i.root, Credential: &syscall.Credential{Uid: i.user, Gid: i.user},
		Cloneflags: syscall.CLONE_NEWPID | syscall.CLONE_NEWIPC, Pdeathsig: syscall.SIGKILL,
	}
	return cmd
}

// files are all below dir, sorted.
func (i image) files(t *testing.T, dir string) []string {
	t.Helper()
	var all []string
	err := fs.WalkDir(os.DirFS(filepath.Join(i.root, dir)), ".", func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			all = append(all, path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// local is S3 and SQS on this machine, with the producer between them.
type local struct {
	S3, SQS              string
	Queues               map[string]string
	AccessKey, SecretKey string
}

func startLocal(t *testing.T) local {
	t.Helper()
	program, err := filepath.Abs(filepath.Join(top, "bin", "local"))
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(program, "-state", t.TempDir(), "-buckets", "penstock", "-queues", "penstock")
	cmd.Env = append(os.Environ(), locations...)
	cmd.Stderr = os.Stderr
	stdin, err := cmd.StdinPipe() // its end ends the program
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatalf("%v; make build", err)
	}
	t.Cleanup(func() { _ = stdin.Close(); _ = cmd.Wait() })
	line, err := bufio.NewReader(stdout).ReadBytes('\n')
	if err != nil {
		t.Fatal(err)
	}
	var l local
	if err := json.Unmarshal(line, &l); err != nil {
		t.Fatal(err)
	}
	return l
}

var locations = []string{
	"PENSTOCK_INPUT=s3://penstock/in/", "PENSTOCK_OUTPUT=s3://penstock/out/", "PENSTOCK_FAILURE=s3://penstock/failed/",
}

// settings are what a container is told.
func (l local) settings() []string {
	return slices.Concat(locations, []string{
		"PENSTOCK_QUEUE_URL=" + l.Queues["penstock"], "PENSTOCK_MODEL=s3://penstock/models/digits/",
		"PENSTOCK_VISIBILITY_TIMEOUT=12s",
		"AWS_ENDPOINT_URL_S3=" + l.S3, "AWS_ENDPOINT_URL_SQS=" + l.SQS, "AWS_REGION=us-east-1",
		"AWS_ACCESS_KEY_ID=" + l.AccessKey, "AWS_SECRET_ACCESS_KEY=" + l.SecretKey,
	})
}

// store opens its S3 for this process.
func (l local) store() storage.Store {
	return s3.New(awss3.New(awss3.Options{
		BaseEndpoint: aws.String(l.S3), UsePathStyle: true, Region: "us-east-1",
		Credentials: credentials.NewStaticCredentialsProvider(l.AccessKey, l.SecretKey, ""),
	}))
}

const digits = top + "/worker/model/testdata/digits"

// uploadModel puts the digits model where the worker is told to look for it.
func uploadModel(t *testing.T, store storage.Store) {
	t.Helper()
	files := os.DirFS(digits)
	for _, pattern := range []string{"*.json", "1/*", "1/*/*"} {
		names, err := fs.Glob(files, pattern)
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range names {
			if body, err := fs.ReadFile(files, name); err == nil { // a folder is read as its files
				put(t, store, "models/digits/"+name, body)
			}
		}
	}
}

func put(t *testing.T, store storage.Store, key string, body []byte) {
	t.Helper()
	if _, err := store.Put(t.Context(), storage.Ref{Bucket: "penstock", Key: key}, body, storage.PutOptions{}); err != nil {
		t.Fatal(err)
	}
}

// eventually waits until ok says so.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(time.Minute); !ok(); time.Sleep(50 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%s: not within a minute", what)
		}
	}
}

func freeAddr(t *testing.T) string {
	t.Helper()
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

func TestTheWorkersImageHoldsWhatIsNeededAndNoMore(t *testing.T) {
	got := open(t, "worker").files(t, "opt/penstock")
	want := []string{
		"LICENSE", "bin/healthy", "bin/worker",
		"lib/LICENSE", "lib/THIRD_PARTY_NOTICES.txt", "lib/libtensorflow_cc.so.2", "lib/libtensorflow_framework.so.2",
	}
	if !slices.Equal(got, want) {
		t.Errorf("it holds %q, want %q", got, want)
	}
}

func TestTheWorkerInItsImageServesADigitAndDrains(t *testing.T) {
	i, l := open(t, "worker"), startLocal(t)
	store := l.store()
	uploadModel(t, store)
	addr := freeAddr(t)
	env := append(l.settings(), "PENSTOCK_ADDR="+addr)
	healthy := func() bool { return i.command(t.Context(), i.health, env).Run() == nil }

	if healthy() {
		t.Fatal("healthy before it was started")
	}
	worker := i.command(t.Context(), i.entrypoint, env)
	worker.Stderr = os.Stderr
	if err := worker.Start(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the health check", healthy)
	if ready, err := http.Get("http://" + addr + "/readyz"); err != nil || ready.StatusCode != http.StatusOK {
		t.Fatalf("healthy, but /readyz says %v, %v", ready, err)
	}

	body, err := os.ReadFile(digits + "/images/0247-label-0.png")
	if err != nil {
		t.Fatal(err)
	}
	put(t, store, "in/zero.png", body)
	var result struct{ Predictions []struct{ Label string } }
	eventually(t, "the result", func() bool {
		object, err := store.Get(t.Context(), storage.Ref{Bucket: "penstock", Key: "out/zero.png.out"}, storage.GetOptions{})
		if err != nil {
			return false
		}
		defer object.Body.Close()
		if err := json.NewDecoder(object.Body).Decode(&result); err != nil {
			t.Fatal(err)
		}
		return true
	})
	if len(result.Predictions) != 1 || result.Predictions[0].Label != "0" {
		t.Errorf("the result is %+v, want a zero", result)
	}

	if err := worker.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := worker.Wait(); err != nil {
		t.Errorf("after SIGTERM: %v, want exit code 0", err)
	}
	if healthy() {
		t.Error("healthy after its end")
	}
}

func TestTheFrontDoorsImageRuns(t *testing.T) {
	i := open(t, "serve")
	said, err := i.command(t.Context(), []string{i.entrypoint[0], "-version"}, nil).CombinedOutput()
	if err != nil || len(said) == 0 {
		t.Errorf("it said %q, %v", said, err)
	}
	if _, err := os.Stat(filepath.Join(i.root, "etc/ssl/certs/ca-certificates.crt")); err != nil {
		t.Errorf("it can't tell AWS from others: %v", err)
	}
}
