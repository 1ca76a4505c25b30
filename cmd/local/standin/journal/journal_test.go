package journal_test

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/penstock/penstock/cmd/local/standin/broker"
	"github.com/penstock/penstock/cmd/local/standin/journal"
)

func pairs(t *testing.T, f *journal.File, table broker.Table) string {
	t.Helper()
	var all string
	err := f.Each(table, func(key, value []byte) error {
		all += string(key) + "=" + string(value) + " "
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func TestCommitsAreKeptInOrder(t *testing.T) {
	path := filepath.Join(t.TempDir(), "j.db")
	f, err := journal.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	err = f.Commit([]broker.Mutation{
		{Table: broker.States, Key: []byte("b"), Value: []byte("1")},
		{Table: broker.States, Key: []byte("a"), Value: []byte("2")},
		{Table: broker.Payloads, Key: []byte("a"), Value: []byte("3")},
		{Table: broker.States, Key: []byte("b"), Value: []byte("4")},
		{Table: broker.States, Key: []byte("c"), Value: []byte("5")},
		{Table: broker.States, Key: []byte("c")},
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	if f, err = journal.Open(path); err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if got, want := pairs(t, f, broker.States), "a=2 b=4 "; got != want {
		t.Errorf("states are %q, want %q", got, want)
	}
	if got, err := f.Get(broker.Payloads, []byte("a")); err != nil || string(got) != "3" {
		t.Errorf("payload is %q (%v), want 3", got, err)
	}
	if got, err := f.Get(broker.Payloads, []byte("b")); err != nil || got != nil {
		t.Errorf("a payload that is not there is %q (%v), want nil", got, err)
	}
}

func TestCommitIsAllOrNothing(t *testing.T) {
	f, err := journal.Open(filepath.Join(t.TempDir(), "j.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	err = f.Commit([]broker.Mutation{
		{Table: broker.States, Key: []byte("a"), Value: []byte("1")},
		{Table: broker.States, Key: nil, Value: []byte("a key is required")},
	})
	if err == nil {
		t.Error("a mutation without a key was taken")
	}
	if got := pairs(t, f, broker.States); got != "" {
		t.Errorf("states are %q after a commit that failed", got)
	}
}

func TestSecondOpenSaysThatItIsLocked(t *testing.T) {
	path := filepath.Join(t.TempDir(), "j.db")
	f, err := journal.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := journal.Open(path); !errors.Is(err, journal.ErrLocked) {
		t.Errorf("error is %v, want ErrLocked", err)
	}
}

func TestOpenReportsAFileThatIsNoJournal(t *testing.T) {
	path := filepath.Join(t.TempDir(), "j.db")
	if err := os.WriteFile(path, []byte("something else entirely"), 0o600); err != nil {
		t.Fatal(err)
	}
	if f, err := journal.Open(path); err == nil {
		f.Close()
		t.Error("it was opened")
	}
}
