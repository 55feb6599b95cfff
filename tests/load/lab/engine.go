package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"runtime"
	"testing"

	"github.com/moby/moby/client"

	"log_capturer/internal/testkit/enginetest"
	"log_capturer/internal/testkit/writerimage"
)

// engine is the container engine of a run.
type engine struct {
	*client.Client
	// private is set when the engine is the lab's own.
	private *enginetest.PrivateEngine
	// host is its address.
	host  string
	close func() error
}

// openEngine returns the engine that DOCKER_HOST names, or else that of the
// default socket, or one of the lab's own.
func openEngine(ctx context.Context, private bool, out io.Writer) (*engine, error) {
	if private {
		return openPrivateEngine(out)
	}
	cli, err := client.New(client.FromEnv)
	if err != nil {
		return nil, fmt.Errorf("make engine client: %w", err)
	}
	if err := writerimage.Ensure(ctx, cli); err != nil {
		return nil, errors.Join(fmt.Errorf("engine at %s: %w", cli.DaemonHost(), err), cli.Close())
	}
	return &engine{Client: cli, host: cli.DaemonHost(), close: cli.Close}, nil
}

// openPrivateEngine starts an engine whose containers outlive it when it is
// killed.
func openPrivateEngine(out io.Writer) (*engine, error) {
	b := &bench{out: out}
	e := &engine{close: b.end}
	err := b.do(func() { e.private = enginetest.NewPrivate(b, "--live-restore") })
	if err != nil {
		return nil, errors.Join(err, b.end())
	}
	e.Client, e.host = e.private.Client, e.private.Host
	return e, nil
}

// whileDown kills or stops a private engine, and starts it again when the wait
// is over.
func (e *engine) whileDown(kill bool, wait func()) error {
	b := &bench{}
	if kill {
		e.private.Kill()
	} else if err := b.do(e.private.Stop); err != nil {
		return err
	}
	wait()
	return b.do(e.private.Start)
}

// bench stands in for a test, outside of go test, for the parts of the testkit
// that want one. Only what these use is there.
type bench struct {
	testing.TB // nil; it has what nothing here calls

	out      io.Writer
	cleanups []func()
	err      error
}

func (b *bench) Helper()          {}
func (b *bench) Failed() bool     { return b.err != nil }
func (b *bench) Cleanup(f func()) { b.cleanups = append(b.cleanups, f) }

func (b *bench) Logf(format string, args ...any) {
	if b.out != nil {
		fmt.Fprintf(b.out, format+"\n", args...)
	}
}

func (b *bench) Error(args ...any) { b.err = errors.Join(b.err, errors.New(fmt.Sprint(args...))) }

func (b *bench) Errorf(format string, args ...any) {
	b.err = errors.Join(b.err, fmt.Errorf(format, args...))
}

func (b *bench) Fatal(args ...any) {
	b.Error(args...)
	runtime.Goexit()
}

func (b *bench) Fatalf(format string, args ...any) {
	b.Errorf(format, args...)
	runtime.Goexit()
}

// do calls f, which may end its goroutine by Fatal.
func (b *bench) do(f func()) error {
	done := make(chan struct{})
	go func() {
		defer close(done)
		f()
	}()
	<-done
	return b.err
}

// end does what tests do when they end.
func (b *bench) end() error {
	b.err = nil
	for len(b.cleanups) > 0 {
		last := len(b.cleanups) - 1
		f := b.cleanups[last]
		b.cleanups = b.cleanups[:last]
		_ = b.do(f) // its errors are kept
	}
	return b.err
}
