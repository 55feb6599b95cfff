package main

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"log_capturer/internal/planted"
)

// A build without a tag holds nothing of the planted faults, neither their code
// nor their names; one with a tag holds its own.
func TestTheReleaseHoldsNoFault(t *testing.T) {
	dir := t.TempDir()
	build := func(tags string) []byte {
		path := filepath.Join(dir, "agent")
		if err := buildAgent(t.Context(), path, tags, ""); err != nil {
			t.Fatal(err)
		}
		program, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		return bytes.ToLower(program)
	}
	words := []string{"planted"}
	for _, c := range controls {
		if c.fault != "" {
			words = append(words, c.fault)
		}
	}
	release := build("")
	for _, word := range words {
		if bytes.Contains(release, []byte(word)) {
			t.Errorf("the release holds %q", word)
		}
	}
	faulty := build("planted_" + planted.AbandonedStream)
	if !bytes.Contains(faulty, []byte("plantedabandon")) {
		t.Error("the build with a fault does not hold it: the words prove nothing")
	}
	if planted.Fault != "" {
		t.Errorf("these tests are built with the fault %s", planted.Fault)
	}
}

// Each fault that can be planted has a control, and each control a scenario.
func TestEveryFaultHasAControl(t *testing.T) {
	tags, err := filepath.Glob("../../../internal/planted/planted_*.go")
	if err != nil || len(tags) != 9 {
		t.Fatalf("%d tags, want 9: %v", len(tags), err)
	}
	clean := map[string]bool{}
	for _, c := range controls {
		if _, err := c.load(); err != nil {
			t.Errorf("%s: %v", c.name(), err)
		}
		if c.fault == "" {
			clean[c.scenario] = true
			continue
		}
		if len(c.found) == 0 {
			t.Errorf("%s: nothing has to be found", c.fault)
		}
		if !clean[c.scenario] {
			t.Errorf("%s: no agent without a fault runs %s", c.fault, c.scenario)
		}
	}
	for _, tag := range tags {
		name := strings.TrimSuffix(strings.TrimPrefix(filepath.Base(tag), "planted_"), ".go")
		if !slices.ContainsFunc(controls, func(c control) bool { return c.fault == name }) {
			t.Errorf("no control for %s", name)
		}
		source, err := os.ReadFile(tag)
		if err != nil || !bytes.HasPrefix(source, []byte("//go:build planted_"+name+"\n")) {
			t.Errorf("%s is not built by its tag alone: %v", tag, err)
		}
	}
}

func TestControlJudge(t *testing.T) {
	rows := func(goroutines row) []row {
		return []row{goroutines, {critLines, "", "fine", true}}
	}
	c := control{fault: "x", found: []finding{{critGoroutines, "; stream +"}}}
	f := func(c control, rows []row, ok bool, says string) {
		t.Helper()
		if got, text := c.judge(rows); got != ok || !strings.HasPrefix(text, says) {
			t.Errorf("%v, %q; want %v, %q", got, text, ok, says)
		}
	}
	f(c, rows(row{critGoroutines, "", "+9/min; stream +9/min", false}), true, "found: goroutine growth: +9/min")
	f(c, rows(row{critGoroutines, "", "+9/min; stream +9/min", true}), false, "NOT FOUND: goroutine growth passes")
	f(c, rows(row{critGoroutines, "", "+9/min; server +9/min", false}), false, "NOT NAMED: goroutine growth")
	f(c, []row{{critLines, "", "", false}}, false, "NOT FOUND: nothing was said")
	clean := control{}
	f(clean, rows(row{critGoroutines, "", "", true}), true, "passes")
	f(clean, rows(row{critGoroutines, "", "+9", false}), false, "NOT CLEAN")
}
