package enginetest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	cerrdefs "github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/client"

	"log_capturer/internal/testkit/numbered"
	"log_capturer/internal/testkit/script"
)

// Options say what a container is to be. The zero value is a container that
// writes numbered lines without end.
type Options struct {
	// Name is the container's name; empty lets the engine choose one.
	Name string
	// Args are the arguments of the writer (package writer).
	Args []string
	// Script makes the writer carry out a script instead. Container.Proceed
	// ends its waits.
	Script script.Script
	// Labels and Env ("KEY=value") are set on the container.
	Labels map[string]string
	Env    []string
	// TTY gives the container a terminal, so that it has one stream.
	TTY bool
	// LogDriver is the log driver, json-file when empty, and LogOpts are its
	// options. A json-file without options is not rotated, whatever the
	// engine's defaults are.
	LogDriver string
	LogOpts   map[string]string
	// AutoRemove makes the engine remove the container when it exits.
	AutoRemove bool
	// Memory is the memory limit in bytes; 0 for none.
	Memory int64
	// Count gives the writer a count file, so that Container.Written works.
	Count bool
	// Binds are host paths to mount, as "host:container".
	Binds []string
}

// Container is a container of a test. Its methods may be called from any
// goroutine; they return the engine's errors.
type Container struct {
	// ID is the full id.
	ID string

	engine  *Engine
	counts  string
	proceed string
}

// Create makes a container without starting it. It is removed when the test
// ends.
func (e *Engine) Create(t testing.TB, o Options) *Container {
	t.Helper()
	c := &Container{engine: e}
	args := o.Args
	binds := o.Binds
	if o.Count {
		c.counts = filepath.Join(t.TempDir(), "counts")
		Must(t, numbered.CreateCounts(c.counts))
		binds = append(binds[:len(binds):len(binds)], c.counts+":/counts")
		args = append(args[:len(args):len(args)], "-count-file", "/counts")
	}
	if o.Script != nil {
		c.proceed = filepath.Join(t.TempDir(), "proceed")
		Must(t, os.WriteFile(c.proceed, nil, 0o666))
		binds = append(binds[:len(binds):len(binds)], c.proceed+":/proceed")
		args = append(args[:len(args):len(args)], "-proceed-file", "/proceed", "-script", o.Script.Arg())
	}
	logs := container.LogConfig{Type: o.LogDriver, Config: o.LogOpts}
	if logs.Type == "" {
		logs.Type = "json-file"
	}
	if logs.Type == "json-file" && logs.Config == nil {
		logs.Config = map[string]string{"max-size": "1t", "max-file": "1"}
	}
	ctx, cancel := context.WithTimeout(context.Background(), callTimeout)
	defer cancel()
	made, err := e.Client.ContainerCreate(ctx, client.ContainerCreateOptions{
		Name:   o.Name,
		Config: &container.Config{Image: Image, Cmd: args, Labels: o.Labels, Env: o.Env, Tty: o.TTY},
		HostConfig: &container.HostConfig{
			NetworkMode: "none",
			AutoRemove:  o.AutoRemove,
			LogConfig:   logs,
			Binds:       binds,
			Resources:   container.Resources{Memory: o.Memory},
		},
	})
	if err != nil {
		t.Fatalf("create container %q: %v", o.Name, err)
	}
	c.ID = made.ID
	t.Cleanup(func() {
		if err := c.Remove(); err != nil && !e.private {
			t.Errorf("clean up: %v", err)
		}
	})
	return c
}

// Run makes a container and starts it.
func (e *Engine) Run(t testing.TB, o Options) *Container {
	t.Helper()
	c := e.Create(t, o)
	Must(t, c.Start())
	return c
}

// do makes one call to the engine and says what it was for in the error.
func (c *Container) do(what string, call func(ctx context.Context, cli *client.Client) error) error {
	ctx, cancel := context.WithTimeout(context.Background(), callTimeout)
	defer cancel()
	if err := call(ctx, c.engine.Client); err != nil {
		return fmt.Errorf("%s container %.12s: %w", what, c.ID, err)
	}
	return nil
}

// Start starts the container.
func (c *Container) Start() error {
	return c.do("start", func(ctx context.Context, cli *client.Client) error {
		_, err := cli.ContainerStart(ctx, c.ID, client.ContainerStartOptions{})
		return err
	})
}

