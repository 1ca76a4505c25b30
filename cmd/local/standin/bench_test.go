package standin_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/penstock/penstock/cmd/local/standin"
	"github.com/penstock/penstock/cmd/local/standin/broker"
	"github.com/penstock/penstock/cmd/local/standin/journal"
)

// clients is how many there are at a time.
const clients = 16

// rig is a server with the queue q, and a client without an SDK's cost.
type rig struct {
	url    string
	client *http.Client
}

func newRig(b *testing.B, durable bool) *rig {
	b.Helper()
	var j broker.Journal
	if durable {
		file, err := journal.Open(filepath.Join(b.TempDir(), "queues.db"))
		if err != nil {
			b.Fatal(err)
		}
		j = file
	}
	core, err := broker.New(broker.Config{}, j)
	if err != nil {
		b.Fatal(err)
	}
	server := httptest.NewServer(standin.New(core, standin.Config{}))
	b.Cleanup(func() {
		server.Close()
		if err := core.Close(); err != nil {
			b.Error(err)
		}
	})
	if err := core.CreateQueue("q", nil, nil); err != nil {
		b.Fatal(err)
	}
	return &rig{server.URL, &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: clients}}}
}

// call posts one request and returns the reply.
func (r *rig) call(b *testing.B, action string, in map[string]any) []byte {
	in["QueueUrl"] = r.url + "/000000000000/q"
	body, err := json.Marshal(in)
	if err != nil {
		b.Error(err)
	}
	req, err := http.NewRequest(http.MethodPost, r.url, bytes.NewReader(body))
	if err != nil {
		b.Error(err)
		return nil
	}
	req.Header.Set("X-Amz-Target", "AmazonSQS."+action)
	resp, err := r.client.Do(req)
	if err != nil {
		b.Error(err)
		return nil
	}
	defer resp.Body.Close()
	out, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		b.Errorf("%s: %s %s %v", action, resp.Status, out, err)
	}
	return out
}

func parallel(b *testing.B, work func()) {
	b.SetParallelism((clients + runtime.GOMAXPROCS(0) - 1) / runtime.GOMAXPROCS(0))
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			work()
		}
	})
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "calls/s")
}

func modes(b *testing.B, run func(b *testing.B, r *rig)) {
	for name, durable := range map[string]bool{"memory": false, "journal": true} {
		b.Run(name, func(b *testing.B) { run(b, newRig(b, durable)) })
	}
}

func BenchmarkSendMessage(b *testing.B) {
	modes(b, func(b *testing.B, r *rig) {
		body := strings.Repeat("x", 1000)
		parallel(b, func() { r.call(b, "SendMessage", map[string]any{"MessageBody": body}) })
	})
}

// fill puts n messages into the queue.
func (r *rig) fill(b *testing.B, n int) {
	b.Helper()
	var entries []map[string]any
	for i := range 10 {
		entries = append(entries, map[string]any{"Id": fmt.Sprint(i), "MessageBody": strings.Repeat("x", 1000)})
	}
	var left atomic.Int64
	left.Store(int64(n))
	var senders sync.WaitGroup
	for range clients {
		senders.Go(func() {
			for left.Add(-10) > -10 {
				r.call(b, "SendMessageBatch", map[string]any{"Entries": entries})
			}
		})
	}
	senders.Wait()
}

// One call receives one message: SDK clients ask for ten, so this is the
// worst case.
func BenchmarkReceiveMessage(b *testing.B) {
	modes(b, func(b *testing.B, r *rig) {
		r.fill(b, b.N)
		b.ResetTimer()
		parallel(b, func() { r.call(b, "ReceiveMessage", map[string]any{"MaxNumberOfMessages": 1}) })
	})
}

// Ten messages are sent, received and deleted, in three calls.
func BenchmarkTenMessagesThrough(b *testing.B) {
	var entries []map[string]any
	for i := range 10 {
		entries = append(entries, map[string]any{"Id": fmt.Sprint(i), "MessageBody": strings.Repeat("x", 1000)})
	}
	modes(b, func(b *testing.B, r *rig) {
		parallel(b, func() {
			r.call(b, "SendMessageBatch", map[string]any{"Entries": entries})
			var out struct {
				Messages []struct{ ReceiptHandle string }
			}
			if err := json.Unmarshal(r.call(b, "ReceiveMessage", map[string]any{"MaxNumberOfMessages": 10, "WaitTimeSeconds": 1}), &out); err != nil {
				b.Error(err)
			}
			var deletes []map[string]any
			for i, m := range out.Messages {
				deletes = append(deletes, map[string]any{"Id": fmt.Sprint(i), "ReceiptHandle": m.ReceiptHandle})
			}
			if len(deletes) > 0 {
				r.call(b, "DeleteMessageBatch", map[string]any{"Entries": deletes})
			}
		})
	})
}
