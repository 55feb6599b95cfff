package cli

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"log_capturer/internal/lifetime"
)

// withSignals returns a context that SIGINT and SIGTERM end. The second one has
// its default effect, which is the end of the process, however soon after the
// first it comes. The caller calls stop when it no longer wants that.
func withSignals(ctx context.Context) (_ context.Context, stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM)
	done := make(chan struct{})
	g := lifetime.NewGroup(context.WithoutCancel(ctx))
	g.Go("cli", func(context.Context) error {
		select {
		case <-signals:
			cancel()
		case <-done:
			return nil
		}
		select {
		case s := <-signals:
			signal.Reset(s)
			return syscall.Kill(os.Getpid(), s.(syscall.Signal))
		case <-done:
			return nil
		}
	})
	return ctx, func() {
		signal.Stop(signals)
		close(done)
		_ = g.Wait() // a process that cannot signal itself has other troubles
		cancel()
	}
}

// onReloadSignal has ask called whenever SIGHUP comes, until stop is called.
func onReloadSignal(ask func()) (stop func()) {
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGHUP)
	done := make(chan struct{})
	g := lifetime.NewGroup(context.Background())
	g.Go("cli", func(context.Context) error {
		for {
			select {
			case <-signals:
				ask()
			case <-done:
				return nil
			}
		}
	})
	return func() {
		signal.Stop(signals)
		close(done)
		_ = g.Wait() // it has no errors
	}
}
