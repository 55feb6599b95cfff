package main

import (
	"os"
	"strings"
	"testing"
	"time"
)

func TestEveryScenarioLoads(t *testing.T) {
	names := scenarioNames()
	for _, want := range []string{"phase-3", "phase-6", "phase-6-fast", "rotation-storm", "churn", "outage", "idle-500", "day"} {
		s, err := loadScenario(want)
		if err != nil {
			t.Error(err)
			continue
		}
		if s.About == "" || s.Name != want || s.lasting() == 0 {
			t.Errorf("%s: %+v", want, s)
		}
	}
	if len(names) != 8 {
		t.Errorf("scenarios %q", names)
	}
	if _, err := loadScenario("nope"); err == nil || !strings.Contains(err.Error(), "there are churn, day") {
		t.Errorf("an unknown scenario: %v", err)
	}
}

// The scenario in the README is one.
func TestReadmeScenario(t *testing.T) {
	readme, err := os.ReadFile("../README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(readme), "```yaml\n")
	text, _, found := strings.Cut(rest, "```")
	if !found {
		t.Fatal("no scenario")
	}
	s, err := parseScenario("readme", []byte(text))
	if err != nil || len(s.Faults) != 2 || !s.Criteria.Healthy {
		t.Errorf("%+v, %v", s, err)
	}
}

func TestWrongScenarios(t *testing.T) {
	f := func(text, want string) {
		t.Helper()
		_, err := parseScenario("s", []byte(text))
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", text, err, want)
		}
	}
	f("duration: 1m\nwarmup: 1s", "warmup")
	f("duration: 1m\ncontainers: [{count: 1, rates: 2}]", "rates")
	f("duration: fast", "invalid duration")
	f("about: x", "duration is missing")
	f("{duration: 1m, warm_up: 1m}", "warm_up is not shorter")
	f("{duration: 1m, containers: [{rate: 1}]}", "count is missing")
	f("{duration: 1m, churn: {per_second: 1}}", "lines and rate are missing")
	f("{duration: 1m, faults: [{at: 1s, kind: fire}]}", `no kind "fire"`)
	f("{duration: 1m, faults: [{at: 50s, for: 20s, kind: destination_down}]}", "not over before the end")
	f("{duration: 1m, faults: [{at: 1s, for: 2s, kind: engine_killed}]}", "needs private_engine")
}

func TestResize(t *testing.T) {
	s, err := loadScenario("outage")
	if err != nil {
		t.Fatal(err)
	}
	if err := s.resize(90*time.Second, 0.5); err != nil {
		t.Fatal(err)
	}
	if s.Duration != duration(90*time.Second) || s.WarmUp != duration(12*time.Second) || s.Containers[0].Count != 5 {
		t.Errorf("%v, warm-up %v, %d containers", s.Duration, s.WarmUp, s.Containers[0].Count)
	}
	if f := s.Faults[0]; f.At != duration(12*time.Second) || f.For != duration(12*time.Second) {
		t.Errorf("fault %+v", f)
	}
	if n := s.Agent["container_monitor"].(map[string]any)["max_streams"]; n != 25 {
		t.Errorf("max_streams %v", n)
	}
	s, err = loadScenario("phase-6")
	if err != nil {
		t.Fatal(err)
	}
	if err := s.resize(6*time.Minute, 0); err != nil || *s.Criteria.Rotations != 55 || s.lasting() != 55 {
		t.Errorf("%v, rotations %v of %d", err, *s.Criteria.Rotations, s.lasting())
	}
}
