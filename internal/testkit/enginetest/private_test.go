package enginetest

import (
	"context"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/moby/moby/client"

	"log_capturer/internal/record"
)

func TestPrivateEngineIsKilledAndStartedAgain(t *testing.T) {
	for _, flags := range [][]string{nil, {"--live-restore"}} {
		t.Run(strings.Join(flags, " "), func(t *testing.T) {
			p := NewPrivate(t, flags...)
			c := p.Run(t, Options{Count: true, Args: []string{"-rate", "100", "-run-id", "r"}})
			grown := func() func() bool {
				before := uint64(0)
				return func() bool {
					counts, err := c.Written()
					Must(t, err)
					if len(counts) == 0 {
						return false
					}
					n := counts[0].Lines[record.Stdout]
					if before == 0 {
						before = n
					}
					return n > before
				}
			}
			Eventually(t, time.Minute, "the container writes", grown())
			p.Kill()
			if _, err := p.Client.Ping(context.Background(), client.PingOptions{}); err == nil {
				t.Fatal("a killed engine answers")
			}
			Eventually(t, time.Minute, "the container writes on", grown())
			p.Start()
			found, err := c.Inspect()
			Must(t, err)
			if live := len(flags) > 0; found.State.Running != live {
				t.Errorf("running %v after the engine's restart, want %v", found.State.Running, live)
			}
			if len(flags) > 0 {
				Eventually(t, time.Minute, "the container writes on", grown())
			} else {
				Must(t, c.Start())
			}
			p.Stop()
			p.Start()
			stdout, _ := logs(t, c)
			if !strings.HasPrefix(stdout, "r.1 out 1 ") {
				t.Errorf("the log begins with %.60q", stdout)
			}
		})
	}
}

// TestPrivateEngineLeavesNothing kills the engine while a container runs, which
// is when the most is left.
func TestPrivateEngineLeavesNothing(t *testing.T) {
	var dir directory
	t.Run("engine", func(t *testing.T) {
		p := NewPrivate(t)
		dir = p.dir
		p.Run(t, Options{Args: []string{"-rate", "10"}})
		if len(shims(dir, processes())) != 1 || len(dir.cgroups()) == 0 {
			t.Errorf("%d shims, cgroups %v", len(shims(dir, processes())), dir.cgroups())
		}
		p.Kill()
	})
	if _, err := os.Stat(string(dir)); err == nil {
		t.Error("its directory is still there")
	}
	if left := dir.mounts(); len(left) > 0 {
		t.Errorf("mounts %v", left)
	}
	if left := dir.cgroups(); len(left) > 0 {
		t.Errorf("cgroups %v", left)
	}
	for _, p := range processes() {
		if slices.ContainsFunc(p.command, func(arg string) bool { return strings.Contains(arg, string(dir)) }) {
			t.Errorf("process %d %v", p.pid, p.command)
		}
	}
}
