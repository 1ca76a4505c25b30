package catalog

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// metrics are what the catalog counts, and what it tells of itself when it is
// asked.
type metrics struct {
	catalog *Catalog
	info    *prometheus.Desc
	loads   *prometheus.CounterVec
	seconds *prometheus.HistogramVec
}

// Results of a load, as the label of their counter.
const (
	resultLoaded  = "loaded"
	resultRefused = "refused"
)

func newMetrics(r prometheus.Registerer, c *Catalog) *metrics {
	m := &metrics{
		catalog: c,
		info: prometheus.NewDesc("penstock_model_info", "1 for each version of a model that is served.",
			[]string{"model", "version"}, nil),
		loads: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "penstock_model_loads_total", Help: "Versions of models that were loaded, or refused because they could not be. A refused one is tried again now and then.",
		}, []string{"model", "result"}),
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "penstock_model_load_seconds", Help: "How long a version took to be fetched, loaded and warmed up.",
			Buckets: prometheus.ExponentialBuckets(0.1, 2, 14), // 100 ms to 14 minutes
		}, []string{"model"}),
	}
	for _, s := range c.shelves {
		for _, result := range []string{resultLoaded, resultRefused} {
			m.loads.WithLabelValues(s.Named.Name, result)
		}
		m.seconds.WithLabelValues(s.Named.Name)
	}
	if r != nil {
		r.MustRegister(m, m.loads, m.seconds)
	}
	return m
}

// loaded records a load.
func (m *metrics) loaded(name string, err error, took time.Duration) {
	if err != nil {
		m.loads.WithLabelValues(name, resultRefused).Inc()
		return
	}
	m.loads.WithLabelValues(name, resultLoaded).Inc()
	m.seconds.WithLabelValues(name).Observe(took.Seconds())
}

// Describe implements prometheus.Collector.
func (m *metrics) Describe(ch chan<- *prometheus.Desc) { ch <- m.info }

// Collect implements prometheus.Collector.
func (m *metrics) Collect(ch chan<- prometheus.Metric) {
	m.catalog.mu.Lock()
	defer m.catalog.mu.Unlock()
	for _, s := range m.catalog.shelves {
		seen := make(map[string]bool)
		for _, v := range s.serving {
			if !seen[v.Version()] { // or the whole scrape would fail
				seen[v.Version()] = true
				ch <- prometheus.MustNewConstMetric(m.info, prometheus.GaugeValue, 1, s.Named.Name, v.Version())
			}
		}
	}
}
