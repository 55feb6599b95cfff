package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/client"

	"log_capturer/internal/framing"
	"log_capturer/internal/record"
	"log_capturer/internal/testkit/ledger"
	"log_capturer/internal/testkit/numbered"
	"log_capturer/internal/testkit/writerimage"
)

// labLabel marks the containers of a run; its value is the run's name.
const labLabel = "log_capturer.lab"

// parallelCalls is how many containers are started or removed at once.
const parallelCalls = 6

// fleet are the containers of a run.
type fleet struct {
	engine *engine
	// name is the run's, dir where the count files are.
	name, dir string

	mu      sync.Mutex
	lasting []*member
	passing []*member
	errs    []error

	started  atomic.Int64
	restarts atomic.Int64
}

// member is one container.
type member struct {
	id, run string
	counts  string // count file, of those that last
	tty     bool
	lines   uint64 // lines written, of those that pass, when they have ended
	ended   bool
}

// each calls f for each of n numbers, some at a time, and joins the errors.
func each(n int, f func(i int) error) error {
	var wg sync.WaitGroup
	var mu sync.Mutex
	var errs []error
	numbers := make(chan int)
	for range parallelCalls {
		wg.Go(func() {
			for i := range numbers {
				if err := f(i); err != nil {
					mu.Lock()
					errs = append(errs, err)
					mu.Unlock()
				}
			}
		})
	}
	for i := range n {
		numbers <- i
	}
	close(numbers)
	wg.Wait()
	return errors.Join(errs...)
}

// spawn starts the lasting containers.
func (f *fleet) spawn(ctx context.Context, groups []containerGroup) error {
	var all []containerGroup
	for _, g := range groups {
		all = append(all, slices.Repeat([]containerGroup{g}, g.Count)...)
	}
	return each(len(all), func(i int) error {
		g := all[i]
		m := &member{run: fmt.Sprintf("%s-%03d", f.name, i+1), tty: g.TTY}
		m.counts = filepath.Join(f.dir, m.run+countsSuffix)
		if err := numbered.CreateCounts(m.counts); err != nil {
			return err
		}
		args := []string{"-run-id", m.run, "-count-file", "/counts", "-size", g.Size, "-streams", g.Streams, "-payload", g.Payload}
		if g.Rate > 0 {
			args = append(args, "-rate", fmt.Sprint(g.Rate))
		} else {
			// A container that has nothing to say, as most do.
			args = append(args, "-lines", "1", "-hold")
		}
		logs := map[string]string{}
		if g.MaxSize != "" {
			logs["max-size"], logs["max-file"] = g.MaxSize, strconv.Itoa(max(g.MaxFile, 1))
		}
		err := f.start(ctx, m, args, &container.HostConfig{
			Binds:     []string{m.counts + ":/counts"},
			LogConfig: container.LogConfig{Type: "json-file", Config: logs},
		})
		f.mu.Lock()
		defer f.mu.Unlock()
		f.lasting = append(f.lasting, m)
		return err
	})
}

// start makes a container and starts it.
func (f *fleet) start(ctx context.Context, m *member, args []string, host *container.HostConfig) error {
	host.NetworkMode = "none"
	made, err := f.engine.ContainerCreate(ctx, client.ContainerCreateOptions{
		Name:       m.run,
		Config:     &container.Config{Image: writerimage.Name, Cmd: args, Tty: m.tty, Labels: map[string]string{labLabel: f.name}},
		HostConfig: host,
	})
	if err != nil {
		return fmt.Errorf("create container %s: %w", m.run, err)
	}
	f.mu.Lock()
	m.id = made.ID
	f.mu.Unlock()
	if _, err := f.engine.ContainerStart(ctx, made.ID, client.ContainerStartOptions{}); err != nil {
		return fmt.Errorf("start container %s: %w", m.run, err)
	}
	return nil
}

// churn starts containers that come and go until ctx is done, and returns when
// they have ended.
func (f *fleet) churn(ctx context.Context, c churn) {
	if c.PerSecond <= 0 {
		return
	}
	ticker := time.NewTicker(time.Duration(float64(time.Second) / c.PerSecond))
	defer ticker.Stop()
	// An engine that does not keep up gets no more than it can start.
	slots := make(chan struct{}, parallelCalls)
	var wg sync.WaitGroup
	defer wg.Wait()
	for i := 0; ; i++ {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		select {
		case <-ctx.Done():
			return
		case slots <- struct{}{}:
		}
		wg.Go(func() {
			// One that was begun is seen to its end.
			ctx := context.WithoutCancel(ctx)
			m := &member{run: fmt.Sprintf("%s-c%05d", f.name, i+1)}
			err := f.pass(ctx, c, m, rand.Float64() < c.Removed, func() { <-slots })
			f.fail(err)
		})
	}
}

