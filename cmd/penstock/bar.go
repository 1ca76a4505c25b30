package main

import (
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/dustin/go-humanize"
)

// progress is a line on a terminal that is written over and over.
type progress struct {
	w     interface{ Write([]byte) (int, error) }
	on    bool
	shown bool
}

func (l *progress) show(s string) {
	if l.on {
		fmt.Fprintf(l.w, "\r\x1b[K%s", s)
		l.shown = true
	}
}

// clear makes room for other lines.
func (l *progress) clear() {
	if l.shown {
		fmt.Fprint(l.w, "\r\x1b[K")
		l.shown = false
	}
}

// How a bar is drawn.
const (
	barDelay = 400 * time.Millisecond // what is done sooner needs none
	barPause = 200 * time.Millisecond
	barWidth = 24
)

// bar shows on a terminal how far a verb is that works on many things. What is
// printed meanwhile is printed through it. Its methods may be called
// concurrently.
type bar struct {
	total   int   // of inputs; 0 when it is not known
	bytes   int64 // of all files to upload; 0 when there are none
	columns int

	mu                      sync.Mutex
	line                    progress
	began                   time.Time
	ended, failed, uploaded int
	sent                    int64
	stop                    func()
}

// bar begins one on standard error. close ends it.
func (p *program) bar(total int, bytes int64) *bar {
	b := &bar{total: total, bytes: bytes, columns: columns(p.stderr), line: progress{w: p.stderr, on: isTerminal(p.stderr)}}
	b.start()
	return b
}

// start draws the bar from now on, if it is to be seen at all.
func (b *bar) start() {
	b.began = time.Now()
	b.stop = func() {}
	if !b.line.on {
		return
	}
	over := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		pause := barDelay
		for {
			select {
			case <-over:
				return
			case <-time.After(pause):
			}
			pause = barPause
			b.draw()
		}
	})
	b.stop = sync.OnceFunc(func() { close(over); wg.Wait() })
}

// close may be called again.
func (b *bar) close() {
	b.stop()
	b.mu.Lock()
	defer b.mu.Unlock()
	b.line.clear()
}

// print calls f, which prints whole lines, with the bar out of the way.
func (b *bar) print(f func()) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.line.clear()
	f()
}

func (b *bar) didSend(bytes int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.sent += bytes
}

func (b *bar) didUpload() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.uploaded++
}

func (b *bar) didEnd(failed bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.ended++
	if failed {
		b.failed++
	}
}

func (b *bar) draw() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.line.show(cut(b.text(time.Since(b.began)), max(b.columns-1, 20)))
}

// text is the bar, after so much time.
func (b *bar) text(took time.Duration) string {
	var parts []string
	add := func(format string, args ...any) { parts = append(parts, fmt.Sprintf(format, args...)) }
	switch {
	case b.total == 1 && b.uploaded == 0 && b.bytes > 0:
		add("%s  %s of %s uploaded", drawn(b.sent, b.bytes), humanize.Bytes(uint64(b.sent)), humanize.Bytes(uint64(b.bytes)))
	case b.total == 1:
		add("waiting for the result")
	case b.total > 0:
		add("%s  %d of %d done", drawn(int64(b.ended), int64(b.total)), b.ended, b.total)
	default:
		add("%d done", b.ended)
	}
	if b.failed > 0 {
		add("%d failed", b.failed)
	}
	if b.total != 1 && b.bytes > 0 && b.uploaded < b.total {
		add("%d uploaded (%s of %s)", b.uploaded, humanize.Bytes(uint64(b.sent)), humanize.Bytes(uint64(b.bytes)))
	}
	if rate := float64(b.ended) / took.Seconds(); b.ended > 0 && took > time.Second {
		add("%.3g/s", rate)
		if left := b.total - b.ended; left > 0 {
			add("%s left", ago(time.Duration(float64(left)/rate*float64(time.Second))))
		}
	} else {
		add("%s", ago(took))
	}
	return strings.Join(parts, "  ")
}

// drawn is the bar itself.
func drawn(done, of int64) string {
	n := int(min(done, of) * barWidth / max(of, 1))
	return strings.Repeat("█", n) + strings.Repeat("░", barWidth-n)
}
