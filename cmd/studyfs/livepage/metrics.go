package livepage

import (
	"fmt"
	"io"
	"net/http"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/prometheus/common/expfmt"
)

// collector tells a View's figures to Prometheus. A source is named by its ID and a mount by its: paths, buckets' prefixes and names
// that were derived from them may hold participants.
type collector struct {
	views func() []View
	rows  []row
	info  rows
}

// row is one metric of a source.
type row struct {
	desc  *prometheus.Desc
	kind  prometheus.ValueType
	of    func(Source) float64
	label string // value of the one label that some metrics have besides those of the source
}

// rows are the metrics of a mount.
type rows struct {
	started, memory, memoryLimit, passthrough, cacheLimit *prometheus.Desc
}

// newCollector returns a collector of what views returns at each scrape. It is safe for concurrent use if views is.
func newCollector(views func() []View) *collector {
	mount := []string{"mount"}
	desc := func(name, help string) *prometheus.Desc { return prometheus.NewDesc("studyfs_"+name, help, mount, nil) }
	c := &collector{views: views, info: rows{
		started:     desc("start_time_seconds", "When the mount began, as Unix time."),
		memory:      desc("memory_bytes", "Memory that holds data on its way."),
		memoryLimit: desc("memory_limit_bytes", "The most that it may hold (--memory)."),
		passthrough: desc("passthrough", "1 where the kernel reads complete files by itself."),
		cacheLimit:  desc("cache_limit_bytes", "The most that is kept on disk, of all sources together (--cache-size)."),
	}}
	c.requestRows()
	c.cacheRows()
	c.uploadRows()
	return c
}

func (c *collector) add(name, help string, kind prometheus.ValueType, of func(Source) float64) {
	c.addLabelled(name, help, kind, "", map[string]func(Source) float64{"": of})
}

// addLabelled adds a metric with one label more than its source.
func (c *collector) addLabelled(name, help string, kind prometheus.ValueType, label string, of map[string]func(Source) float64) {
	labels := []string{"mount", "source", "kind"}
	if label != "" {
		labels = append(labels, label)
	}
	desc := prometheus.NewDesc("studyfs_"+name, help, labels, nil)
	for value, f := range of {
		c.rows = append(c.rows, row{desc, kind, f, value})
	}
}

func (c *collector) requestRows() {
	c.addLabelled("requests_total", "Requests that the service was sent.", prometheus.CounterValue, "operation", map[string]func(Source) float64{
		"list":   func(s Source) float64 { return float64(s.Requests.List) },
		"get":    func(s Source) float64 { return float64(s.Requests.Get) },
		"head":   func(s Source) float64 { return float64(s.Requests.Head) },
		"put":    func(s Source) float64 { return float64(s.Requests.Put) },
		"delete": func(s Source) float64 { return float64(s.Requests.Delete) },
		"other":  func(s Source) float64 { return float64(s.Requests.Other) },
	})
	c.add("request_retries_total", "Requests that were sent once more.", prometheus.CounterValue, func(s Source) float64 { return float64(s.Requests.Retries) })
	c.add("received_bytes_total", "Bytes that the service has sent.", prometheus.CounterValue, func(s Source) float64 { return float64(s.In) })
	c.add("sent_bytes_total", "Bytes that the service was sent.", prometheus.CounterValue, func(s Source) float64 { return float64(s.Out) })
	c.add("problems", "What keeps a source from working now.", prometheus.GaugeValue, func(s Source) float64 { return float64(len(s.Problems)) })
	c.add("listing_age_seconds", "How old the listing of the source's root is.", prometheus.GaugeValue, func(s Source) float64 { return s.ListedS })
	c.add("hidden_keys", "Keys that cannot be file names.", prometheus.GaugeValue, func(s Source) float64 { return float64(s.Hidden) })
}

func (c *collector) cacheRows() {
	c.add("cache_bytes", "What is kept of the source on disk.", prometheus.GaugeValue, func(s Source) float64 { return float64(s.Cache.Bytes) })
	c.add("cache_hits_total", "Blocks that were read from the disk.", prometheus.CounterValue, func(s Source) float64 { return float64(s.Cache.Hits) })
	c.add("cache_misses_total", "Blocks that were not there.", prometheus.CounterValue, func(s Source) float64 { return float64(s.Cache.Misses) })
	c.add("cache_evicted_total", "Extents that gave way to others.", prometheus.CounterValue, func(s Source) float64 { return float64(s.Cache.Evicted) })
	c.add("cache_corrupt_total", "Blocks whose checksum was wrong; they were fetched again.", prometheus.CounterValue, func(s Source) float64 { return float64(s.Cache.Corrupt) })
}

