package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/goccy/go-yaml"
	"github.com/moby/moby/client"
)

// buildAgent builds the agent as a static binary with the given tags (separated
// by commas) and experiment.
func buildAgent(ctx context.Context, path, tags, experiment string) error {
	cmd := exec.CommandContext(ctx, "go", "build", "-tags", tags, "-o", path, "log_capturer/cmd/log_capturer")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if experiment != "" {
		cmd.Env = append(cmd.Env, "GOEXPERIMENT="+experiment)
	}
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("build agent: %w\n%s", err, out)
	}
	return nil
}

// process is the agent of a run. It may be killed and started again.
type process struct {
	binary, config, log string
	// api, metrics and pprof are the base URLs of its listeners.
	api, metrics, pprof string

	mu     sync.Mutex
	cmd    *exec.Cmd
	ended  chan struct{}
	starts int
}

// newProcess writes the agent's configuration.
func newProcess(dir, binary string, s *scenario, engineHost, label, url string) (*process, error) {
	addresses, err := freeAddresses(3)
	if err != nil {
		return nil, err
	}
	p := &process{
		binary: binary, config: filepath.Join(dir, "agent.yaml"), log: filepath.Join(dir, "agent.log"),
		api: "http://" + addresses[0], metrics: "http://" + addresses[1], pprof: "http://" + addresses[2],
	}
	cfg := map[string]any{}
	for key, value := range s.Agent {
		cfg[key] = value
	}
	monitor := map[string]any{}
	if given, ok := cfg["container_monitor"].(map[string]any); ok {
		for key, value := range given {
			monitor[key] = value
		}
	}
	monitor["docker_host"] = engineHost
	monitor["include"] = map[string]any{"labels": []string{labLabel + "=" + label}}
	sink := map[string]any{"type": "loki", "name": "lab", "url": url}
	for key, value := range s.Sink {
		sink[key] = value
	}
	cfg["container_monitor"], cfg["sinks"] = monitor, []any{sink}
	cfg["data_dir"] = filepath.Join(dir, "data")
	for i, section := range []string{"server", "metrics", "pprof"} {
		cfg[section] = map[string]any{"listen": addresses[i]}
	}
	text, err := yaml.Marshal(cfg)
	if err != nil {
		return nil, fmt.Errorf("write the agent's configuration: %w", err)
	}
	return p, os.WriteFile(p.config, text, 0o600)
}

// freeAddresses returns addresses that nobody listens on, from below the range
// from which the kernel takes the ports of connections: the agent wants them
// again when it is restarted. They are held until all are found, so that they
// differ.
func freeAddresses(n int) ([]string, error) {
	var addresses []string
	for range 1000 {
		l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", 20000+rand.IntN(12000)))
		if errors.Is(err, syscall.EADDRINUSE) {
			continue
		}
		if err != nil {
			return nil, err
		}
		defer l.Close()
		if addresses = append(addresses, l.Addr().String()); len(addresses) == n {
			return addresses, nil
		}
	}
	return nil, errors.New("no free ports")
}

// start starts the agent, and returns when its API answers.
func (p *process) start(ctx context.Context) error {
	out, err := os.OpenFile(p.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	defer out.Close()
	cmd := exec.Command(p.binary, "run", "--config", p.config)
	cmd.Stdout, cmd.Stderr = out, out
	// The agent ends with the lab, however that ends.
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	started, ended := make(chan error, 1), make(chan struct{})
	go func() {
		// The kernel sends Pdeathsig when the starting thread ends.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		started <- err
		if err == nil {
			_ = cmd.Wait() // its state says how it ended
			close(ended)
		}
	}()
	if err := <-started; err != nil {
		return fmt.Errorf("start agent: %w", err)
	}
	p.mu.Lock()
	p.cmd, p.ended = cmd, ended
	p.starts++
	p.mu.Unlock()
	for deadline := time.Now().Add(time.Minute); ; {
		if _, err := fetch(ctx, p.api+"/api/v1/status"); err == nil {
			return nil
		}
		select {
		case <-ended:
			return fmt.Errorf("the agent ended with %v; its log is in %s", cmd.ProcessState, p.log)
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(20 * time.Millisecond):
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("the agent's API does not answer; its log is in %s", p.log)
		}
	}
}

// pid returns the process's id, and whether it runs.
func (p *process) pid() (int, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.cmd == nil {
		return 0, false
	}
	select {
	case <-p.ended:
		return p.cmd.Process.Pid, false
	default:
		return p.cmd.Process.Pid, true
	}
}

// end ends the agent with a signal, and returns when it has ended. An agent that
// does not end within a minute is killed, with the stacks of its goroutines in
// its log.
func (p *process) end(signal syscall.Signal) error {
	p.mu.Lock()
	cmd, ended := p.cmd, p.ended
	p.mu.Unlock()
	if cmd == nil {
		return nil
	}
	for _, step := range []struct {
		signal syscall.Signal
		wait   time.Duration
	}{{signal, time.Minute}, {syscall.SIGQUIT, 5 * time.Second}, {syscall.SIGKILL, time.Hour}} {
		_ = cmd.Process.Signal(step.signal) // it may have ended
		select {
		case <-ended:
			if step.signal != signal {
				return fmt.Errorf("the agent did not end within a minute of signal %v", signal)
			}
			if signal == syscall.SIGTERM && !cmd.ProcessState.Success() {
				return fmt.Errorf("the agent ended with %v; its log is in %s", cmd.ProcessState, p.log)
			}
			return nil
		case <-time.After(step.wait):
		}
	}
	return nil
}

// asker asks the agent. No connection is kept, so that the lab's own does not
// count as the agent's.
var asker = &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}

// fetch returns what is at a URL. An answer of 503 is one: that of an unhealthy
// agent.
func fetch(ctx context.Context, url string) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	resp, err := asker.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK && resp.StatusCode != http.StatusServiceUnavailable {
		err = fmt.Errorf("%s: %s: %.200s", url, resp.Status, bytes.TrimSpace(body))
	}
	return body, err
}

// fetchPatiently asks a few times: a busy machine may leave the agent without a
// turn for long.
func fetchPatiently(ctx context.Context, url string) (body []byte, err error) {
	for range 6 {
		if body, err = fetch(ctx, url); err == nil {
			return body, nil
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(500 * time.Millisecond):
		}
	}
	return nil, err
}

// commit returns the commit of the source, and whether it was changed.
func commit(ctx context.Context) string {
	out, err := exec.CommandContext(ctx, "git", "describe", "--always", "--dirty", "--abbrev=12").Output()
	if err != nil {
		return "unknown"
	}
	return strings.TrimSpace(string(out))
}

// machine describes the host in a line.
func machine(ctx context.Context, e *engine) string {
	kernel, _ := os.ReadFile("/proc/sys/kernel/osrelease")
	text := fmt.Sprintf("%d cores, %s/%s, Linux %s, %s", runtime.NumCPU(), runtime.GOOS, runtime.GOARCH,
		strings.TrimSpace(string(kernel)), runtime.Version())
	if e == nil {
		return text
	}
	version, err := e.ServerVersion(ctx, client.ServerVersionOptions{})
	if err != nil {
		return text
	}
	return text + ", Docker Engine " + version.Version
}

// errInterrupted ends a run that was interrupted.
var errInterrupted = errors.New("interrupted")
