package main

import (
	"bytes"
	"errors"
	"strings"
	"testing"
	"time"
)

// calm returns samples of an agent with which nothing is wrong.
func calm(n int) []sample {
	samples := make([]sample, n)
	for i := range samples {
		samples[i] = sample{
			at: t0.Add(time.Duration(i) * 15 * time.Second), pid: 7, goroutines: 177, fds: 120, memory: 30 << 20,
			streams: 50, capacity: 50, containers: 55, rotations: float64(10 * i), health: "healthy",
		}
	}
	return samples
}

// failing returns the criteria whose rows fail.
func failing(rows []row) string {
	var names []string
	for _, r := range rows {
		if !r.pass {
			names = append(names, r.criterion)
		}
	}
	return strings.Join(names, ", ")
}

func TestJudge(t *testing.T) {
	good := lineVerdict{written: 10, captured: 10, ok: true}
	f := func(name string, change func(i int, s *sample), want string) {
		t.Helper()
		samples := calm(40)
		for i := range samples {
			change(i, &samples[i])
		}
		if got := failing(judge(samples, good)); got != want {
			t.Errorf("%s: fails %q, want %q", name, got, want)
		}
	}
	f("calm", func(int, *sample) {}, "")
	f("goroutines leak", func(i int, s *sample) { s.goroutines += float64(i) }, "goroutine growth")
	f("goroutines fall", func(i int, s *sample) { s.goroutines -= float64(i) }, "")
	f("goroutines grow in the warm-up", func(i int, s *sample) { s.goroutines -= 20 * float64(max(0, 8-i)) }, "")
	f("goroutines grow below the limit", func(i int, s *sample) { s.goroutines += float64(i) * 1.9 / 4 }, "")
	f("goroutines grow above the limit", func(i int, s *sample) { s.goroutines += float64(i) * 2.1 / 4 }, "goroutine growth")
	f("pool not full", func(_ int, s *sample) { s.streams = 49 }, "stream pool")
	f("pool full but for rotations", func(i int, s *sample) { s.streams -= float64(i % 3) }, "")
	f("pool overfull", func(i int, s *sample) { s.streams += float64(i % 2) }, "stream pool")
	f("fewer containers than leases", func(_ int, s *sample) { s.streams, s.containers = 8, 8 }, "")
	f("fewer streams than containers", func(_ int, s *sample) { s.streams, s.containers = 7, 8 }, "stream pool")
	f("no containers", func(_ int, s *sample) { s.streams, s.containers = 0, 0 }, "stream pool")
	f("containers stop", func(i int, s *sample) {
		if i > 20 {
			s.streams, s.containers, s.goroutines, s.fds = 10, 10, 57, 40
		}
	}, "")
	f("FDs leak", func(i int, s *sample) { s.fds += 4 * float64(i) }, "FD growth")
	f("FDs rise by less", func(i int, s *sample) { s.fds += 2 * float64(i) }, "")
	f("one degraded sample", func(i int, s *sample) {
		if i == 30 {
			s.health, s.reasons = "degraded", []string{"sink/loki: retries"}
		}
	}, "health")
	f("degraded in the warm-up", func(i int, s *sample) {
		if i == 2 {
			s.health = "degraded"
		}
	}, "")
	f("no answer once", func(i int, s *sample) {
		if i == 30 {
			*s = sample{at: s.at, err: errors.New("refused")}
		}
	}, "health")
	f("restarted", func(i int, s *sample) {
		if i >= 20 {
			s.pid = 8
		}
	}, "agent restarts")
	f("no rotations", func(_ int, s *sample) { s.rotations = 3 }, "rotations")
	f("never an answer", func(_ int, s *sample) { s.err = errors.New("refused") }, "agent answers")
	if got := failing(judge(calm(40), lineVerdict{written: 10, captured: 9})); got != "lines written = captured" {
		t.Errorf("lines lost: fails %q", got)
	}
}

func TestJudgeOfSeconds(t *testing.T) {
	samples := calm(40)
	for i := range samples {
		samples[i].at = t0.Add(time.Duration(i) * 500 * time.Millisecond)
		samples[i].goroutines += float64(i / 20) // one more: no leak can be told
	}
	if got := failing(judge(samples, lineVerdict{ok: true})); got != "" {
		t.Errorf("one goroutine in 20 s: fails %q", got)
	}
	for i := range samples {
		samples[i].goroutines = 177 + float64(i)/4 // 30 a minute
	}
	if got := failing(judge(samples, lineVerdict{ok: true})); got != "goroutine growth" {
		t.Errorf("a leak in 20 s: fails %q", got)
	}
}

func TestTableNamesTheFailedRows(t *testing.T) {
	var out bytes.Buffer
	if !printTable(&out, judge(calm(10), lineVerdict{written: 1, captured: 1, ok: true})) || strings.Contains(out.String(), "FAIL") {
		t.Errorf("a calm agent fails:\n%s", out.String())
	}
	out.Reset()
	if printTable(&out, []row{{"a", "1", "1", true}, {"b", "1", "2", false}}) {
		t.Error("a failed row passes")
	}
	if lines := strings.Split(out.String(), "\n"); !strings.Contains(lines[1], "PASS") || !strings.Contains(lines[2], "FAIL") {
		t.Errorf("table:\n%s", out.String())
	}
}
