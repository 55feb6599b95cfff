package lifetime

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"runtime/pprof"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	if os.Getenv("LIFETIME_TEST_PANIC") != "" {
		g := NewGroup(context.Background())
		g.Go("test", func(context.Context) error { panic("planted") })
		_ = g.Wait()
		os.Exit(0)
	}
	goleak.VerifyTestMain(m)
}

func untilDone(ctx context.Context) error {
	<-ctx.Done()
	return ctx.Err()
}

func TestWaitReturnsAfterTheLastFunction(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := NewGroup(t.Context())
		start := time.Now()
		for i := range 3 {
			g.Go("test", func(context.Context) error {
				<-time.After(time.Duration(i) * time.Second)
				return nil
			})
		}
		if err := g.Wait(); err != nil {
			t.Errorf("Wait: %v, want nil", err)
		}
		if waited := time.Since(start); waited != 2*time.Second {
			t.Errorf("Wait returned after %v, want 2s: the slowest function", waited)
		}
		if g.Context().Err() == nil {
			t.Error("the context lives on after Wait")
		}
	})
}

func TestFirstErrorCancelsAll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		first := errors.New("first")
		g := NewGroup(t.Context())
		g.Go("test", untilDone)
		g.Go("test", func(context.Context) error {
			<-time.After(time.Second)
			return first
		})
		g.Go("test", func(ctx context.Context) error {
			<-ctx.Done()
			return errors.New("consequence of the first")
		})
		if err := g.Wait(); !errors.Is(err, first) {
			t.Errorf("Wait: %v, want %v", err, first)
		}
	})
}

func TestNilEndsAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := NewGroup(t.Context())
		g.Go("test", func(context.Context) error { return nil })
		synctest.Wait()
		if g.Context().Err() != nil {
			t.Error("a function that returned nil cancelled the group")
		}
		if err := g.Wait(); err != nil {
			t.Errorf("Wait: %v, want nil", err)
		}
	})
}

func TestEndAsToldIsNoError(t *testing.T) {
	f := func(name string, end func(g *Group, cancelParent func()), ret func(ctx context.Context) error, want string) {
		t.Run(name, func(t *testing.T) {
			parent, cancel := context.WithCancel(context.Background())
			defer cancel()
			g := NewGroup(parent)
			g.Go("test", func(ctx context.Context) error {
				<-ctx.Done()
				return ret(ctx)
			})
			end(g, cancel)
			if err := g.Wait(); fmt.Sprint(err) != want {
				t.Errorf("Wait: %v, want %s", err, want)
			}
		})
	}
	byParent := func(_ *Group, cancelParent func()) { cancelParent() }
	byCancel := func(g *Group, _ func()) { g.Cancel() }

	f("the parent ended", byParent, untilDone, "<nil>")
	f("Cancel", byCancel, untilDone, "<nil>")
	f("wrapped", byCancel, func(ctx context.Context) error { return fmt.Errorf("read: %w", ctx.Err()) }, "<nil>")
	f("an error on the way out", byCancel, func(context.Context) error { return errors.New("sync: no space") }, "sync: no space")
	f("somebody else's deadline", byCancel, func(context.Context) error { return context.DeadlineExceeded }, "context deadline exceeded")
}

func TestGroupsNest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		inner := errors.New("inner")
		g := NewGroup(t.Context())
		g.Go("outer", func(ctx context.Context) error {
			nested := NewGroup(ctx)
			nested.Go("inner", untilDone)
			nested.Go("inner", func(context.Context) error { return inner })
			return nested.Wait()
		})
		if err := g.Wait(); !errors.Is(err, inner) {
			t.Errorf("Wait: %v, want %v", err, inner)
		}
	})
}

// A panic must end the process with its own message: a group that recovered it,
// or let Wait return first, would hide it.
func TestPanicEndsTheProcess(t *testing.T) {
	cmd := exec.CommandContext(t.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), "LIFETIME_TEST_PANIC=1")
	out, err := cmd.CombinedOutput()
	if err == nil || !strings.Contains(string(out), "panic: planted") {
		t.Errorf("the process ended with %v and %q, want its panic", err, out)
	}
}

func TestFunctionsCarryTheirComponent(t *testing.T) {
	f := func(component string, run func(f func(ctx context.Context))) {
		t.Helper()
		run(func(ctx context.Context) {
			if got, _ := pprof.Label(ctx, ComponentLabel); got != component {
				t.Errorf("label in the context: %q, want %q", got, component)
			}
			var profile strings.Builder
			if err := pprof.Lookup("goroutine").WriteTo(&profile, 1); err != nil {
				t.Error(err)
			}
			if want := fmt.Sprintf("# labels: {%q:%q}", ComponentLabel, component); !strings.Contains(profile.String(), want) {
				t.Errorf("goroutine profile without %s", want)
			}
		})
	}
	f("of_group", func(f func(ctx context.Context)) {
		g := NewGroup(t.Context())
		g.Go("of_group", func(ctx context.Context) error { f(ctx); return nil })
		if err := g.Wait(); err != nil {
			t.Error(err)
		}
	})
	f("of_label", func(f func(ctx context.Context)) { Label(t.Context(), "of_label", f) })
}

