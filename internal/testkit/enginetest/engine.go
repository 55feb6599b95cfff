// Package enginetest gives tests a real Docker Engine and containers on it that
// write numbered lines.
//
// It owns the containers that it makes and removes exactly those, by id, when
// their test ends; it pulls nothing, and builds its image from package writer.
// A PrivateEngine is an engine of the test's own, which may be killed.
//
// A test without an engine fails; nothing here skips.
package enginetest

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/moby/moby/client"
)

// callTimeout bounds every call to the engine. It is generous, since engines
// are slow when many containers start on few cores.
const callTimeout = 2 * time.Minute

// Engine is a Docker Engine in use by a test. Its methods may be called from
// several goroutines at once.
type Engine struct {
	// Client is connected to the engine, with the API version negotiated. It
	// is closed when the test ends.
	Client *client.Client
	// Host is the engine's address, as in DOCKER_HOST.
	Host string

	private bool
}

// New returns the engine that DOCKER_HOST names, or else that of the default
// socket, with the writer's image loaded. It fails the test when there is none.
func New(t testing.TB) *Engine {
	t.Helper()
	e, err := connect(t, client.FromEnv)
	if err != nil {
		t.Fatalf("these tests need a Docker Engine: %v", err)
	}
	if err := ensureImage(e); err != nil {
		t.Fatal(err)
	}
	return e
}

// connect makes the client, which lives as long as the test, and tries it.
func connect(t testing.TB, opts ...client.Opt) (*Engine, error) {
	cli, err := client.New(opts...)
	if err != nil {
		return nil, fmt.Errorf("make engine client: %w", err)
	}
	t.Cleanup(func() { cli.Close() })
	e := &Engine{Client: cli, Host: cli.DaemonHost()}
	ctx, cancel := context.WithTimeout(context.Background(), callTimeout)
	defer cancel()
	if _, err := cli.Ping(ctx, client.PingOptions{NegotiateAPIVersion: true}); err != nil {
		return nil, fmt.Errorf("ping engine at %s: %w", e.Host, err)
	}
	return e, nil
}

// Eventually waits until condition holds, and fails the test when it does not
// within timeout. The message says what was waited for.
func Eventually(t testing.TB, timeout time.Duration, message string, condition func() bool) {
	t.Helper()
	for deadline := time.Now().Add(timeout); !condition(); {
		if time.Now().After(deadline) {
			t.Fatalf("not within %v: %s", timeout, message)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// Must fails the test at once when err is not nil.
func Must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
