package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"

	"log_capturer/internal/testkit/scrape"
)

// status is the part of the agent's /api/v1/status that the lab uses.
type status struct {
	PID     int    `json:"pid"`
	Version string `json:"version"`
	DataDir string `json:"data_dir"`
	Sinks   []struct {
		Name string `json:"name"`
		Type string `json:"type"`
	} `json:"sinks"`
}

// hasLocalFile reports whether the agent writes files.
func (s *status) hasLocalFile() bool {
	for _, sink := range s.Sinks {
		if sink.Type == "local_file" {
			return true
		}
	}
	return false
}

// sample is what the lab saw at one moment.
type sample struct {
	at time.Time
	// err says why the agent could not be asked. Only at and written are set
	// then.
	err error
	pid int

	goroutines, fds, memory float64
	streams, capacity       float64
	// containers are those that want a stream.
	containers   float64
	rotations    float64
	acknowledged float64
	// health is "healthy", "degraded" or "unhealthy"; reasons say why.
	health  string
	reasons []string
	written uint64
}

// sampler asks the agent.
type sampler struct {
	api, metrics, countsDir string
	client                  *http.Client
}

func newSampler(o monitorOptions) *sampler {
	return &sampler{
		api: strings.TrimSuffix(o.api, "/"), metrics: o.metrics, countsDir: o.countsDir,
		// No connection is kept, so that the lab's own does not count as the
		// agent's.
		client: &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}},
	}
}

// take takes a sample.
func (s *sampler) take(ctx context.Context) sample {
	out := sample{at: time.Now()}
	if w, err := readWritten(s.countsDir); err == nil {
		out.written = w.total()
	}
	out.err = s.ask(ctx, &out)
	return out
}

func (s *sampler) ask(ctx context.Context, out *sample) error {
	st, err := s.status(ctx)
	if err != nil {
		return err
	}
	out.pid = st.PID
	var health struct {
		Status     string `json:"status"`
		Components []struct {
			Name   string `json:"name"`
			Status string `json:"status"`
			Reason string `json:"reason"`
		} `json:"components"`
	}
	if err := s.getJSON(ctx, s.api+"/health", &health); err != nil {
		return err
	}
	out.health = health.Status
	for _, c := range health.Components {
		if c.Status != "healthy" {
			out.reasons = append(out.reasons, c.Name+": "+c.Reason)
		}
	}
	m, err := scrape.Get(ctx, s.client, s.metrics)
	if err != nil {
		return err
	}
	for name, field := range map[string]*float64{
		"log_capturer_goroutines":             &out.goroutines,
		"log_capturer_active_streams":         &out.streams,
		"log_capturer_stream_pool_capacity":   &out.capacity,
		"log_capturer_stream_rotations_total": &out.rotations,
	} {
		var ok bool
		if *field, ok = m.Sum(name); !ok {
			return fmt.Errorf("the agent has no metric %s", name)
		}
	}
	for _, state := range []string{"reading", "waiting", "idle"} {
		n, _ := m.Sum("log_capturer_containers", "state", state)
		out.containers += n
	}
	out.acknowledged = leastAcknowledged(m)
	if out.fds, err = countFDs(out.pid); err != nil {
		out.fds, _ = m.Sum("log_capturer_open_fds")
	}
	if out.memory, err = residentMemory(out.pid); err != nil {
		out.memory, _ = m.Sum("log_capturer_resident_memory_bytes")
	}
	return nil
}

// leastAcknowledged returns the records that the sink acknowledged which is
// furthest behind.
func leastAcknowledged(m scrape.Samples) float64 {
	least := -1.0
	for _, s := range m.Find("log_capturer_records_acknowledged_total") {
		if least < 0 || s.Value < least {
			least = s.Value
		}
	}
	return max(least, 0)
}

func (s *sampler) status(ctx context.Context) (status, error) {
	var st status
	err := s.getJSON(ctx, s.api+"/api/v1/status", &st)
	return st, err
}

// getJSON decodes an answer, whatever its status is: an unhealthy agent answers
// 503 with the same JSON.
func (s *sampler) getJSON(ctx context.Context, url string, v any) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return fmt.Errorf("ask agent: %w", err)
	}
	resp, err := s.client.Do(req)
	if err != nil {
		return fmt.Errorf("ask agent: %w", err)
	}
	defer resp.Body.Close()
	if err := json.NewDecoder(resp.Body).Decode(v); err != nil {
		return fmt.Errorf("ask agent for %s: %s: %w", url, resp.Status, err)
	}
	return nil
}

// countFDs counts a process's file descriptors.
func countFDs(pid int) (float64, error) {
	entries, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", pid))
	return float64(len(entries)), err
}

// residentMemory returns a process's memory in bytes.
func residentMemory(pid int) (float64, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(b)) {
		if rest, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			kib, err := strconv.ParseFloat(strings.TrimSuffix(strings.TrimSpace(rest), " kB"), 64)
			return kib * 1024, err
		}
	}
	return 0, fmt.Errorf("process %d has no VmRSS", pid)
}
