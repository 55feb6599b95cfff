package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// process is a program that is measured, or the endpoint.
type process struct {
	cmd  *exec.Cmd
	name string
	log  string
	done chan error
}

// start starts a program with its output in a file of dir.
func start(dir string, argv []string, env ...string) (*process, error) {
	p := &process{name: filepath.Base(argv[0]), done: make(chan error, 1)}
	log, err := os.CreateTemp(dir, p.name+"-*.log")
	if err != nil {
		return nil, err
	}
	defer log.Close()
	p.log = log.Name()
	p.cmd = exec.Command(argv[0], argv[1:]...)
	p.cmd.Dir, p.cmd.Env = dir, append(os.Environ(), env...)
	p.cmd.Stdout, p.cmd.Stderr = log, log
	// What is measured goes with the bench, however that ends.
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := p.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", p.name, err)
	}
	go func() { p.done <- p.cmd.Wait() }()
	return p, nil
}

// stop ends the process as its user would, and returns what it used.
func (p *process) stop() (usage, error) {
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case err := <-p.done:
		p.done <- err
	case <-time.After(60 * time.Second):
		_ = p.cmd.Process.Kill()
		return usage{}, fmt.Errorf("%s did not stop in a minute", p.name)
	}
	rusage, ok := p.cmd.ProcessState.SysUsage().(*syscall.Rusage)
	if !ok {
		return usage{}, errors.New("no resource usage")
	}
	return usage{
		cpu:  time.Duration(rusage.Utime.Nano() + rusage.Stime.Nano()),
		peak: rusage.Maxrss << 10,
	}, nil
}

// running returns an error with the end of the log when the process has ended.
func (p *process) running() error {
	select {
	case err := <-p.done:
		p.done <- err
		text, _ := os.ReadFile(p.log)
		return fmt.Errorf("%s ended: %v\n%s", p.name, err, text[max(0, len(text)-2000):])
	default:
		return nil
	}
}

// usage is what a process has used.
type usage struct {
	cpu time.Duration
	// peak is the largest resident set, in bytes.
	peak int64
}

// cpuOf returns the processor time that a process has used so far. Its clock
// ticks a hundred times a second.
func cpuOf(pid int) (time.Duration, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, err
	}
	// The name in parentheses may hold anything; proc(5) counts utime as 14.
	fields := strings.Fields(string(text[bytes.LastIndexByte(text, ')')+1:]))
	if len(fields) < 13 {
		return 0, fmt.Errorf("read /proc/%d/stat: %q", pid, text)
	}
	var ticks int64
	for _, f := range fields[11:13] {
		n, err := strconv.ParseInt(f, 10, 64)
		if err != nil {
			return 0, err
		}
		ticks += n
	}
	return time.Duration(ticks) * (time.Second / 100), nil
}

// forgetPeak sets the peak of a process's memory to what it is now (proc(5)).
func forgetPeak(pid int) error {
	return os.WriteFile(fmt.Sprintf("/proc/%d/clear_refs", pid), []byte("5"), 0)
}

// memoryOf returns the resident set of a process and its peak, in bytes.
func memoryOf(pid int) (now, peak int64, err error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, 0, err
	}
	for line := range strings.Lines(string(text)) {
		key, value, _ := strings.Cut(line, ":")
		to := map[string]*int64{"VmRSS": &now, "VmHWM": &peak}[key]
		if to == nil {
			continue
		}
		kib, err := strconv.ParseInt(strings.Fields(value)[0], 10, 64)
		if err != nil {
			return 0, 0, err
		}
		*to = kib << 10
	}
	return now, peak, nil
}

// startEndpoint starts this program as the endpoint and returns its URL.
func startEndpoint(ctx context.Context, self, dir string, delays bool) (*process, string, error) {
	p, err := start(dir, []string{self, "endpoint", "-delays=" + strconv.FormatBool(delays)})
	if err != nil {
		return nil, "", err
	}
	for ; ; time.Sleep(10 * time.Millisecond) {
		if err := errors.Join(ctx.Err(), p.running()); err != nil {
			return nil, "", err
		}
		f, err := os.Open(p.log)
		if err != nil {
			return nil, "", err
		}
		line, err := bufio.NewReader(f).ReadString('\n')
		f.Close()
		if err == nil {
			return p, strings.TrimSpace(line), nil
		}
	}
}
