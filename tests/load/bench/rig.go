package main

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/client"
)

const (
	imageName = "logcapturer-bench:latest"
	// ownLabel is on every container of this program, corpusLabel tells what the
	// container wrote.
	ownLabel    = "log_capturer.bench"
	corpusLabel = "log_capturer.bench.corpus"
	// atOnce is how many containers are started at a time.
	atOnce = 4
)

// rig is what all measures need: the programs, an engine, a directory.
type rig struct {
	opts   options
	out    io.Writer
	log    io.Writer
	dir    string
	self   string // this program, static
	agent  string
	engine *client.Client
}

func newRig(ctx context.Context, o options, out, log io.Writer) (*rig, error) {
	dir, err := os.MkdirTemp("", "log_capturer-bench-")
	if err != nil {
		return nil, err
	}
	r := &rig{opts: o, out: out, log: log, dir: dir, self: filepath.Join(dir, "bench"), agent: o.agent}
	if err := r.prepare(ctx); err != nil {
		r.close()
		return nil, err
	}
	return r, nil
}

func (r *rig) prepare(ctx context.Context) error {
	if err := build(ctx, r.self, "log_capturer/tests/load/bench"); err != nil {
		return err
	}
	if r.agent == "" {
		r.agent = filepath.Join(r.dir, "log_capturer")
		if err := build(ctx, r.agent, "log_capturer/cmd/log_capturer"); err != nil {
			return err
		}
	}
	var err error
	if r.engine, err = client.New(client.FromEnv); err != nil {
		return fmt.Errorf("make engine client: %w", err)
	}
	if _, err := r.engine.Ping(ctx, client.PingOptions{NegotiateAPIVersion: true}); err != nil {
		return fmt.Errorf("a Docker Engine is needed: %w", err)
	}
	return r.importImage(ctx)
}

// build makes a static binary, the way the release is built.
func build(ctx context.Context, path, pkg string) error {
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-buildvcs=false", "-ldflags=-s -w", "-o", path, pkg)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("build %s: %w\n%s", pkg, err, out)
	}
	return nil
}

// importImage makes an image that holds this program and nothing else.
func (r *rig) importImage(ctx context.Context) error {
	program, err := os.ReadFile(r.self)
	if err != nil {
		return err
	}
	var layer bytes.Buffer
	w := tar.NewWriter(&layer)
	err = w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: "bench", Mode: 0o755, Size: int64(len(program))})
	if err == nil {
		_, err = w.Write(program)
	}
	if err := errors.Join(err, w.Close()); err != nil {
		return fmt.Errorf("pack image: %w", err)
	}
	answer, err := r.engine.ImageImport(ctx, client.ImageImportSource{Source: &layer, SourceName: "-"}, imageName,
		client.ImageImportOptions{Changes: []string{`ENTRYPOINT ["/bench", "write"]`}})
	if err != nil {
		return fmt.Errorf("import image: %w", err)
	}
	defer answer.Close()
	_, err = io.Copy(io.Discard, answer)
	return err
}

func (r *rig) close() {
	if r.engine != nil {
		r.engine.Close()
	}
	os.RemoveAll(r.dir)
}

// progress tells on stderr what goes on.
func (r *rig) progress(format string, args ...any) {
	fmt.Fprintf(r.log, time.Now().Format("15:04:05 ")+format+"\n", args...)
}

// group is a number of containers that write alike.
type group struct {
	rig *rig
	// label is "key=value", and on no other container.
	label string
	ids   []string
}

// run starts n containers with the arguments of write, to which each gets a name
// of its own.
func (r *rig) run(ctx context.Context, n int, corpus string, args ...string) (*group, error) {
	g := &group{rig: r, label: ownLabel + "=" + strconv.FormatInt(time.Now().UnixNano(), 36), ids: make([]string, n)}
	key, value, _ := strings.Cut(g.label, "=")
	labels := map[string]string{key: value}
	if corpus != "" {
		labels[corpusLabel] = corpus
	}
	err := inParallel(ctx, n, func(i int) error {
		made, err := r.engine.ContainerCreate(ctx, client.ContainerCreateOptions{
			Config: &container.Config{Image: imageName, Cmd: append([]string{"-name", strconv.Itoa(i)}, args...), Labels: labels},
			HostConfig: &container.HostConfig{
				// 20.10's engine may lock up when hundreds of networks end at once.
				NetworkMode: "none",
				LogConfig:   container.LogConfig{Type: "json-file", Config: map[string]string{"max-size": "1t", "max-file": "1"}},
			},
		})
		if err != nil {
			return fmt.Errorf("create container: %w", err)
		}
		g.ids[i] = made.ID
		if _, err := r.engine.ContainerStart(ctx, made.ID, client.ContainerStartOptions{}); err != nil {
			return fmt.Errorf("start container: %w", err)
		}
		return nil
	})
	if err != nil {
		g.remove()
		return nil, err
	}
	return g, nil
}

