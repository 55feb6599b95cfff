// Package agent runs the real agent as a process, for tests.
//
// It owns the building of the program (once for each test process), the process
// with its configuration and its data directory, and the questions that a test
// asks the agent: its status, health and metrics. An agent may be killed and
// started again on the same data. Its log is part of the test's output when the
// test fails.
package agent

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"sync"
	"syscall"
	"testing"
	"time"
)

const (
	// startTimeout is how long the agent may take until its API answers.
	startTimeout = time.Minute
	// stopTimeout is how long it may take to end, at the end of a test.
	stopTimeout = time.Minute
)

// Options describe an agent.
type Options struct {
	// Config is the configuration in YAML, without data_dir, server, metrics
	// and pprof: these are added.
	Config string
	// DataDir is the data directory; a new one of the test when empty.
	DataDir string
	// Env are variables for the process ("KEY=value") besides the test's own, and
	// Flags further flags of run.
	Env, Flags []string
}

// Agent is an agent, running or not. Start, Kill, Terminate and Restart are for
// one goroutine at a time; the rest may be called from any.
type Agent struct {
	// DataDir is the data directory.
	DataDir string
	// API, Metrics and Pprof are the base URLs of the three listeners.
	API, Metrics, Pprof string

	t      testing.TB
	env    []string
	flags  []string
	config string
	header string // of the configuration

	mu      sync.Mutex
	process *process
	starts  int
	log     bytes.Buffer
}

// process is one run of the program.
type process struct {
	cmd *exec.Cmd
	// ended is closed when the process has ended and state is set.
	ended chan struct{}
	state *os.ProcessState
}

// Exit is how an agent ended.
type Exit struct {
	// Code is the exit status, -1 when a signal ended it.
	Code int
	// Took is the time from asking it to end.
	Took time.Duration
}

// Start starts an agent, and returns when its API answers. It ends with the
// test: an agent that then does not end by itself, or ends with another status
// than 0, fails the test.
func Start(t testing.TB, o Options) *Agent {
	t.Helper()
	a := New(t, o)
	a.Start()
	return a
}

// New returns an agent that does not run yet.
func New(t testing.TB, o Options) *Agent {
	t.Helper()
	a := &Agent{t: t, DataDir: o.DataDir, env: o.Env, flags: o.Flags}
	if a.DataDir == "" {
		a.DataDir = filepath.Join(t.TempDir(), "data")
	}
	ports := freePorts(t, 3)
	a.API, a.Metrics, a.Pprof = "http://"+ports[0], "http://"+ports[1], "http://"+ports[2]
	a.config = filepath.Join(t.TempDir(), "config.yaml")
	a.header = fmt.Sprintf("data_dir: %q\nserver: {listen: %q}\nmetrics: {listen: %q}\npprof: {listen: %q}\n",
		a.DataDir, ports[0], ports[1], ports[2])
	a.Configure(o.Config)
	t.Cleanup(a.cleanUp)
	return a
}

// Configure replaces the configuration, as Options.Config has it. An agent that
// runs has to be told.
func (a *Agent) Configure(config string) {
	a.t.Helper()
	next := a.config + ".new"
	if err := os.WriteFile(next, []byte(a.header+config), 0o600); err != nil {
		a.t.Fatal(err)
	}
	if err := os.Rename(next, a.config); err != nil {
		a.t.Fatal(err)
	}
}

// Signal sends the process a signal.
func (a *Agent) Signal(s syscall.Signal) { a.current().cmd.Process.Signal(s) }

func (a *Agent) cleanUp() {
	if a.Running() {
		if a.t.Failed() {
			a.t.Logf("what the agent is at:\n%s", a.state())
		}
		if exit := a.Terminate(stopTimeout); exit.Code != 0 {
			a.t.Errorf("agent ended with status %d at the end of the test", exit.Code)
		}
	}
	if a.t.Failed() {
		log := a.Log()
		if limit := 64 << 10; len(log) > limit {
			log = "…" + log[len(log)-limit:]
		}
		a.t.Logf("log of the agent:\n%s", log)
	}
}

// Start starts the program, and returns when its API answers. It fails the test
// when that does not happen.
func (a *Agent) Start() {
	a.t.Helper()
	p := a.launch()
	for deadline := time.Now().Add(startTimeout); ; {
		if _, err := a.Status(); err == nil {
			return
		}
		select {
		case <-p.ended:
			a.t.Fatalf("agent ended with %v before its API answered", p.state)
		case <-time.After(5 * time.Millisecond):
		}
		if time.Now().After(deadline) {
			a.t.Fatalf("API of the agent does not answer within %v", startTimeout)
		}
	}
}

