package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"runtime/debug"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	"go.uber.org/goleak"

	"log_capturer/internal/app"
	"log_capturer/internal/config"
	"log_capturer/internal/reload"
)

// TestMain makes the test binary stand in for log_capturer in the scripts.
func TestMain(m *testing.M) {
	testscript.Main(leakChecked{m}, map[string]func(){
		"log_capturer": func() {
			env := Env{Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr, LookupEnv: os.LookupEnv}
			os.Exit(Main(context.Background(), os.Args[1:], env, Agent{Run: scripted, Check: app.Check}))
		},
		"fetch": fetch,
	})
}

// fetch prints what is at a URL.
func fetch() {
	resp, err := http.Get(os.Args[1])
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	defer resp.Body.Close()
	io.Copy(os.Stdout, resp.Body)
}

// leakChecked runs the tests, and then checks for goroutines they left.
type leakChecked struct{ *testing.M }

func (m leakChecked) Run() int {
	code := m.M.Run()
	if err := goleak.Find(); err != nil && code == 0 {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return code
}

// scripted is the agent of the scripts. The configuration's host says what it
// does.
func scripted(ctx context.Context, cfg *config.Config, _ *reload.Reloads, stdout io.Writer, logger *slog.Logger) error {
	fmt.Fprintf(stdout, "data in %s\n", cfg.DataDir)
	logger.Info("agent started", "host", cfg.Host)
	logger.Debug("agent is verbose")
	switch cfg.Host {
	case "fails":
		return errors.New("no engine")
	case "stops":
		// It tells by a file that it waits for a signal.
		if err := os.WriteFile("ready", nil, 0o600); err != nil {
			return err
		}
		<-ctx.Done()
		fmt.Fprintln(stdout, "stopped")
	case "hangs":
		if err := os.WriteFile("ready", nil, 0o600); err != nil {
			return err
		}
		<-ctx.Done()
		if err := os.WriteFile("stopping", nil, 0o600); err != nil {
			return err
		}
		// Only a second signal ends it earlier.
		<-time.After(20 * time.Second)
	}
	return nil
}

func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata",
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Cmds:                scriptCommands,
	})
}

// result is what a command line gives.
type result struct {
	code           int
	stdout, stderr string
}

func runMain(ctx context.Context, run RunFunc, args ...string) result {
	var stdout, stderr bytes.Buffer
	env := Env{Stdout: &stdout, Stderr: &stderr, LookupEnv: func(string) (string, bool) { return "", false }}
	code := Main(ctx, args, env, Agent{Run: run})
	return result{code, stdout.String(), stderr.String()}
}

func TestRunIsGivenTheConfiguration(t *testing.T) {
	type key struct{}
	ctx := context.WithValue(context.Background(), key{}, "value")
	for _, args := range [][]string{nil, {"run"}} {
		called := 0
		got := runMain(ctx, func(ctx context.Context, cfg *config.Config, _ *reload.Reloads, stdout io.Writer, logger *slog.Logger) error {
			called++
			if ctx.Value(key{}) != "value" {
				t.Error("run has another context")
			}
			if cfg.DataDir != config.Default().DataDir {
				t.Errorf("run has the configuration %+v", cfg)
			}
			fmt.Fprint(stdout, "hello")
			logger.Info("logged")
			return nil
		}, args...)
		if called != 1 || got.code != ExitOK || got.stdout != "hello" || !strings.Contains(got.stderr, "msg=logged") {
			t.Errorf("%q: called %d times, %+v", args, called, got)
		}
	}
}

func TestTheEndOfTheCallersContextEndsRun(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	got := runMain(ctx, func(ctx context.Context, _ *config.Config, _ *reload.Reloads, _ io.Writer, _ *slog.Logger) error {
		cancel()
		<-ctx.Done()
		return nil
	}, "run")
	if got.code != ExitOK {
		t.Errorf("got %+v", got)
	}
}

func TestLogger(t *testing.T) {
	f := func(cfg config.Log, want ...string) {
		t.Helper()
		var out bytes.Buffer
		logger := newAgentLog(cfg, &out).logger
		logger.Debug("debug")
		logger.Info("info")
		logger.Warn("warn")
		logger.Error("error")
		var got []string
		for line := range strings.Lines(out.String()) {
			if cfg.Format == "json" {
				var fields struct{ Msg string }
				if err := json.Unmarshal([]byte(line), &fields); err != nil {
					t.Fatal(err)
				}
				got = append(got, fields.Msg)
				continue
			}
			_, message, _ := strings.Cut(strings.TrimSpace(line), "msg=")
			got = append(got, message)
		}
		if fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("%+v writes %v, want %v", cfg, got, want)
		}
	}
	f(config.Log{Level: "debug", Format: "text"}, "debug", "info", "warn", "error")
	f(config.Log{Level: "info", Format: "json"}, "info", "warn", "error")
	f(config.Log{Level: "warn", Format: "text"}, "warn", "error")
	f(config.Log{Level: "error", Format: "json"}, "error")
}

func TestVersionText(t *testing.T) {
	f := func(version string, settings []debug.BuildSetting, want string) {
		t.Helper()
		info := &debug.BuildInfo{GoVersion: "go1.26", Main: debug.Module{Version: version}, Settings: settings}
		if got := versionText(info); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
	f("", nil, "log_capturer (devel), go1.26")
	f("v1.2.3", nil, "log_capturer v1.2.3, go1.26")
	f("v1.2.3", []debug.BuildSetting{{Key: "vcs.revision", Value: "abc"}, {Key: "vcs.modified", Value: "true"}},
		"log_capturer v1.2.3, commit abc with changes, go1.26")
	f("v1.2.3", []debug.BuildSetting{{Key: "vcs.revision", Value: "abc"}, {Key: "vcs.modified", Value: "false"}},
		"log_capturer v1.2.3, commit abc, go1.26")
}
