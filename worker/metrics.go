package worker

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// metrics are what the worker counts. Their label sets are made at the start,
// so that a counter that never moved shows as 0.
type metrics struct {
	outcomes    *prometheus.CounterVec
	stages      *prometheus.HistogramVec
	batches     *batchMetrics
	deadLetters prometheus.Counter
	unreadable  prometheus.Counter
}

// Stages of the time that a request takes, as the label of their histogram.
var stages = []string{"queued", "fetch", "wait", "predict", "store"}

func newMetrics(r prometheus.Registerer, w *Worker) *metrics {
	seconds := prometheus.ExponentialBuckets(0.001, 2, 18) // 1 ms to 131 s
	m := &metrics{
		outcomes: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "penstock_requests_total", Help: "Requests by what became of them in this worker.",
		}, []string{"outcome"}),
		stages: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "penstock_request_seconds", Help: "Time that succeeded requests took, by stage.", Buckets: seconds,
		}, []string{"stage"}),
		batches: newBatchMetrics(r, w.batcher, seconds),
		deadLetters: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "penstock_dead_letters_total", Help: "Messages sent to the dead-letter queue.",
		}),
		unreadable: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "penstock_unreadable_messages_total", Help: "Messages that were no request.",
		}),
	}
	for _, o := range outcomes {
		m.outcomes.WithLabelValues(string(o))
	}
	for _, s := range stages {
		m.stages.WithLabelValues(s)
	}
	r.MustRegister(m.outcomes, m.stages, m.deadLetters, m.unreadable,
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "penstock_messages_in_flight", Help: "Messages that this worker holds.",
		}, func() (n float64) {
			for _, in := range w.inlets() {
				n += float64(in.leases.count())
			}
			return n
		}),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "penstock_ready", Help: "1 while the worker takes new messages.",
		}, func() float64 {
			if w.Ready() != nil {
				return 0
			}
			return 1
		}),
	)
	return m
}

// batch records one run of a model.
func (m *metrics) batch(r ran) { m.batches.observe(r) }

// outcome records what became of an item.
func (m *metrics) outcome(it *item, o outcome) {
	m.outcomes.WithLabelValues(string(o)).Inc()
	if o != outcomeSucceeded {
		return
	}
	for i, d := range []time.Duration{it.spent.Queued, it.spent.Fetch, it.spent.Wait, it.spent.Predict, it.spent.Store} {
		m.stages.WithLabelValues(stages[i]).Observe(d.Seconds())
	}
}

// newResultCounter counts by result; every result shows as 0 from the start.
func newResultCounter(r prometheus.Registerer, name, help string, results ...string) *prometheus.CounterVec {
	c := prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, []string{"result"})
	for _, result := range results {
		c.WithLabelValues(result)
	}
	r.MustRegister(c)
	return c
}
