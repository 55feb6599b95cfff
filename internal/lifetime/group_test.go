package lifetime

import (
	"context"
	"errors"
	"fmt"
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
