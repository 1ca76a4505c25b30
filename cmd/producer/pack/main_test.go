package main

import (
	"archive/zip"
	"bytes"
	"io"
	"os"
	"path/filepath"
	"testing"
	"time"
)

func TestTheZipIsTheSameWheneverItIsPacked(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	program, to := filepath.Join(dir, "built"), filepath.Join(dir, "producer.zip")
	body := bytes.Repeat([]byte("program"), 1000)
	var packed [][]byte
	for _, when := range []time.Time{time.Unix(1e9, 0), time.Unix(2e9, 0)} {
		if err := os.WriteFile(program, body, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(program, when, when); err != nil {
			t.Fatal(err)
		}
		var stdout, stderr bytes.Buffer
		if code := run([]string{"-o", to, program}, &stdout, &stderr); code != 0 {
			t.Fatalf("exit code %d: %s", code, stderr.String())
		}
		b, err := os.ReadFile(to)
		if err != nil {
			t.Fatal(err)
		}
		packed = append(packed, b)
	}
	if !bytes.Equal(packed[0], packed[1]) {
		t.Error("two zips of one program differ")
	}
	z, err := zip.NewReader(bytes.NewReader(packed[0]), int64(len(packed[0])))
	if err != nil || len(z.File) != 1 {
		t.Fatalf("%d files, %v", len(z.File), err)
	}
	f := z.File[0]
	if f.Name != "bootstrap" || f.Mode() != 0o755 {
		t.Errorf("it holds %s with the mode %v, want bootstrap, which everybody may execute", f.Name, f.Mode())
	}
	r, err := f.Open()
	if err != nil {
		t.Fatal(err)
	}
	if got, err := io.ReadAll(r); err != nil || !bytes.Equal(got, body) {
		t.Errorf("it unpacks to %d bytes, %v", len(got), err)
	}
	if left, _ := filepath.Glob(filepath.Join(dir, "*.new")); len(left) > 0 {
		t.Errorf("%v is left behind", left)
	}
}

func TestPackSaysWhatItNeeds(t *testing.T) {
	t.Parallel()
	for _, args := range [][]string{nil, {"-o", "x.zip"}, {"program"}, {"-o", filepath.Join(t.TempDir(), "x.zip"), "/nowhere/bootstrap"}} {
		var stdout, stderr bytes.Buffer
		if code := run(args, &stdout, &stderr); code == 0 || stderr.Len() == 0 {
			t.Errorf("pack %q ends with %d and says %q", args, code, stderr.String())
		}
	}
}