// launch starts the program without waiting for it.
func (a *Agent) launch() *process {
	a.t.Helper()
	if a.Running() {
		a.t.Fatal("agent runs already")
	}
	path, err := binary()
	if err != nil {
		a.t.Fatal(err)
	}
	p := &process{ended: make(chan struct{})}
	p.cmd = &exec.Cmd{
		Path: path, Args: append([]string{"log_capturer", "run", "--config", a.config}, a.flags...),
		Env:    append(os.Environ(), a.env...),
		Stdout: (*logWriter)(a), Stderr: (*logWriter)(a),
		// The agent dies with the test, however that ends.
		SysProcAttr: &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL},
	}
	started := make(chan error, 1)
	go func() {
		// The kernel sends Pdeathsig when the starting thread ends.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := p.cmd.Start()
		started <- err
		if err == nil {
			p.cmd.Wait()
			p.state = p.cmd.ProcessState
			close(p.ended)
		}
	}()
	if err := <-started; err != nil {
		a.t.Fatalf("start agent: %v", err)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.process = p
	a.starts++
	return p
}

// current returns the process, which has been started.
func (a *Agent) current() *process {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.process == nil {
		a.t.Fatal("agent was not started")
	}
	return a.process
}

// Running reports whether the process runs.
func (a *Agent) Running() bool {
	a.mu.Lock()
	p := a.process
	a.mu.Unlock()
	if p == nil {
		return false
	}
	select {
	case <-p.ended:
		return false
	default:
		return true
	}
}

// PID returns the id of the process that was started last.
func (a *Agent) PID() int { return a.current().cmd.Process.Pid }

// Starts returns how often the program was started.
func (a *Agent) Starts() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.starts
}

// Kill ends the process with SIGKILL, and returns when it has ended.
func (a *Agent) Kill() {
	p := a.current()
	p.cmd.Process.Kill()
	<-p.ended
}

// Terminate ends the process with SIGTERM. When it does not end within timeout
// the test fails, with the stacks of its goroutines in the log.
func (a *Agent) Terminate(timeout time.Duration) Exit {
	a.t.Helper()
	p := a.current()
	begin := time.Now()
	p.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-p.ended:
	case <-time.After(timeout):
		a.t.Errorf("agent does not end within %v of SIGTERM", timeout)
		p.cmd.Process.Signal(syscall.SIGQUIT)
		select {
		case <-p.ended:
		case <-time.After(5 * time.Second):
			a.Kill()
		}
	}
	return Exit{Code: p.state.ExitCode(), Took: time.Since(begin)}
}

// Wait waits for the process to end by itself.
func (a *Agent) Wait(timeout time.Duration) (Exit, error) {
	p := a.current()
	begin := time.Now()
	select {
	case <-p.ended:
		return Exit{Code: p.state.ExitCode(), Took: time.Since(begin)}, nil
	case <-time.After(timeout):
		return Exit{}, fmt.Errorf("agent does not end by itself within %v", timeout)
	}
}

// Restart ends the process with SIGTERM, or not at all when it has ended, and
// starts it anew on the same data.
func (a *Agent) Restart() {
	a.t.Helper()
	if a.Running() {
		if exit := a.Terminate(stopTimeout); exit.Code != 0 {
			a.t.Errorf("agent ended with status %d", exit.Code)
		}
	}
	a.Start()
}

// Log returns what the agent has printed and logged, in all of its starts.
func (a *Agent) Log() string {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.log.String()
}

// logWriter collects the process's output.
type logWriter Agent

func (w *logWriter) Write(b []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.log.Write(b)
}

// freePorts returns n addresses of free ports. The agent keeps its ports across
// restarts, so they are taken from below the range from which the kernel takes
// those of connections.
func freePorts(t testing.TB, n int) []string {
	t.Helper()
	var addresses []string
	var lc net.ListenConfig
	for range 1000 {
		address := fmt.Sprintf("127.0.0.1:%d", 20000+rand.IntN(12000))
		l, err := lc.Listen(context.Background(), "tcp", address)
		if errors.Is(err, syscall.EADDRINUSE) {
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		// They are held until all are found, so that all differ.
		defer l.Close()
		if addresses = append(addresses, address); len(addresses) == n {
			return addresses
		}
	}
	t.Fatal("no free ports")
	return nil
}
