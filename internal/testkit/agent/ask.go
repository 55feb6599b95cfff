package agent

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"log_capturer/internal/testkit/scrape"
)

// askTimeout bounds a question to the agent.
const askTimeout = 10 * time.Second

// client makes a connection for each question, so that none stays open and
// counts as a file descriptor of the agent.
var client = &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: askTimeout}

// Status is the part of /api/v1/status that tests use.
type Status struct {
	PID           int     `json:"pid"`
	Version       string  `json:"version"`
	UptimeSeconds float64 `json:"uptime_seconds"`
	DataDir       string  `json:"data_dir"`
	Sinks         []struct {
		Name string `json:"name"`
		Type string `json:"type"`
	} `json:"sinks"`
	LastReload *Reload `json:"last_reload"`
}

// Reload is what a reload of the configuration came to.
type Reload struct {
	// Code is the HTTP status of the request.
	Code    int       `json:"-"`
	At      time.Time `json:"at"`
	Cause   string    `json:"cause"`
	Result  string    `json:"result"`
	Changed []string  `json:"changed"`
	Errors  []string  `json:"errors"`
	Seconds float64   `json:"seconds"`
}

// Reload has the agent reload its configuration.
func (a *Agent) Reload() (Reload, error) {
	patient := http.Client{Transport: client.Transport, Timeout: 2 * time.Minute}
	res, err := patient.Post(a.API+"/api/v1/config/reload", "", nil)
	if err != nil {
		return Reload{}, err
	}
	defer res.Body.Close()
	r := Reload{Code: res.StatusCode}
	return r, json.NewDecoder(res.Body).Decode(&r)
}

// Health is the answer of /health.
type Health struct {
	// Code is the HTTP status.
	Code int `json:"-"`
	// Status is "healthy", "degraded" or "unhealthy".
	Status     string `json:"status"`
	Components []struct {
		Name   string `json:"name"`
		Status string `json:"status"`
		Reason string `json:"reason"`
	} `json:"components"`
}

// get decodes a JSON answer, whatever its status, and returns the status.
func get(url string, v any) (code int, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), askTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return 0, fmt.Errorf("ask agent: %w", err)
	}
	resp, err := client.Do(req)
	if err != nil {
		return 0, fmt.Errorf("ask agent: %w", err)
	}
	defer resp.Body.Close()
	if err := json.NewDecoder(resp.Body).Decode(v); err != nil {
		return 0, fmt.Errorf("ask agent for %s: %s: %w", url, resp.Status, err)
	}
	return resp.StatusCode, nil
}

// Status asks for the agent's status.
func (a *Agent) Status() (Status, error) {
	var s Status
	_, err := get(a.API+"/api/v1/status", &s)
	return s, err
}

// Health asks for the agent's health. An unhealthy agent is no error.
func (a *Agent) Health() (Health, error) {
	var h Health
	code, err := get(a.API+"/health", &h)
	h.Code = code
	return h, err
}

// WaitReady waits until the agent says that it is ready.
func (a *Agent) WaitReady(timeout time.Duration) {
	a.t.Helper()
	var answer struct {
		Reason string `json:"reason"`
	}
	for deadline := time.Now().Add(timeout); ; time.Sleep(10 * time.Millisecond) {
		code, err := get(a.API+"/ready", &answer)
		if err == nil && code == http.StatusOK {
			return
		}
		if time.Now().After(deadline) {
			a.t.Fatalf("agent not ready within %v: %s (%v)", timeout, answer.Reason, err)
		}
	}
}

// Scrape returns the agent's metrics.
func (a *Agent) Scrape() (scrape.Samples, error) {
	ctx, cancel := context.WithTimeout(context.Background(), askTimeout)
	defer cancel()
	return scrape.Get(ctx, client, a.Metrics+"/metrics")
}

// Metric returns the sum of the metric's samples with these labels (names and
// values in turn), 0 when there are none. It fails the test when the agent does
// not answer.
func (a *Agent) Metric(t testing.TB, name string, labels ...string) float64 {
	t.Helper()
	samples, err := a.Scrape()
	if err != nil {
		t.Fatal(err)
	}
	sum, _ := samples.Sum(name, labels...)
	return sum
}

// Goroutines returns how many goroutines the agent says it has.
func (a *Agent) Goroutines(t testing.TB) int {
	t.Helper()
	return int(a.Metric(t, "log_capturer_goroutines"))
}

// FDs returns how many file descriptors the process has open, by the kernel's
// count.
func (a *Agent) FDs(t testing.TB) int {
	t.Helper()
	entries, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", a.PID()))
	if err != nil {
		t.Fatalf("count file descriptors of the agent: %v", err)
	}
	return len(entries)
}

// state returns what a running agent says of itself, for those who look into a
// test that failed: its containers, its counts that are not zero, and its
// goroutines.
func (a *Agent) state() string {
	var all strings.Builder
	for _, url := range []string{
		a.API + "/health", a.API + "/api/v1/containers", a.Metrics + "/metrics", a.Pprof + "/debug/pprof/goroutine?debug=1",
	} {
		fmt.Fprintf(&all, "%s\n", url)
		resp, err := client.Get(url)
		if err != nil {
			fmt.Fprintln(&all, err)
			continue
		}
		text, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		for line := range strings.Lines(string(text)) {
			if !strings.HasPrefix(line, "# ") && !strings.HasSuffix(line, " 0\n") && !strings.HasPrefix(line, "go_") && !strings.Contains(line, "_bucket{") {
				all.WriteString(line)
			}
		}
		if err != nil {
			fmt.Fprintln(&all, err)
		}
	}
	return all.String()
}

// Command runs a command of the program that asks the agent, and returns what it
// printed and its exit status.
func (a *Agent) Command(args ...string) (output string, status int) {
	a.t.Helper()
	path, err := binary()
	if err != nil {
		a.t.Fatal(err)
	}
	cmd := exec.Command(path, append(args, "--api", a.API)...)
	text, err := cmd.CombinedOutput()
	if _, exited := errors.AsType[*exec.ExitError](err); err != nil && !exited {
		a.t.Fatalf("run %q: %v", args, err)
	}
	return string(text), cmd.ProcessState.ExitCode()
}
