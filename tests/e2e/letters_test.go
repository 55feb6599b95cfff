package e2e

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"log_capturer/internal/record"
	"log_capturer/internal/sinks/loki/lokitest"
	"log_capturer/internal/testkit/agent"
	"log_capturer/internal/testkit/enginetest"
	"log_capturer/internal/testkit/ledger"
)

// Records that a destination refuses for two reasons are counted by reason, and are
// listed, shown, purged and replayed, by the command and over the API. What was
// purged is missing at the end, and nothing else is.
func TestDeadLetterCommands(t *testing.T) {
	engine := enginetest.New(t)
	id := label(t)
	const lines = 1000
	arrived := ledger.New()
	var mended atomic.Bool
	loki := startLoki(t, arrived, lokitest.Options{
		Deduplicate: true,
		Limits: lokitest.Limits{Refuse: func(_ string, _ int64, line []byte) error {
			fields := bytes.Fields(line)
			switch {
			case len(fields) < 4 || mended.Load():
			case bytes.HasSuffix(fields[2], []byte("50")):
				return errors.New("entry is out of favour")
			case bytes.HasSuffix(fields[2], []byte("00")):
				return errors.New("entry out of order")
			}
			return nil
		}},
	})
	a := agent.Start(t, agent.Options{Config: monitorConfig(id) + "sinks:\n" + lokiSink(loki)})
	c := engine.Run(t, enginetest.Options{
		Labels: map[string]string{labelKey: id},
		Args:   []string{"-run-id", "r", "-lines", fmt.Sprint(lines), "-streams", "both"},
	})
	waitEnded(t, []*enginetest.Container{c})
	const letters = 2 * lines / 50
	enginetest.Eventually(t, 2*time.Minute, "every line is settled", func() bool {
		return acknowledged(t, a, "loki") == 2*lines-letters && a.Metric(t, "log_capturer_records_dead_lettered_total") == letters
	})
	checkAccounts(t, a)
	for reason, n := range map[string]float64{"out_of_order": letters / 2, "bad_request": letters / 2} {
		for _, name := range []string{"log_capturer_records_refused_total", "log_capturer_dead_letters"} {
			if got := a.Metric(t, name, "sink", "loki", "reason", reason); got != n {
				t.Errorf("%s of %s: %v, want %v", name, reason, got, n)
			}
		}
	}

	run := func(args ...string) string {
		t.Helper()
		output, code := a.Command(append([]string{"dead-letters"}, args...)...)
		if code != 0 {
			t.Fatalf("dead-letters %q: status %d: %s", args, code, output)
		}
		return output
	}
	// A line for each letter, and a heading.
	if list := run("list"); strings.Count(list, "\n") != letters+1 || strings.Count(list, "out_of_order") != letters/2 {
		t.Errorf("list:\n%s", list)
	}
	if list := run("list", "--reason", "bad_request", "--sink", "loki"); strings.Count(list, "\n") != letters/2+1 || strings.Contains(list, "out_of_order") {
		t.Errorf("list of a reason:\n%s", list)
	}
	var shown struct {
		ID     uint64
		Letter struct{ Sink, Reason, Detail, Line string }
	}
	enginetest.Must(t, json.Unmarshal([]byte(run("show", "0")), &shown))
	if shown.ID != 0 || shown.Letter.Sink != "loki" || shown.Letter.Detail == "" || !strings.HasPrefix(shown.Letter.Line, "r ") {
		t.Errorf("show: %+v", shown)
	}
	run("purge", "0")
	var answer struct{ Total int }
	res, err := http.Get(a.API + "/api/v1/dead-letters?limit=1")
	enginetest.Must(t, err)
	enginetest.Must(t, json.NewDecoder(res.Body).Decode(&answer))
	res.Body.Close()
	if answer.Total != letters-1 {
		t.Errorf("%d letters are left over the API, want %d", answer.Total, letters-1)
	}

	mended.Store(true)
	run("replay", "--all")
	if n := a.Metric(t, "log_capturer_dead_letters"); n != 0 {
		t.Errorf("%v letters are left", n)
	}
	checkAccounts(t, a)
	arrived.Expect(c.ID, "r", record.Stdout, lines)
	arrived.Expect(c.ID, "r", record.Stderr, lines)
	report := arrived.Check()
	t.Log(report)
	if report.Missing != 1 || report.Repeated+report.Corrupt+report.Misplaced+report.Unexpected+report.Foreign != 0 {
		t.Errorf("want the line that was purged to be missing: %v", report)
	}
}
