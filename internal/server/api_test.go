package server

import (
	"encoding/json"
	"errors"
	"net/http"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"log_capturer/internal/health"
)

// reporter reports what it holds.
type reporter []health.Component

func (r reporter) Health() []health.Component { return r }

func TestHealth(t *testing.T) {
	engine := func(s health.Status, reason string) health.Reporter {
		return reporter{{Name: "container_monitor", Status: s, Reason: reason}}
	}
	sinks := reporter{{Name: "sink/files"}, {Name: "sink/loki", Status: health.Degraded, Reason: "the destination answers 503 since 12s"}}

	f := func(goldenName string, status int, reporters ...health.Reporter) {
		t.Helper()
		s := start(t, Options{API: anyPort, Reporters: reporters})
		got, header, body := request(t, http.MethodGet, "http://"+s.APIAddr()+"/health")
		if got != status {
			t.Errorf("%s: status %d, want %d", goldenName, got, status)
		}
		if kind := header.Get("Content-Type"); kind != "application/json; charset=utf-8" {
			t.Errorf("%s: content type %q", goldenName, kind)
		}
		golden(t, goldenName, body)
	}
	f("health_empty.json", 200)
	f("health_healthy.json", 200, engine(health.Healthy, ""), sinks[:1])
	f("health_degraded.json", 200, engine(health.Healthy, ""), sinks)
	f("health_unhealthy.json", 503, engine(health.Unhealthy, `no engine at "unix:///var/run/docker.sock"`), sinks)
}

// The answers follow the state: nothing is kept from one request to the next.
func TestAnswersAreComputedWhenAsked(t *testing.T) {
	var bad atomic.Bool
	s := start(t, Options{
		API: anyPort,
		Reporters: []health.Reporter{reporterFunc(func() []health.Component {
			if bad.Load() {
				return []health.Component{{Name: "c", Status: health.Unhealthy, Reason: "broken"}}
			}
			return []health.Component{{Name: "c"}}
		})},
		Ready: func() error {
			if bad.Load() {
				return errors.New("waits for the first list of containers")
			}
			return nil
		},
		Containers: func() []Container {
			if bad.Load() {
				return []Container{{Name: "a", State: Error}}
			}
			return []Container{{Name: "a", State: Reading}}
		},
	})
	f := func(path string, status int, contains string) {
		t.Helper()
		got, _, body := request(t, http.MethodGet, "http://"+s.APIAddr()+path)
		if got != status || !strings.Contains(body, contains) {
			t.Errorf("%s: %d %q, want %d with %q", path, got, body, status, contains)
		}
	}
	for range 2 {
		bad.Store(true)
		f("/health", 503, `"unhealthy"`)
		f("/ready", 503, "waits for the first list of containers")
		f("/api/v1/containers", 200, `"error"`)
		f("/api/v1/status", 200, `"error": 1`)
		f("/", 200, `<span class="unhealthy">unhealthy</span>`)
		bad.Store(false)
		f("/health", 200, `"healthy"`)
		f("/ready", 200, `"ready": true`)
		f("/api/v1/containers", 200, `"reading"`)
		f("/api/v1/status", 200, `"error": 0`)
		f("/", 200, `<span class="healthy">healthy</span>`)
	}
}

type reporterFunc func() []health.Component

func (f reporterFunc) Health() []health.Component { return f() }

// everyState holds a container of each state, out of order.
func everyState() []Container {
	last := time.Date(2026, 3, 4, 5, 6, 7, 89, time.UTC)
	return []Container{
		{ID: "7777", Name: "web", Image: "nginx:1", State: Reading, Transport: "api", LagSeconds: 0.25, Lease: true, Lines: 12, Bytes: 3456, LastLine: last},
		{ID: "6666", Name: "api", Image: "api:2", State: Waiting, Transport: "api", LagSeconds: 12, Reason: "all 50 streams are in use"},
		{ID: "5555", Name: "batch", Image: "batch", State: Idle, Transport: "api", Lines: 1, Bytes: 1, SuspectedGaps: 2, LastLine: last},
		{ID: "4444", Name: "secret", Image: "vault", State: Excluded, Reason: "container_monitor.exclude.names"},
		{ID: "3333", Name: "syslog", Image: "x", State: Unreadable, Reason: `log driver "syslog" cannot be read`},
		{ID: "2222", Name: "api", Image: "api:1", State: Stopped, Transport: "api", Lines: 5, Bytes: 50, LastLine: last},
		{ID: "1111", Name: "broken", Image: "x", State: Error, Transport: "api", Reason: "open stream: 500"},
	}
}

