package stack

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
)

// OpenLog begins a log anew, and mirrors it where that is wanted. Close closes
// it.
func (s *Stack) OpenLog(name string) (io.Writer, error) {
	if err := os.MkdirAll(s.config.Logs, 0o755); err != nil {
		return nil, fmt.Errorf("make the folder for logs: %w", err)
	}
	f, err := os.Create(s.LogPath(name))
	if err != nil {
		return nil, fmt.Errorf("open the log: %w", err)
	}
	s.logs = append(s.logs, f)
	if s.config.Mirror != nil {
		return io.MultiWriter(f, s.config.Mirror), nil
	}
	return f, nil
}

// LogPath is where the log of this name lies.
func (s *Stack) LogPath(name string) string { return filepath.Join(s.config.Logs, name) }

// WorkerLogs are the paths of the workers' logs, as a person would write them.
func (s *Stack) WorkerLogs() string {
	if s.config.Workers > 1 {
		return s.LogPath("worker-*.log")
	}
	return s.LogPath("worker.log")
}

// DiedError says that a program ended that was to go on.
type DiedError struct {
	Name string   // of the program
	How  string   // "exit status 1"
	Log  string   // path of its log
	Tail []string // the log's last lines
}

func (e *DiedError) Error() string {
	reason := ""
	if len(e.Tail) > 0 {
		reason = ": " + reasonIn(e.Tail[len(e.Tail)-1])
	}
	return fmt.Sprintf("%s ended (%s)%s; its log is %s", e.Name, e.How, reason, e.Log)
}

// Refused says that the program did not take its settings, its queue or its
// model: the worker and bin/local end with the exit code 2 then. So does a Go
// program that panics, whose last words are where it was, or that TensorFlow
// aborts, whose last words are the processor's registers.
func (e *DiedError) Refused() bool {
	return e.How == "exit status 2" && len(e.Tail) > 0 && !crash.MatchString(e.Tail[len(e.Tail)-1])
}

// crash is the last line of Go's account of a panic, or of a signal.
var crash = regexp.MustCompile(`\.(go|s):\d+( \+0x[0-9a-f]+)?$|^[a-z]+ +0x[0-9a-f]+$`)

// reasonIn is what a log line says: for a line of zap's JSON its message and
// its error, else the line.
func reasonIn(line string) string {
	var l struct{ Msg, Error string }
	if json.Unmarshal([]byte(line), &l) != nil || l.Msg == "" {
		return line
	}
	if l.Error == "" {
		return l.Msg
	}
	return l.Msg + ": " + l.Error
}

// tailLines is how much of a log a DiedError holds.
const tailLines = 10

func (s *Stack) died(name, how, logName string) error {
	e := &DiedError{Name: name, How: how, Log: s.LogPath(logName)}
	b, err := os.ReadFile(e.Log)
	if err != nil {
		return e // it says what matters without its tail
	}
	for line := range strings.Lines(string(b)) {
		if line = strings.TrimSpace(line); line != "" && !chatter.MatchString(line) && !uneventful(line) {
			e.Tail = append(e.Tail, line)
		}
	}
	e.Tail = e.Tail[max(len(e.Tail)-tailLines, 0):]
	return e
}

// uneventful says that a line of zap's JSON is of the normal course of things.
func uneventful(line string) bool {
	var l struct{ Level string }
	return json.Unmarshal([]byte(line), &l) == nil && (l.Level == "info" || l.Level == "debug")
}

// chatter is what TensorFlow and versitygw log of their own well-being.
var chatter = regexp.MustCompile(`^I\d{4} |^WARNING: All log messages before absl::InitializeLog|^Bucket versioning enabled with directory`)
