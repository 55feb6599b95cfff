package main

import (
	"fmt"
	"io"
	"strings"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// ev returns an event as go test -json prints it.
func ev(action, test, output string) string {
	return fmt.Sprintf("{\"Action\":%q,\"Package\":\"m/a\",\"Test\":%q,\"Output\":%q}\n", action, test, output)
}

func TestSummary(t *testing.T) {
	f := func(name, input, wantReport string, wantShown ...string) {
		t.Run(name, func(t *testing.T) {
			var shown strings.Builder
			s := newSummary(&shown)
			if err := s.read(strings.NewReader(input)); err != nil {
				t.Fatal(err)
			}
			if got := s.report(); got != wantReport {
				t.Errorf("report:\n%s\nwant:\n%s", got, wantReport)
			}
			for _, want := range wantShown {
				if !strings.Contains(shown.String(), want) {
					t.Errorf("shown without %q:\n%s", want, shown.String())
				}
			}
		})
	}
	f("passes, with subtests",
		ev("run", "TestA", "")+ev("output", "TestA", "hidden\n")+ev("run", "TestA/x", "")+ev("pass", "TestA/x", "")+ev("pass", "TestA", "")+
			ev("output", "", "ok  \tm/a\t0.1s\n")+ev("pass", "", ""),
		"ok  \tm/a\t0.1s\n2 passed, 0 failed, 0 skipped\n")
	f("a failure shows its output",
		ev("run", "TestA", "")+ev("output", "TestA", "a_test.go:1: wrong\n")+ev("fail", "TestA", "")+
			ev("output", "", "FAIL\n")+ev("output", "", "FAIL\tm/a\t0.1s\n")+ev("fail", "", ""),
		"FAIL\tm/a\t0.1s\nfailed: m/a TestA\nFAIL\n0 passed, 1 failed, 0 skipped\n",
		"a_test.go:1: wrong\n")
	f("a skip is told",
		ev("run", "TestA", "")+ev("output", "TestA", "no engine\n")+ev("skip", "TestA", "")+
			ev("output", "", "ok  \tm/a\t0.1s\n")+ev("pass", "", ""),
		"ok  \tm/a\t0.1s\nskipped: m/a TestA\n0 passed, 0 failed, 1 skipped\n",
		"no engine\n")
	f("a package without tests is no skip",
		ev("output", "", "?   \tm/a\t[no test files]\n")+ev("skip", "", ""),
		"?   \tm/a\t[no test files]\n0 passed, 0 failed, 0 skipped\n")
	f("a panic blames the test that never ended",
		ev("run", "TestA", "")+ev("pass", "TestA", "")+ev("run", "TestB", "")+ev("output", "TestB", "panic: planted\n")+
			ev("output", "", "FAIL\tm/a\t0.1s\n")+ev("fail", "", ""),
		"FAIL\tm/a\t0.1s\nfailed: m/a TestB\nFAIL\n1 passed, 1 failed, 0 skipped\n",
		"panic: planted\n")
	f("a package that fails by itself counts",
		ev("run", "TestA", "")+ev("pass", "TestA", "")+ev("output", "", "goleak: Errors on successful test run\n")+
			ev("output", "", "FAIL\tm/a\t0.1s\n")+ev("fail", "", ""),
		"FAIL\tm/a\t0.1s\nfailed: m/a\nFAIL\n1 passed, 1 failed, 0 skipped\n",
		"goleak: Errors")
	f("a build that fails",
		"# m/a\n"+ev("build-output", "", "a.go:1: syntax error\n")+ev("output", "", "FAIL\tm/a [build failed]\n")+ev("fail", "", ""),
		"FAIL\tm/a [build failed]\nfailed: m/a\nFAIL\n0 passed, 1 failed, 0 skipped\n",
		"# m/a\n", "syntax error")
}

func TestRequired(t *testing.T) {
	s := &summary{passed: []string{"m/a TestPlantedLeak"}, failed: []string{"m/a TestOther"}}
	if missing := s.missing([]string{"PlantedLeak", "Other", "Gone$"}); strings.Join(missing, " ") != "Other Gone$" {
		t.Errorf("missing: %v", missing)
	}
}

// TestAgain runs a shell in place of go test: it fails for a test until a file
// is there, which it makes.
func TestAgain(t *testing.T) {
	f := func(name string, failed []string, script string, wantFailed, wantFlaky int) {
		t.Run(name, func(t *testing.T) {
			t.Chdir(t.TempDir())
			s := newSummary(io.Discard)
			s.failed = failed
			if err := s.again([]string{"sh", "-c", script}); err != nil {
				t.Fatal(err)
			}
			if len(s.failed) != wantFailed || len(s.flaky) != wantFlaky {
				t.Errorf("failed %v, flaky %v, want %d and %d", s.failed, s.flaky, wantFailed, wantFlaky)
			}
		})
	}
	quote := func(s string) string { return "printf '%s' '" + s + "'" }
	passes, fails := quote(ev("pass", "TestA", "")), quote(ev("fail", "TestA", ""))
	f("passes the second time", []string{"m/a TestA/x", "m/a TestA"}, passes, 0, 1)
	f("fails again", []string{"m/a TestA"}, fails, 1, 0)
	f("one of two fails again", []string{"m/a TestA", "m/b TestB"}, passes, 1, 1)
	f("does not run the second time", []string{"m/a TestA"}, "true", 1, 0)
	f("passes, and the command fails", []string{"m/a TestA"}, passes+"; exit 1", 1, 0)
	f("a package is final", []string{"m/a"}, passes, 1, 0)
	f("too many", []string{"m/a TestA", "m/a TestB", "m/a TestC", "m/a TestD"}, passes, 4, 0)
}