func TestContainers(t *testing.T) {
	s := start(t, Options{API: anyPort, Containers: everyState})
	_, _, body := request(t, http.MethodGet, "http://"+s.APIAddr()+"/api/v1/containers")
	golden(t, "containers.json", body)
}

func everyFile() []File {
	last := time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)
	return []File{
		{Path: "/var/log/web.log", State: Reading, Labels: map[string]string{"app": "web"}, LagSeconds: 2, Lines: 12, Bytes: 3456, LastLine: last, Watched: true},
		{Path: "/var/log/a.log", State: Idle, Lines: 1, Bytes: 5, SuspectedGaps: 1, LostBytes: 7, LastLine: last},
		{Path: "/var/log/pods/a_b_c/d/0.log", State: Gone, Namespace: "a", Pod: "b", Container: "d", Reason: "the file was removed, and all of it was read"},
		{Path: "/var/log/secret", State: Error, Reason: "open log: permission denied"},
	}
}

func TestFiles(t *testing.T) {
	s := start(t, Options{API: anyPort, Files: everyFile})
	_, _, body := request(t, http.MethodGet, "http://"+s.APIAddr()+"/api/v1/files")
	golden(t, "files.json", body)
	none := start(t, Options{API: anyPort})
	if _, _, body := request(t, http.MethodGet, "http://"+none.APIAddr()+"/api/v1/files"); strings.TrimSpace(body) != "[]" {
		t.Errorf("no files are %q", body)
	}
}

func TestStatus(t *testing.T) {
	started := time.Now().Add(-90 * time.Second)
	s := start(t, Options{
		API: anyPort, Metrics: anyPort, Registry: prometheus.NewRegistry(),
		Containers: everyState, Files: everyFile,
		Status: func() Status {
			return Status{
				Version: "1.2.3", Commit: "abcdef", StartedAt: started, DataDir: "/var/lib/log_capturer", Host: "h1",
				Sinks: []Sink{{Name: "files", Type: "local_file"}, {Name: "loki", Type: "loki"}},
			}
		},
	})
	_, _, body := request(t, http.MethodGet, "http://"+s.APIAddr()+"/api/v1/status")

	// What differs from run to run is checked and then replaced.
	var got Status
	if err := json.Unmarshal([]byte(body), &got); err != nil {
		t.Fatal(err)
	}
	if got.PID != os.Getpid() {
		t.Errorf("pid %d, want %d", got.PID, os.Getpid())
	}
	if got.UptimeSeconds < 90 || got.UptimeSeconds > 180 {
		t.Errorf("uptime %v s, want 90", got.UptimeSeconds)
	}
	if !got.StartedAt.Equal(started) {
		t.Errorf("started at %v, want %v", got.StartedAt, started)
	}
	if got.Listeners["api"] != s.APIAddr() || got.Listeners["metrics"] != s.MetricsAddr() || len(got.Listeners) != 2 {
		t.Errorf("listeners %v", got.Listeners)
	}
	got.PID, got.UptimeSeconds, got.StartedAt = 4711, 90.5, time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)
	got.Listeners = map[string]string{"api": "127.0.0.1:8401", "metrics": "127.0.0.1:8001"}
	masked, err := json.MarshalIndent(got, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "status.json", string(masked)+"\n")
}

// A collector that goes wrong costs its own metrics, not those of the others.
func TestMetricsSurviveABrokenCollector(t *testing.T) {
	registry := prometheus.NewRegistry()
	registry.MustRegister(
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "planted", Help: "Planted."}, func() float64 { return 42 }),
		broken{},
	)
	s := start(t, Options{Metrics: anyPort, Registry: registry})
	status, _, body := request(t, http.MethodGet, "http://"+s.MetricsAddr()+"/metrics")
	if status != http.StatusOK || !strings.Contains(body, "planted 42") {
		t.Errorf("%d %q, want 200 with the metric that works", status, body)
	}
}

type broken struct{}

func (broken) Describe(chan<- *prometheus.Desc) {}
func (broken) Collect(ch chan<- prometheus.Metric) {
	ch <- prometheus.NewInvalidMetric(prometheus.NewInvalidDesc(errors.New("broken")), errors.New("broken"))
}