// Stop asks the container to end, kills it after timeout (whole seconds), and
// returns when it has ended.
func (c *Container) Stop(timeout time.Duration) error {
	seconds := int(timeout / time.Second)
	return c.do("stop", func(ctx context.Context, cli *client.Client) error {
		_, err := cli.ContainerStop(ctx, c.ID, client.ContainerStopOptions{Timeout: &seconds})
		return err
	})
}

// Restart stops the container as Stop does, and starts it again.
func (c *Container) Restart(timeout time.Duration) error {
	seconds := int(timeout / time.Second)
	return c.do("restart", func(ctx context.Context, cli *client.Client) error {
		_, err := cli.ContainerRestart(ctx, c.ID, client.ContainerRestartOptions{Timeout: &seconds})
		return err
	})
}

// Pause freezes the container's processes.
func (c *Container) Pause() error {
	return c.do("pause", func(ctx context.Context, cli *client.Client) error {
		_, err := cli.ContainerPause(ctx, c.ID, client.ContainerPauseOptions{})
		return err
	})
}

// Unpause undoes Pause.
func (c *Container) Unpause() error {
	return c.do("unpause", func(ctx context.Context, cli *client.Client) error {
		_, err := cli.ContainerUnpause(ctx, c.ID, client.ContainerUnpauseOptions{})
		return err
	})
}

// Rename gives the container another name.
func (c *Container) Rename(name string) error {
	return c.do("rename", func(ctx context.Context, cli *client.Client) error {
		_, err := cli.ContainerRename(ctx, c.ID, client.ContainerRenameOptions{NewName: name})
		return err
	})
}

// Kill sends the container's process a signal ("KILL", "USR1").
func (c *Container) Kill(signal string) error {
	return c.do("kill", func(ctx context.Context, cli *client.Client) error {
		_, err := cli.ContainerKill(ctx, c.ID, client.ContainerKillOptions{Signal: signal})
		return err
	})
}

// Proceed lets the container's script go on behind its present or next wait.
func (c *Container) Proceed() error {
	f, err := os.OpenFile(c.proceed, os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		return fmt.Errorf("let container %.12s proceed: %w", c.ID, err)
	}
	_, err = f.Write([]byte{'.'})
	return errors.Join(err, f.Close())
}

// Remove removes the container, running or not, and returns when it is gone. A
// container that does not exist is no error.
func (c *Container) Remove() error {
	return c.do("remove", func(ctx context.Context, cli *client.Client) error {
		for {
			_, err := cli.ContainerRemove(ctx, c.ID, client.ContainerRemoveOptions{Force: true, RemoveVolumes: true})
			if cerrdefs.IsNotFound(err) {
				return nil
			}
			// A conflict says that a removal is under way.
			if err != nil && !cerrdefs.IsConflict(err) {
				return err
			}
			select {
			case <-time.After(10 * time.Millisecond):
			case <-ctx.Done():
				return ctx.Err()
			}
		}
	})
}

// Inspect returns what the engine says of the container.
func (c *Container) Inspect() (container.InspectResponse, error) {
	var found container.InspectResponse
	err := c.do("inspect", func(ctx context.Context, cli *client.Client) error {
		result, err := cli.ContainerInspect(ctx, c.ID, client.ContainerInspectOptions{})
		found = result.Container
		return err
	})
	return found, err
}

// Name returns the container's name without the leading slash.
func (c *Container) Name() (string, error) {
	found, err := c.Inspect()
	return strings.TrimPrefix(found.Name, "/"), err
}

// Wait waits until the container does not run, and returns the exit status of
// its process. It cannot tell the status of one that is removed by the engine
// on exit, unless it was called before that.
func (c *Container) Wait(timeout time.Duration) (status int64, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	wait := c.engine.Client.ContainerWait(ctx, c.ID, client.ContainerWaitOptions{})
	select {
	case r := <-wait.Result:
		return r.StatusCode, nil
	case err := <-wait.Error:
		return 0, fmt.Errorf("wait for container %.12s: %w", c.ID, err)
	}
}

// Written returns how many lines the container wrote in each of its starts, by
// the writer's own count; see numbered.Count. It needs Options.Count, and works
// for containers that are gone as well.
func (c *Container) Written() ([]numbered.Count, error) {
	if c.counts == "" {
		return nil, fmt.Errorf("count lines of container %.12s: made without Options.Count", c.ID)
	}
	return numbered.ReadCounts(c.counts)
}