// inParallel calls f for 0 to n-1, a few at a time, and stops at an error.
func inParallel(ctx context.Context, n int, f func(i int) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var running sync.WaitGroup
	slots := make(chan struct{}, atOnce)
	for i := 0; i < n && ctx.Err() == nil; i++ {
		slots <- struct{}{}
		running.Go(func() {
			defer func() { <-slots }()
			if err := f(i); err != nil {
				cancel(err)
			}
		})
	}
	running.Wait()
	return context.Cause(ctx)
}

// wait waits until all containers have ended.
func (g *group) wait(ctx context.Context) error {
	for _, id := range g.ids {
		wait := g.rig.engine.ContainerWait(ctx, id, client.ContainerWaitOptions{Condition: container.WaitConditionNotRunning})
		select {
		case err := <-wait.Error:
			return fmt.Errorf("wait for container: %w", err)
		case result := <-wait.Result:
			if result.StatusCode != 0 {
				return fmt.Errorf("container %.12s ended with status %d", id, result.StatusCode)
			}
		}
	}
	return nil
}

// end tells the containers to end, and waits until they have.
func (g *group) end(ctx context.Context) error {
	err := inParallel(ctx, len(g.ids), func(i int) error {
		_, err := g.rig.engine.ContainerStop(ctx, g.ids[i], client.ContainerStopOptions{})
		return err
	})
	if err != nil {
		return fmt.Errorf("stop containers: %w", err)
	}
	return g.wait(ctx)
}

// remove removes the containers. It does its best, also when the bench was told
// to stop.
func (g *group) remove() {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Minute)
	defer cancel()
	err := inParallel(ctx, len(g.ids), func(i int) error {
		if g.ids[i] == "" {
			return nil
		}
		_, err := g.rig.engine.ContainerRemove(ctx, g.ids[i], client.ContainerRemoveOptions{Force: true})
		return err
	})
	if err != nil {
		g.rig.progress("remove containers: %v", err)
	}
}

// release removes the containers unless they are kept for the next time.
func (g *group) release() {
	if !g.rig.opts.keep {
		g.remove()
	}
}

// logs returns the paths of the containers' json-files.
func (g *group) logs(ctx context.Context) ([]string, error) {
	var paths []string
	for _, id := range g.ids {
		result, err := g.rig.engine.ContainerInspect(ctx, id, client.ContainerInspectOptions{})
		if err != nil {
			return nil, fmt.Errorf("inspect container: %w", err)
		}
		paths = append(paths, result.Container.LogPath)
	}
	return paths, nil
}

// corpus returns containers that have written lines lines each and ended: those
// that an earlier run kept, or new ones.
func (r *rig) corpus(ctx context.Context, files, lines int) (*group, error) {
	name := fmt.Sprintf("%dx%d", files, lines)
	found, err := r.engine.ContainerList(ctx, client.ContainerListOptions{
		All: true, Filters: client.Filters{}.Add("label", corpusLabel+"="+name).Add("status", "exited"),
	})
	if err != nil {
		return nil, fmt.Errorf("list containers: %w", err)
	}
	byLabel := map[string][]string{}
	for _, c := range found.Items {
		byLabel[c.Labels[ownLabel]] = append(byLabel[c.Labels[ownLabel]], c.ID)
	}
	for label, ids := range byLabel {
		if len(ids) == files {
			return &group{rig: r, label: ownLabel + "=" + label, ids: ids}, nil
		}
	}
	r.progress("writing %d lines into each of %d files", lines, files)
	g, err := r.run(ctx, files, name, "-lines", strconv.Itoa(lines))
	if err != nil {
		return nil, err
	}
	if err := g.wait(ctx); err != nil {
		g.remove()
		return nil, err
	}
	return g, nil
}
