package main

import (
	"bytes"
	"context"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/klauspost/compress/s2"
	"go.uber.org/goleak"
	"google.golang.org/protobuf/encoding/protowire"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestLines(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	now := time.Unix(1700000000, 123456789)
	total := 0
	const lines = 3000
	for n := range lines {
		line := appendLine(nil, random, n, now)
		if bytes.ContainsAny(line, "\n\r") {
			t.Fatalf("line %q is more than one", line)
		}
		if got := stampOf(line); got != now.UnixNano() {
			t.Fatalf("line %q holds the time %d", line, got)
		}
		if len(line) < 150 || len(line) > 250 {
			t.Fatalf("line of %d bytes, not 150 to 250: %q", len(line), line)
		}
		total += len(line)
	}
	t.Logf("%d bytes a line", total/lines)
}

// A writer without an end writes whole lines until it is told to end, and
// countLines finds all of them.
func TestEndlessWriter(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	path := filepath.Join(t.TempDir(), "log")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var n int64
	err = write(ctx, []string{"-rate", "1000", "-endless"}, writerFunc(func(b []byte) (int, error) {
		if n++; n == 50 {
			cancel()
		}
		return f.Write(b)
	}))
	if err != nil {
		t.Fatal(err)
	}
	got, err := countLines([]string{path, path})
	if err != nil || got != 2*n || n < 50 {
		t.Errorf("%d lines in the file twice, %v; written were %d", got, err, n)
	}
	if _, err := countLines([]string{path, path + ".missing"}); err == nil {
		t.Error("the lines of a missing file were counted")
	}
}

type writerFunc func(b []byte) (int, error)

func (f writerFunc) Write(b []byte) (int, error) { return f(b) }

// push returns a push in Loki's protocol with the given lines in streams of two,
// stamped half a second ago.
func push(lines ...string) []byte {
	field := func(b []byte, number protowire.Number, value []byte) []byte {
		return protowire.AppendBytes(protowire.AppendTag(b, number, protowire.BytesType), value)
	}
	var streams []byte
	for len(lines) > 0 {
		stream := field(nil, 1, []byte(`{job="x"}`))
		for _, l := range lines[:min(2, len(lines))] {
			at := time.Now().Add(-500 * time.Millisecond)
			stamp := protowire.AppendVarint(protowire.AppendTag(nil, 1, protowire.VarintType), uint64(at.Unix()))
			stamp = protowire.AppendVarint(protowire.AppendTag(stamp, 2, protowire.VarintType), uint64(at.Nanosecond()))
			entry := field(nil, 1, stamp)
			stream = field(stream, 2, field(entry, 2, []byte(l)))
		}
		lines = lines[min(2, len(lines)):]
		streams = field(streams, 1, stream)
	}
	return s2.EncodeSnappy(nil, streams)
}

func TestEndpointCounts(t *testing.T) {
	e := &endpoint{delays: true}
	server := httptest.NewServer(e.handler())
	defer server.Close()
	defer http.DefaultClient.CloseIdleConnections()
	post := func(path, contentType string, body []byte, status int) {
		t.Helper()
		answer, err := http.Post(server.URL+path, contentType, bytes.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		answer.Body.Close()
		if answer.StatusCode != status {
			t.Fatalf("%s answers %d, want %d", path, answer.StatusCode, status)
		}
	}
	want := func(lines, requests int64) counts {
		t.Helper()
		c, err := fetchCounts(t.Context(), server.URL)
		if err != nil {
			t.Fatal(err)
		}
		if c.Lines != lines || c.Requests != requests {
			t.Fatalf("%d lines in %d requests, want %d in %d", c.Lines, c.Requests, lines, requests)
		}
		return c
	}
	stamp := func(age time.Duration) string {
		return "x " + stampField + strconv.FormatInt(time.Now().Add(-age).UnixNano(), 10) + "\"}"
	}
	post("/loki/api/v1/push", "application/x-protobuf", push(stamp(time.Second), stamp(time.Second), stamp(2*time.Second)), http.StatusNoContent)
	c := want(3, 1)
	if p := c.Written.percentile(0.5); p < time.Second || p > 1900*time.Millisecond {
		t.Errorf("half of the lines took %v", p)
	}
	if p := c.Written.percentile(0.99); p < 2*time.Second {
		t.Errorf("the slowest line took %v", p)
	}
	if p := c.Stamped.percentile(1); p < 500*time.Millisecond || p > 900*time.Millisecond {
		t.Errorf("the agent took %v", p)
	}
	if p := c.Written.since(c.Written).percentile(1); p != 0 {
		t.Errorf("no lines took %v", p)
	}
	post("/loki/api/v1/push", "application/x-protobuf", []byte("no snappy"), http.StatusBadRequest)
	want(3, 1)
	post("/insert/jsonline", "application/json", []byte(strings.Repeat("{}\n", 4)), http.StatusOK)
	want(7, 2)
	post("/_bulk", "application/x-ndjson", []byte(strings.Repeat("{\"create\":{}}\n{}\n", 5)), http.StatusOK)
	want(12, 3)
}

func TestCPUOf(t *testing.T) {
	before, err := cpuOf(1)
	if err != nil {
		t.Fatal(err)
	}
	now, peak, err := memoryOf(1)
	if err != nil {
		t.Fatal(err)
	}
	if before <= 0 || now <= 0 || peak < now {
		t.Errorf("process 1 used %v, holds %d and held %d bytes", before, now, peak)
	}
}

// Every agent is told the files and the endpoint of its job.
func TestConfigurations(t *testing.T) {
	j := job{
		dir: t.TempDir(), files: []string{"/logs/a.log", "/logs/b.log"}, label: "k=v",
		endpoint: "http://127.0.0.1:7", transport: "api", metrics: "127.0.0.1:8", pprof: "127.0.0.1:9",
		sink: []string{"    streams_per_push: 0"},
	}
	told := func(argv []string) string {
		text := strings.Join(argv, "\n")
		entries, err := os.ReadDir(j.dir)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			b, err := os.ReadFile(filepath.Join(j.dir, e.Name()))
			if err != nil {
				t.Fatal(err)
			}
			text += "\n" + string(b)
			if err := os.Remove(filepath.Join(j.dir, e.Name())); err != nil {
				t.Fatal(err)
			}
		}
		return text
	}
	for _, c := range contenders {
		argv, err := c.command("/bin/"+c.name, j)
		if err != nil {
			t.Fatal(err)
		}
		text := told(argv)
		for _, want := range append([]string{"127.0.0.1", "7"}, j.files...) {
			if !strings.Contains(text, want) {
				t.Errorf("%s is not told of %s:\n%s", c.name, want, text)
			}
		}
	}
	argv, err := logCapturer("/bin/log_capturer", j)
	if err != nil {
		t.Fatal(err)
	}
	text := told(argv)
	for _, want := range []string{"transport: api", `"k=v"`, j.endpoint, j.metrics, j.pprof, j.sink[0]} {
		if !strings.Contains(text, want) {
			t.Errorf("log_capturer is not told %q:\n%s", want, text)
		}
	}
}
