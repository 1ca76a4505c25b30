package source

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// id is the cache's name for the n-th of some contents.
func id(n int) string { return fmt.Sprintf("%0*x", idLength, n) }

// fillWith fills an entry with one file.
func fillWith(contents string) func(*tree) error {
	return func(t *tree) error {
		_, err := t.write(modelDir+"/"+GraphFile, strings.NewReader(contents))
		return err
	}
}

func take(t *testing.T, c *Cache, n, size int) *entry {
	t.Helper()
	e, err := c.take(t.Context(), id(n), int64(size), fillWith(strings.Repeat("x", size)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(e.release)
	return e
}

func (c *Cache) has(n int) bool {
	_, err := os.Stat(filepath.Join(c.Dir, id(n)))
	return err == nil
}

func TestADamagedEntryIsFetchedAnew(t *testing.T) {
	t.Parallel()
	c := &Cache{Dir: t.TempDir()}
	for name, damage := range map[string]func(dir string) error{
		"shorter": func(dir string) error { return os.Truncate(filepath.Join(dir, modelDir, GraphFile), 0) },
		"other bytes": func(dir string) error {
			return os.WriteFile(filepath.Join(dir, modelDir, GraphFile), []byte("yyyy"), 0o644)
		},
		"gone":         func(dir string) error { return os.Remove(filepath.Join(dir, modelDir, GraphFile)) },
		"no checksums": func(dir string) error { return os.Remove(filepath.Join(dir, sumsFile)) },
		"no lines":     func(dir string) error { return os.WriteFile(filepath.Join(dir, sumsFile), []byte("zz"), 0o644) },
	} {
		e := take(t, c, 1, 4)
		e.release()
		if err := damage(e.dir); err != nil {
			t.Fatal(err)
		}
		e = take(t, c, 1, 4)
		if b, err := os.ReadFile(filepath.Join(e.dir, modelDir, GraphFile)); string(b) != "xxxx" {
			t.Errorf("%s: it holds %q, %v", name, b, err)
		}
		e.release()
	}
	if entries, _ := os.ReadDir(c.Dir); len(entries) != 1 {
		t.Errorf("the cache has %d entries, want 1", len(entries))
	}
}

func TestProcessesThatShareACacheEndWithOneWholeEntry(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	var all sync.WaitGroup
	for i := range 16 {
		all.Go(func() {
			c := &Cache{Dir: dir, Limit: 1} // each as its own process, locks are per open file
			e, err := c.take(t.Context(), id(i%2), 4, fillWith("xxxx"))
			if err != nil {
				t.Error(err)
				return
			}
			defer e.release()
			if err := verify(e.dir); err != nil {
				t.Errorf("held, and yet: %v", err)
			}
		})
	}
	all.Wait()
	entries, _ := os.ReadDir(dir)
	for _, e := range entries {
		if !isID(e.Name()) {
			t.Errorf("%s is left", e.Name())
		}
	}
}

// Several find the same damage at the same time: what one of them has put in the
// damaged entry's place the others leave alone.
func TestWhoFindsDamageDoesNotRemoveWhatHasTakenItsPlace(t *testing.T) {
	t.Parallel()
	for range 50 { // who is first, and by how much, is the scheduler's
		c := &Cache{Dir: t.TempDir()}
		e := take(t, c, 1, 4)
		e.release()
		if err := os.Remove(filepath.Join(e.dir, modelDir, GraphFile)); err != nil {
			t.Fatal(err)
		}
		var all sync.WaitGroup
		for range 4 {
			all.Go(func() {
				e, err := c.take(t.Context(), id(1), 4, fillWith("xxxx"))
				if err != nil {
					t.Error(err)
					return
				}
				time.Sleep(5 * time.Millisecond) // the model is being loaded
				if err := verify(e.dir); err != nil {
					t.Errorf("held, and yet: %v", err)
				}
				e.release()
			})
		}
		all.Wait()
	}
}

// What is about to be removed can be another by then.
func TestAnEntryThatHasTakenAnothersPlaceIsNotRemovedForIt(t *testing.T) {
	t.Parallel()
	c := &Cache{Dir: t.TempDir()}
	take(t, c, 1, 4).release()
	old, err := os.Open(filepath.Join(c.Dir, id(1)))
	if err != nil {
		t.Fatal(err)
	}
	defer old.Close()
	if err := c.discard(id(1), old); err != nil || c.has(1) {
		t.Errorf("it was not removed: %v", err)
	}
	e := take(t, c, 1, 4)
	defer e.release()
	if err := c.discard(id(1), old); err != nil || !c.has(1) {
		t.Errorf("the one in its place is gone: %v", err)
	}
	if err := verify(e.dir); err != nil {
		t.Error(err)
	}
}

func TestTheCacheMakesRoomByWhatIsUnusedTheLongest(t *testing.T) {
	t.Parallel()
	c := &Cache{Dir: t.TempDir(), Limit: 1000}
	writeFile(t, filepath.Join(c.Dir, "somebody's", "file"), strings.Repeat("x", 2000))
	for n := range 4 {
		e := take(t, c, n, 200) // with their checksums, more than 250
		if n != 1 {
			e.release()
		}
		age := time.Now().Add(time.Duration(n-10) * time.Hour)
		if err := os.Chtimes(e.dir, age, age); err != nil {
			t.Fatal(err)
		}
	}
	take(t, c, 0, 200).release() // used again
	take(t, c, 4, 200)
	for n, want := range []bool{true, true, false, false, true} {
		if c.has(n) != want {
			t.Errorf("entry %d is there: %v", n, !want)
		}
	}
	if _, err := os.Stat(filepath.Join(c.Dir, "somebody's", "file")); err != nil {
		t.Errorf("what is none of the cache's: %v", err)
	}
}

// A process that is being started has all open files of its parent for a moment,
// locks included, until it becomes another program.
func TestAnEntryThatIsReleasedIsFreeThoughItsFileIsStillOpenSomewhere(t *testing.T) {
	t.Parallel()
	c := &Cache{Dir: t.TempDir()}
	e := take(t, c, 1, 4)
	copied, err := syscall.Dup(int(e.lock.Fd())) // as a fork has it
	if err != nil {
		t.Fatal(err)
	}
	defer syscall.Close(copied)
	if c.remove(id(1)) {
		t.Error("an entry that is held was removed")
	}
	e.release()
	if !c.remove(id(1)) || c.has(1) {
		t.Error("an entry that nobody holds can't be removed")
	}
}

// TestMain is also the process that is killed in mid-download.
func TestMain(m *testing.M) {
	if dir := os.Getenv("FILL_CACHE_AND_HANG"); dir != "" {
		_, err := (&Cache{Dir: dir}).take(context.Background(), id(1), 4, func(t *tree) error {
			if err := fillWith("xx")(t); err != nil {
				return err
			}
			fmt.Println("half")
			time.Sleep(time.Hour) // it is killed before
			return nil
		})
		fmt.Println(err)
		os.Exit(1)
	}
	os.Exit(m.Run())
}

func TestAKillInMidDownloadLeavesNothingThatIsUsed(t *testing.T) {
	t.Parallel()
	c := &Cache{Dir: t.TempDir()}
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), program)
	cmd.Env = append(os.Environ(), "FILL_CACHE_AND_HANG="+c.Dir)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	said := make([]byte, 5)
	if _, err := out.Read(said); err != nil || string(said) != "half\n" {
		t.Fatalf("it said %q, %v", said, err)
	}
	old := func() string {
		entries, err := os.ReadDir(c.Dir)
		if err != nil || len(entries) != 1 || isID(entries[0].Name()) {
			t.Fatalf("the cache has %v, %v; want what is half", entries, err)
		}
		dir, age := filepath.Join(c.Dir, entries[0].Name()), time.Now().Add(-time.Hour)
		if err := os.Chtimes(dir, age, age); err != nil {
			t.Fatal(err)
		}
		return dir
	}
	dir := old()
	c.trim(0)
	if _, err := os.Stat(dir); err != nil {
		t.Errorf("a download that goes on was removed: %v", err)
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	if _, ok := errors.AsType[*exec.ExitError](cmd.Wait()); !ok {
		t.Error("it was not killed")
	}
	e := take(t, c, 1, 4)
	if b, err := os.ReadFile(filepath.Join(e.dir, modelDir, GraphFile)); string(b) != "xxxx" {
		t.Errorf("it holds %q, %v", b, err)
	}
	if _, err := os.Stat(dir); err == nil {
		t.Error("what the killed process left is still there")
	}
}