// pass runs one container to its end. It calls started when the container is.
func (f *fleet) pass(ctx context.Context, c churn, m *member, remove bool, started func()) error {
	length := time.Duration(float64(c.Lines)/c.Rate*float64(time.Second)) + time.Duration(c.Linger)
	args := []string{
		"-run-id", m.run, "-lines", fmt.Sprint(c.Lines), "-rate", fmt.Sprint(c.Rate),
		"-hold", "-duration", length.String(),
	}
	f.mu.Lock()
	f.passing = append(f.passing, m)
	f.mu.Unlock()
	err := f.start(ctx, m, args, &container.HostConfig{
		AutoRemove: remove, LogConfig: container.LogConfig{Type: "json-file"},
	})
	started()
	if err != nil {
		return err
	}
	f.started.Add(1)
	ctx, cancel := context.WithTimeout(ctx, length+2*time.Minute)
	defer cancel()
	wait := f.engine.ContainerWait(ctx, m.id, client.ContainerWaitOptions{})
	select {
	case r := <-wait.Result:
		if r.StatusCode != 0 {
			return fmt.Errorf("container %s ended with status %d", m.run, r.StatusCode)
		}
	case err := <-wait.Error:
		// One that the engine has removed meanwhile has ended.
		if !errdefs.IsNotFound(err) {
			return fmt.Errorf("wait for container %s: %w", m.run, err)
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	m.lines, m.ended = c.Lines, true
	return nil
}

// restart restarts lasting containers, one at a time, until ctx is done.
func (f *fleet) restart(ctx context.Context, r restarts) {
	if r.Every <= 0 || len(f.lasting) == 0 {
		return
	}
	ticker := time.NewTicker(time.Duration(r.Every))
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		m := f.lasting[rand.IntN(len(f.lasting))]
		patience := 10
		_, err := f.engine.ContainerRestart(context.WithoutCancel(ctx), m.id, client.ContainerRestartOptions{Timeout: &patience})
		if err != nil {
			err = fmt.Errorf("restart container %s: %w", m.run, err)
		} else {
			f.restarts.Add(1)
		}
		f.fail(err)
	}
}

// fail keeps what went wrong with the containers.
func (f *fleet) fail(err error) {
	if err == nil {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.errs = append(f.errs, err)
}

// problems returns what went wrong with the containers so far.
func (f *fleet) problems() []error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.errs)
}

// written returns how many lines were written so far; of the containers that
// pass, those that have ended.
func (f *fleet) written() uint64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	var n uint64
	for _, m := range f.lasting {
		counts, err := numbered.ReadCounts(m.counts)
		if err != nil {
			continue // it is judged at the end
		}
		for _, c := range counts {
			for _, lines := range c.Lines {
				n += lines
			}
		}
	}
	for _, m := range f.passing {
		n += m.lines
	}
	return n
}

// expectation is what must be at the destination: what was written at a moment.
type expectation map[string][]numbered.Count

// expect returns what the lasting containers have written by now.
func (f *fleet) expect() (expectation, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	e := expectation{}
	for _, m := range f.lasting {
		counts, err := numbered.ReadCounts(m.counts)
		if err != nil {
			return nil, err
		}
		e[m.run] = counts
	}
	return e, nil
}

// enter tells a ledger what must have arrived: what was written at an earlier
// moment must, and what is written by now may.
func (f *fleet) enter(book *ledger.Ledger, earlier expectation) error {
	now, err := f.expect()
	if err != nil {
		return err
	}
	for run, counts := range now {
		for k, c := range counts {
			for s, most := range c.Lines {
				least := uint64(0)
				if k < len(earlier[run]) {
					least = earlier[run][k].Lines[s]
				}
				// A writer counts a line after it has written it.
				book.ExpectBetween(run, numbered.RunOf(run, k+1), record.Stream(s), least, most+1)
			}
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, m := range f.passing {
		least := uint64(0)
		if m.ended {
			least = m.lines
		}
		book.ExpectBetween(m.run, m.run, record.Stdout, least, max(least, 1<<20))
	}
	return nil
}

// stop stops the lasting containers.
func (f *fleet) stop(ctx context.Context) error {
	patience := 10
	return each(len(f.lasting), func(i int) error {
		_, err := f.engine.ContainerStop(ctx, f.lasting[i].id, client.ContainerStopOptions{Timeout: &patience})
		return err
	})
}

// kept enters what the engine itself has kept of the lasting containers, which
// are stopped.
func (f *fleet) kept(ctx context.Context, book *ledger.Ledger) error {
	for _, m := range f.lasting {
		body, err := f.engine.ContainerLogs(ctx, m.id, client.ContainerLogsOptions{ShowStdout: true, ShowStderr: true, Timestamps: true})
		if err != nil {
			return fmt.Errorf("read the engine's log of %s: %w", m.run, err)
		}
		decoder := framing.NewDocker(framing.DockerOptions{TTY: m.tty, MaxLine: 1 << 20}, func(l *framing.Line) error {
			book.Observe(m.run, l.Bytes)
			return nil
		})
		_, err = io.Copy(feed{decoder}, body)
		body.Close()
		if err := errors.Join(err, decoder.Flush()); err != nil {
			return fmt.Errorf("read the engine's log of %s: %w", m.run, err)
		}
	}
	return nil
}

// feed is a decoder as a Writer.
type feed struct{ decoder *framing.Docker }

func (f feed) Write(b []byte) (int, error) { return len(b), f.decoder.Feed(b) }

// remove removes all containers of the run that are left, by id.
func (f *fleet) remove(ctx context.Context) error {
	f.mu.Lock()
	members := slices.Concat(f.lasting, f.passing)
	f.mu.Unlock()
	err := each(len(members), func(i int) error {
		if members[i].id == "" {
			return nil
		}
		_, err := f.engine.ContainerRemove(ctx, members[i].id, client.ContainerRemoveOptions{Force: true})
		if errdefs.IsNotFound(err) || errdefs.IsConflict(err) { // removed, or being removed
			return nil
		}
		return err
	})
	return errors.Join(err, os.RemoveAll(f.dir))
}
