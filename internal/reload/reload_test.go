package reload

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"log_capturer/internal/config"
	"log_capturer/internal/health"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// start runs reloads until the test is over.
func start(t *testing.T, opts Options, apply func(context.Context, *config.Config) ([]string, error)) *Reloads {
	opts.Logger = slog.New(slog.DiscardHandler)
	r := New(opts)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- r.Run(ctx, apply) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		if _, err := r.Do(context.Background(), ByAPI); err == nil {
			t.Error("a reload after the end")
		}
	})
	return r
}

// TestResults says what each kind of reload comes to, and what is told of it.
func TestResults(t *testing.T) {
	var loadErr, applyErr error
	var changed []string
	var applied int
	r := start(t, Options{
		Path: "c.yaml", Load: func() (*config.Config, error) { return config.Default(), loadErr },
		Applied: func(*config.Config) { applied++ },
	}, func(context.Context, *config.Config) ([]string, error) { return changed, applyErr })
	if r.Last() != nil || r.Health()[0].Status != health.Healthy {
		t.Errorf("before the first reload: %+v, %+v", r.Last(), r.Health())
	}
	f := func(result string, status health.Status, errs ...string) {
		t.Helper()
		got, err := r.Do(t.Context(), ByAPI)
		if err != nil || got.Result != result || !slices.Equal(got.Errors, errs) || got.Cause != ByAPI {
			t.Errorf("%+v, %v, want %s with %q", got, err, result, errs)
		}
		if h := r.Health()[0]; h.Status != status || len(errs) > 0 && !strings.Contains(h.Reason, errs[0]) {
			t.Errorf("%s: health %+v", result, h)
		}
		if r.Last().Result != result || r.counts[result] == 0 {
			t.Errorf("%s is not kept: %+v", result, r.Last())
		}
	}
	f(Unchanged, health.Healthy)
	changed = []string{"log"}
	f(Applied, health.Healthy)
	applyErr = errors.New("listen: no")
	f(Refused, health.Degraded, "listen: no")
	loadErr = config.Errors{{File: "c.yaml", Line: 1, Column: 2, Message: "one"}, {File: "c.yaml", Line: 3, Column: 4, Message: "two"}}
	f(Invalid, health.Degraded, loadErr.(config.Errors)[0].Error(), loadErr.(config.Errors)[1].Error())
	loadErr, applyErr = nil, nil
	f(Applied, health.Healthy)
	if applied != 3 {
		t.Errorf("Applied was called %d times", applied)
	}
}

// TestOneAtATime says that what is asked for while a reload is under way is done
// once, afterwards.
func TestOneAtATime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var runs atomic.Int32
		r := start(t, Options{Path: "c.yaml", Load: func() (*config.Config, error) { return config.Default(), nil }},
			func(context.Context, *config.Config) ([]string, error) {
				runs.Add(1)
				time.Sleep(time.Second)
				return nil, nil
			})
		r.Ask(BySignal)
		synctest.Wait()
		for range 5 {
			go r.Do(t.Context(), ByAPI)
			r.Ask(BySignal)
		}
		time.Sleep(10 * time.Second)
		if n := runs.Load(); n != 2 {
			t.Errorf("%d reloads, want the first and one for all others", n)
		}
	})
}

// TestWithoutFile says what an agent without a file answers.
func TestWithoutFile(t *testing.T) {
	r := start(t, Options{}, nil)
	if got, err := r.Do(t.Context(), BySignal); err != nil || got.Result != Invalid || !strings.Contains(got.Errors[0], "--config") {
		t.Errorf("%+v, %v", got, err)
	}
}

// TestWatch says that a file is read when it was changed and is still, in whatever
// way it was changed, and once.
func TestWatch(t *testing.T) {
	path := filepath.Join(t.TempDir(), "c.yaml")
	write := func(name, text string) {
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(path, "one")
	synctest.Test(t, func(t *testing.T) {
		var loads atomic.Int32
		start(t, Options{Path: path, Watch: true, Load: func() (*config.Config, error) {
			loads.Add(1)
			return config.Default(), nil
		}}, func(context.Context, *config.Config) ([]string, error) { return nil, nil })
		want := func(what string, n int32) {
			t.Helper()
			time.Sleep(10 * time.Second)
			if got := loads.Load(); got != n {
				t.Errorf("%s: %d reloads, want %d", what, got, n)
			}
		}
		want("untouched", 0)
		write(path, "written in place")
		want("written", 1)
		for _, text := range []string{"a", "ab", "abc", "abcd", "abcde"} {
			write(path, text)
			time.Sleep(500 * time.Millisecond)
		}
		want("written slowly", 2)
		write(path+".new", "another file")
		if err := os.Rename(path+".new", path); err != nil {
			t.Fatal(err)
		}
		want("replaced", 3)
		os.Remove(path)
		want("removed", 3)
		write(path, "there again")
		want("there again", 4)
	})
}
