package auth

import (
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
)

// kept are files in a folder, and what is logged of them.
type kept struct {
	*testing.T
	Files
	logs *observer.ObservedLogs
}

func keep(t *testing.T, tokens, keys string) *kept {
	t.Helper()
	core, logs := observer.New(zap.InfoLevel)
	k := &kept{T: t, logs: logs}
	k.Tokens, k.Keys = filepath.Join(t.TempDir(), "tokens"), filepath.Join(t.TempDir(), "keys")
	k.Token, k.TokenName, k.Log = "the-token-of-env", "ENV", zap.New(core)
	k.write(k.Tokens, tokens)
	k.write(k.Keys, keys)
	if _, err := k.Open(); err != nil {
		t.Fatal(err)
	}
	return k
}

// write puts another file into the place of one, as secrets are mounted.
func (k *kept) write(path, text string) {
	k.Helper()
	next := path + "~"
	if err := os.WriteFile(next, []byte(text), 0o600); err != nil {
		k.Fatal(err)
	}
	if err := os.Rename(next, path); err != nil {
		k.Fatal(err)
	}
}

// admits says whether a token is admitted once the files have been looked at.
func (k *kept) admits(token string) bool {
	k.looked = time.Time{}
	_, err := k.Gate().Admit(bearer(token), 1<<10)
	return err == nil
}

func TestTokensAndKeysAreExchangedWhileTheServerRuns(t *testing.T) {
	t.Parallel()
	k := keep(t, "ada first-token-of-ada\n", keysFile)
	if !k.admits("first-token-of-ada") {
		t.Fatal("the first token is not admitted")
	}
	k.write(k.Tokens, "ada other-token-of-ada\n")
	if k.admits("first-token-of-ada") || !k.admits("other-token-of-ada") || !k.admits("the-token-of-env") {
		t.Error("the exchanged token is admitted, or the new one or the environment's is not")
	}
	k.write(k.Keys, strings.ReplaceAll(keysFile, "AKIDADA", "AKIDEVE"))
	k.admits("")
	keys := k.Gate().Keys
	keys.Now = func() time.Time { return at }
	c := good()
	if caller, err := (Gate{Keys: keys}).Admit(c.signed(t), 1<<10); err == nil {
		t.Errorf("the exchanged key admits %q", caller)
	}
	c.id = "AKIDEVE"
	if _, err := (Gate{Keys: keys}).Admit(c.signed(t), 1<<10); err != nil {
		t.Errorf("the new key: %v", err)
	}
	if n := k.logs.FilterMessageSnippet("hold from now on").Len(); n != 2 {
		t.Errorf("the log tells of %d changes, want 2", n)
	}
}

func TestAFaultyFileOfTokensChangesNothingAndIsToldOnce(t *testing.T) {
	t.Parallel()
	k := keep(t, "ada first-token-of-ada\n", keysFile)
	for _, broken := range []string{"", "ada short\n", "a b c d\n"} {
		k.write(k.Tokens, broken)
		before := k.logs.Len()
		for range 3 {
			if !k.admits("first-token-of-ada") || k.admits("") {
				t.Errorf("with %q in the file the last good content does not hold", broken)
			}
		}
		told := k.logs.All()[before:]
		if len(told) != 1 || told[0].Level != zap.ErrorLevel || !strings.Contains(told[0].ContextMap()["error"].(string), "token-file: ") {
			t.Errorf("with %q in the file the log says %v, want the fault once", broken, told)
		}
	}
	if err := os.Remove(k.Tokens); err != nil {
		t.Fatal(err)
	}
	if !k.admits("first-token-of-ada") || k.admits("") || k.Gate().Open() {
		t.Error("a file that is gone opens the gate, or closes it")
	}
	k.write(k.Tokens, "ada other-token-of-ada\n")
	if k.admits("first-token-of-ada") || !k.admits("other-token-of-ada") {
		t.Error("a file that is whole again does not hold")
	}
}

func TestFilesAreLookedAtByAnyNumberOfCalls(t *testing.T) {
	t.Parallel()
	k := keep(t, "ada first-token-of-ada\n", keysFile)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 200 {
				if _, err := k.Gate().Admit(bearer("first-token-of-ada"), 1<<10); err != nil {
					t.Errorf("denied: %v", err)
				}
			}
		})
	}
	wg.Wait()
}