// A function that does not end when it is told to is given up: reported with its
// stack, counted, and those who wait for it go on. When it ends after all, that
// is noted.
func TestAStuckFunctionIsGivenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log strings.Builder
		watch := NewWatch(slog.New(slog.NewTextHandler(&log, nil)))
		outer := NewGroup(WithWatch(t.Context(), watch))
		release := make(chan struct{})
		var innerError error
		outer.Go("outer", func(ctx context.Context) error {
			inner := NewGroup(ctx)
			inner.Go("stuck_reader", func(context.Context) error {
				stuckForTheTest(release)
				return nil
			})
			inner.Go("good", untilDone)
			innerError = inner.Wait()
			return nil
		})
		outer.Cancel()
		begin := time.Now()
		if err := outer.Wait(); err != nil {
			t.Errorf("outer: %v, want nil: its own function returned", err)
		}
		if took := time.Since(begin); took != patience-patienceStep {
			t.Errorf("gave up after %v, want %v", took, patience-patienceStep)
		}
		if !errors.Is(innerError, ErrOverdue) || !strings.Contains(innerError.Error(), "stuck_reader") {
			t.Errorf("inner: %v, want ErrOverdue of stuck_reader", innerError)
		}
		if counts := watch.Counts(); len(counts) != 1 || counts["stuck_reader"] != 1 {
			t.Errorf("counts %v, want one stuck_reader", counts)
		}
		current := watch.Current()
		if len(current) != 1 || !strings.Contains(current[0].Stack, "stuckForTheTest") {
			t.Fatalf("overdue %+v, want the stack of stuckForTheTest", current)
		}
		if !strings.Contains(log.String(), "goroutine_overdue") || !strings.Contains(log.String(), "stuckForTheTest") {
			t.Errorf("log without it: %s", log.String())
		}
		close(release)
		synctest.Wait()
		if current := watch.Current(); len(current) != 0 {
			t.Errorf("overdue after its end: %+v", current)
		}
		if watch.Counts()["stuck_reader"] != 1 {
			t.Error("the count fell")
		}
	})
}

func stuckForTheTest(release chan struct{}) { <-release }

// Without a watch a stuck function is given up too.
func TestAStuckFunctionWithoutAWatch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := NewGroup(t.Context())
		release := make(chan struct{})
		g.Go("stuck", func(context.Context) error { <-release; return nil })
		g.Cancel()
		if err := g.Wait(); !errors.Is(err, ErrOverdue) {
			t.Errorf("Wait: %v, want ErrOverdue", err)
		}
		close(release)
	})
}

// What nobody told to end may take as long as it wants.
func TestWaitHasNoDeadlineBeforeTheEndIsTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		watch := NewWatch(slog.New(slog.DiscardHandler))
		g := NewGroup(WithWatch(t.Context(), watch))
		g.Go("long", func(context.Context) error {
			<-time.After(24 * time.Hour)
			return nil
		})
		if err := g.Wait(); err != nil || len(watch.Counts()) != 0 {
			t.Errorf("Wait: %v, overdue %v", err, watch.Counts())
		}
	})
}

func TestATaskIsOverdueOnce(t *testing.T) {
	watch := NewWatch(slog.New(slog.DiscardHandler))
	g := NewGroup(WithWatch(t.Context(), watch))
	task := g.Go("slow", untilDone)
	task.Overdue("end of its lease", time.Second)
	task.Overdue("end of its lease", time.Second)
	if n := watch.Counts()["slow"]; n != 1 {
		t.Errorf("counted %d times", n)
	}
	Given(g.Context(), "server", "close connections", "TestATaskIsOverdueOnce", time.Second)
	if current := watch.Current(); len(current) != 2 || !strings.Contains(current[1].Stack, "TestATaskIsOverdueOnce") {
		t.Errorf("overdue: %+v", current)
	}
	g.Cancel()
	if err := g.Wait(); err != nil {
		t.Error(err)
	}
}

func TestTally(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var tally Tally
		if !tally.Wait(0) {
			t.Error("an empty tally is not idle")
		}
		tally.Add()
		tally.Add()
		tally.Done()
		if tally.Wait(time.Hour) {
			t.Error("idle with one left")
		}
		time.AfterFunc(time.Minute, tally.Done)
		if !tally.Wait(time.Hour) {
			t.Error("not idle after the last end")
		}
		tally.Add()
		if tally.Wait(time.Second) {
			t.Error("idle after a new beginning")
		}
		tally.Done()
	})
}
