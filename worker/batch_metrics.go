package worker

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// batchMetrics are what is measured of runs. Their label is the model's name,
// of which there are as many as the worker serves; versions, signatures and
// shapes come and go, and would make series without end.
type batchMetrics struct {
	items, rows, wait, run    *prometheus.HistogramVec
	filled, elements, padding *prometheus.CounterVec
}

func newBatchMetrics(r prometheus.Registerer, b *batcher, seconds []float64) *batchMetrics {
	powers := prometheus.ExponentialBuckets(1, 2, 12) // 1 to 2048
	histogram := func(name, help string, buckets []float64) *prometheus.HistogramVec {
		return prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: name, Help: help, Buckets: buckets}, []string{"model"})
	}
	counter := func(name, help string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, []string{"model"})
	}
	m := &batchMetrics{
		items:    histogram("penstock_batch_items", "Requests in one run of a model.", powers),
		rows:     histogram("penstock_batch_rows", "Rows of requests in one run of a model.", powers),
		wait:     histogram("penstock_batch_wait_seconds", "How long the request of a run waited for it that waited longest.", seconds),
		run:      histogram("penstock_batch_run_seconds", "How long one run of a model took.", seconds),
		filled:   counter("penstock_batch_filled_rows_total", "Rows that no request sent, added to runs to reach a size that the model takes."),
		elements: counter("penstock_batch_elements_total", "Elements of the inputs of runs, padding included."),
		padding:  counter("penstock_batch_padding_elements_total", "Elements of the inputs of runs that no request sent: whole rows, and what fills rows up."),
	}
	r.MustRegister(m.items, m.rows, m.wait, m.run, m.filled, m.elements, m.padding, learned{b},
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "penstock_queued_work_seconds", Help: "How long the runs will take, one after the other, for all that waits for one now or is in one, but for what waits in the background.",
		}, b.seconds),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "penstock_background_work_seconds", Help: "How long the runs will take, one after the other, for all that waits for one in the background now.",
		}, b.backgroundSeconds))
	return m
}

// observe records one run of a model.
func (m *batchMetrics) observe(r ran) {
	m.items.WithLabelValues(r.model).Observe(float64(r.items))
	m.rows.WithLabelValues(r.model).Observe(float64(r.rows))
	m.wait.WithLabelValues(r.model).Observe(r.wait.Seconds())
	m.run.WithLabelValues(r.model).Observe(r.predict.Seconds())
	m.filled.WithLabelValues(r.model).Add(float64(r.filled))
	m.elements.WithLabelValues(r.model).Add(float64(r.elements))
	m.padding.WithLabelValues(r.model).Add(float64(r.padding))
}

// learned collects the cost of each model's runs, of whatever shape.
type learned struct{ *batcher }

var (
	costOfRow = prometheus.NewDesc("penstock_batch_row_cost_seconds", "What a row adds to the time of a run, as learned from the last runs.", []string{"model"}, nil)
	costOfRun = prometheus.NewDesc("penstock_batch_run_cost_seconds", "What a run takes whatever its rows, as learned from the last runs.", []string{"model"}, nil)
)

// Describe implements prometheus.Collector.
func (l learned) Describe(c chan<- *prometheus.Desc) { c <- costOfRow; c <- costOfRun }

// Collect implements prometheus.Collector.
func (l learned) Collect(c chan<- prometheus.Metric) {
	for name, line := range l.lines() {
		c <- prometheus.MustNewConstMetric(costOfRow, prometheus.GaugeValue, line[0], name)
		c <- prometheus.MustNewConstMetric(costOfRun, prometheus.GaugeValue, line[1], name)
	}
}

// lines gives what was learned, by model.
func (b *batcher) lines() map[string][2]float64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	lines := make(map[string][2]float64, len(b.models))
	for h, m := range b.models {
		if m.cost.runs > 0 {
			a, b := m.cost.line()
			lines[h.model] = [2]float64{a, b}
		}
	}
	return lines
}

// seconds is how long the runs will take, one after the other, for all that
// waits or is in a run, without what waits in the background.
func (b *batcher) seconds() float64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	s := b.waiting(false)
	for f := range b.flying {
		s += max(0, f.expected-time.Since(f.began).Seconds())
	}
	return s
}

// backgroundSeconds is how long they will take for what waits there.
func (b *batcher) backgroundSeconds() float64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.waiting(true)
}

// waiting is how long the runs will take for what waits, in the background or
// not. A shape that has not been run yet is taken to cost what the model's
// others do; before its first run a model costs nothing.
func (b *batcher) waiting(inBackground bool) (s float64) {
	for key, q := range b.buckets {
		if (key.lane == background) != inBackground {
			continue
		}
		c := q.cost
		if c.runs == 0 {
			c = q.model.cost
		}
		s += q.seconds(c)
	}
	return s
}
