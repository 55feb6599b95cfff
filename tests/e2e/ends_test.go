package e2e

import (
	"path/filepath"
	"slices"
	"testing"
	"time"

	"log_capturer/internal/testkit/agent"
	"log_capturer/internal/testkit/enginetest"
	"log_capturer/internal/testkit/script"
)

// What a stage holds back of a container goes on when the container ends, and
// does not wait for as long as it might: here that would be an hour.
func TestNothingIsHeldAtTheEndOfAContainer(t *testing.T) {
	for _, transport := range []string{"auto", "api"} {
		t.Run(transport, func(t *testing.T) {
			engine := enginetest.New(t)
			id := label(t)
			a := agent.Start(t, agent.Options{Config: monitorConfig(id, "transport: "+transport) + `pipelines:
  - name: traces
    select: {names: ["*"]}
    stages:
      - {type: multiline, preset: any, max_wait: 1h}
      - {type: collapse, window: 1h}
`})
			c := engine.Run(t, enginetest.Options{
				Labels: map[string]string{labelKey: id},
				Script: script.Script{
					script.Out("panic: no\n\ngoroutine 1 [running]:\nmain.main()\n"), script.Err("again\n"), script.Err("again\n"), script.Err("again\n"),
					{Wait: true}, // as long as it takes to read this far
					script.Out("\t/main.go:5 +0x1d\n"), script.Err("again"),
				},
			})
			lines := func() (out, err []string) {
				readFiles(t, filepath.Join(a.DataDir, "logs"), func(l *fileLine) {
					if text := string(l.bytes()); l.Stream == "stderr" {
						err = append(err, text)
					} else {
						out = append(out, text)
					}
				})
				return out, err
			}
			enginetest.Eventually(t, time.Minute, "what was written is read", func() bool {
				samples, err := a.Scrape()
				enginetest.Must(t, err)
				n, _ := samples.Sum("log_capturer_container_records_total")
				return n == 7
			})
			enginetest.Eventually(t, time.Minute, "what is not held arrives", func() bool {
				return acknowledged(t, a, "local_file") > 0
			})
			if out, err := lines(); len(out) > 0 || !slices.Equal(err, []string{"again"}) {
				t.Errorf("%q and %q arrived before the end", out, err)
			}
			enginetest.Must(t, c.Proceed())
			wantOut := []string{"panic: no\n\ngoroutine 1 [running]:\nmain.main()\n\t/main.go:5 +0x1d"}
			wantErr := []string{"again", "again"}
			enginetest.Eventually(t, time.Minute, "what was held arrives", func() bool {
				out, err := lines()
				return len(out) >= len(wantOut) && len(err) >= len(wantErr)
			})
			waitRead(t, a, c)
			waitDrained(t, a)
			if out, err := lines(); !slices.Equal(out, wantOut) || !slices.Equal(err, wantErr) {
				t.Errorf("got %q and %q, want %q and %q", out, err, wantOut, wantErr)
			}
			checkAccounts(t, a)
		})
	}
}