func (c *collector) uploadRows() {
	of := func(f func(Uploads) float64) func(Source) float64 {
		return func(s Source) float64 {
			if s.Uploads == nil {
				return 0
			}
			return f(*s.Uploads)
		}
	}
	c.addLabelled("uploads", "Files that are not stored yet.", prometheus.GaugeValue, "state", map[string]func(Source) float64{
		"writing":     of(func(u Uploads) float64 { return float64(u.Writing) }),
		"staged":      of(func(u Uploads) float64 { return float64(u.Staged) }),
		"uploading":   of(func(u Uploads) float64 { return float64(u.Uploading) }),
		"conflict":    of(func(u Uploads) float64 { return float64(u.Conflict) }),
		"parked":      of(func(u Uploads) float64 { return float64(u.Parked) }),
		"failed":      of(func(u Uploads) float64 { return float64(u.Failed) }),
		"orphan":      of(func(u Uploads) float64 { return float64(u.Orphan) }),
		"quarantined": of(func(u Uploads) float64 { return float64(u.Quarantined) }),
	})
	c.add("uploads_stored_total", "Files that were stored.", prometheus.CounterValue, of(func(u Uploads) float64 { return float64(u.Stored) }))
	c.add("uploads_left_bytes", "Bytes that are not stored yet.", prometheus.GaugeValue, of(func(u Uploads) float64 { return float64(u.BytesLeft) }))
	c.add("uploads_paused", "1 where nothing is sent now.", prometheus.GaugeValue, of(func(u Uploads) float64 { return flag(u.Paused != "") }))
}

// Describe is for prometheus.Collector.
func (c *collector) Describe(to chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{c.info.started, c.info.memory, c.info.memoryLimit, c.info.passthrough, c.info.cacheLimit} {
		to <- d
	}
	for _, r := range c.rows {
		to <- r.desc
	}
}

// Collect is for prometheus.Collector.
func (c *collector) Collect(to chan<- prometheus.Metric) {
	for _, v := range c.views() {
		c.collect(to, v)
	}
}

func (c *collector) collect(to chan<- prometheus.Metric, v View) {
	gauge := func(d *prometheus.Desc, value float64) {
		to <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, value, v.ID)
	}
	gauge(c.info.started, float64(v.Started.Unix()))
	gauge(c.info.memory, float64(v.Memory))
	gauge(c.info.memoryLimit, float64(v.MemoryLimit))
	gauge(c.info.passthrough, flag(v.Passthrough))
	gauge(c.info.cacheLimit, float64(v.CacheLimit))
	seen := map[string]bool{} // a source that is mounted twice in one mount would be told twice, which Prometheus refuses
	for _, s := range v.Sources {
		if seen[s.ID] {
			continue
		}
		seen[s.ID] = true
		for _, r := range c.rows {
			labels := []string{v.ID, s.ID, s.Kind}
			if r.label != "" {
				labels = append(labels, r.label)
			}
			to <- prometheus.MustNewConstMetric(r.desc, r.kind, r.of(s), labels...)
		}
	}
}

func flag(is bool) float64 {
	if is {
		return 1
	}
	return 0
}

func registryOf(views func() []View) *prometheus.Registry {
	r := prometheus.NewRegistry()
	r.MustRegister(newCollector(views))
	return r
}

// WriteMetrics writes what the page's /metrics tells, of several mounts: for collectors that read files.
func WriteMetrics(w io.Writer, views []View) error {
	families, err := registryOf(func() []View { return views }).Gather()
	if err != nil {
		return fmt.Errorf("metrics: %w", err)
	}
	for _, f := range families {
		if _, err := expfmt.MetricFamilyToText(w, f); err != nil {
			return fmt.Errorf("metrics: %w", err)
		}
	}
	return nil
}

// newMetrics answers scrapes from a registry of its own.
func newMetrics(m Mount) http.Handler {
	return promhttp.HandlerFor(registryOf(func() []View { return []View{m.View()} }), promhttp.HandlerOpts{MaxRequestsInFlight: maxScrapes})
}

// maxScrapes is how many are answered at once.
const maxScrapes = 4
