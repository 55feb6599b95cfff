package enginetest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/moby/moby/client"
)

const (
	// daemonTimeout is how long an engine may take to start or to stop.
	daemonTimeout = time.Minute
	// daemonPath is where distributions put the daemons; a user's PATH often
	// lacks some of it.
	daemonPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
)

// PrivateEngine is an engine of a test's own, which may be killed. It has a
// containerd of its own, which survives the engine as it does on a real host,
// and shares nothing with the machine's engine but the kernel.
//
// Kill, Stop and Start are for one goroutine at a time.
type PrivateEngine struct {
	*Engine

	t          testing.TB
	dir        directory
	flags      []string
	containerd *daemon
	dockerd    *daemon
	log        lockedBuffer
}

// NewPrivate starts an engine with its own data, and loads the writer's image.
// Flags are added to dockerd's: without "--live-restore" an engine that is
// killed ends its containers when it is started again. The engine, its
// containers, processes, mounts and files are gone after the test. It needs to
// run as root, and fails the test otherwise.
func NewPrivate(t testing.TB, flags ...string) *PrivateEngine {
	t.Helper()
	sweep()
	dir, err := newDirectory()
	if err != nil {
		t.Fatal(err)
	}
	p := &PrivateEngine{t: t, dir: dir, flags: flags}
	t.Cleanup(p.close)
	if err := os.WriteFile(dir.path("containerd.toml"), []byte("version = 2\ndisabled_plugins = [\"io.containerd.grpc.v1.cri\"]\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	p.containerd, err = p.launch("containerd", "--config", dir.path("containerd.toml"),
		"--root", dir.path("cd"), "--state", dir.path("cs"), "--address", dir.containerdSocket())
	if err != nil {
		t.Fatal(err)
	}
	Eventually(t, daemonTimeout, "the private containerd answers", func() bool {
		if p.containerd.hasEnded() {
			t.Fatalf("private containerd ended with %v", p.containerd.state)
		}
		_, err := os.Stat(dir.containerdSocket())
		return err == nil
	})
	p.startDaemon()
	p.Engine, err = connect(t, client.WithHost("unix://"+dir.path("d.sock")))
	if err != nil {
		t.Fatal(err)
	}
	p.private = true
	if err := ensureImage(p.Engine); err != nil {
		t.Fatal(err)
	}
	return p
}

// Start starts the engine again after Kill or Stop, and returns when it
// answers.
func (p *PrivateEngine) Start() {
	p.t.Helper()
	p.startDaemon()
}

// Kill ends the engine with SIGKILL. Its containers go on running.
func (p *PrivateEngine) Kill() {
	p.dockerd.cmd.Process.Kill()
	<-p.dockerd.ended
}

// Stop ends the engine with SIGTERM. It ends its containers first, except with
// "--live-restore".
func (p *PrivateEngine) Stop() {
	p.t.Helper()
	if err := p.dockerd.stop(); err != nil {
		p.t.Error(err)
	}
}

func (p *PrivateEngine) startDaemon() {
	p.t.Helper()
	if p.dockerd != nil && !p.dockerd.hasEnded() {
		p.t.Fatal("private engine runs already")
	}
	socket := p.dir.path("d.sock")
	args := append([]string{
		"--data-root", p.dir.path("data"), "--exec-root", p.dir.path("x"), "--pidfile", p.dir.path("pid"),
		"--host", "unix://" + socket, "--config-file", p.dir.path("none.json"),
		"--containerd", p.dir.containerdSocket(),
		"--containerd-namespace", p.dir.name(), "--containerd-plugins-namespace", p.dir.name() + "-plugins",
		"--storage-driver", "vfs", "--cgroup-parent", "/" + p.dir.name(),
		"--bridge", "none", "--iptables=false", "--ip6tables=false", "--ip-forward=false", "--userland-proxy=false",
	}, p.flags...)
	if err := os.WriteFile(p.dir.path("none.json"), []byte("{}"), 0o600); err != nil {
		p.t.Fatal(err)
	}
	var err error
	if p.dockerd, err = p.launch("dockerd", args...); err != nil {
		p.t.Fatal(err)
	}
	cli, err := client.New(client.WithHost("unix://" + socket))
	if err != nil {
		p.t.Fatal(err)
	}
	defer cli.Close()
	Eventually(p.t, daemonTimeout, "the private engine answers", func() bool {
		if p.dockerd.hasEnded() {
			p.t.Fatalf("private dockerd ended with %v", p.dockerd.state)
		}
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		_, err := cli.Ping(ctx, client.PingOptions{})
		return err == nil
	})
}

// close ends all that the engine started, and removes all that it made.
func (p *PrivateEngine) close() {
	if p.t.Failed() {
		p.t.Logf("log of the private engine:\n%s", p.log.String())
	}
	loaded.Lock()
	delete(loaded.hosts, "unix://"+p.dir.path("d.sock"))
	loaded.Unlock()
	// Containers that still run would hold the engine up.
	killContainers(p.dir)
	for _, d := range []*daemon{p.dockerd, p.containerd} {
		if d != nil {
			if err := d.stop(); err != nil {
				p.t.Errorf("clean up: %v", err)
			}
		}
	}
	if err := p.dir.remove(); err != nil {
		p.t.Errorf("clean up after the private engine: %v", err)
	}
}

// daemon is a process of a private engine.
type daemon struct {
	cmd *exec.Cmd
	// ended is closed when the process has ended and state is set.
	ended chan struct{}
	state *os.ProcessState
}

// launch starts a daemon, which dies with the test's process.
func (p *PrivateEngine) launch(name string, args ...string) (*daemon, error) {
	if os.Geteuid() != 0 {
		return nil, errors.New("start private engine: only root can")
	}
	path := ""
	for dir := range strings.SplitSeq(daemonPath, ":") {
		if _, err := os.Stat(filepath.Join(dir, name)); err == nil {
			path = filepath.Join(dir, name)
			break
		}
	}
	if path == "" {
		return nil, fmt.Errorf("start private engine: no %s in %s", name, daemonPath)
	}
	d := &daemon{ended: make(chan struct{})}
	d.cmd = exec.Command(path, args...)
	d.cmd.Env = append(os.Environ(), "PATH="+daemonPath, "DOCKER_HOST=")
	d.cmd.Stdout, d.cmd.Stderr = &p.log, &p.log
	// A process that outlives the daemon may hold its output open.
	d.cmd.WaitDelay = time.Second
	d.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	started := make(chan error, 1)
	go func() {
		// The kernel sends Pdeathsig when the starting thread ends.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := d.cmd.Start()
		started <- err
		if err == nil {
			d.cmd.Wait()
			d.state = d.cmd.ProcessState
			close(d.ended)
		}
	}()
	if err := <-started; err != nil {
		return nil, fmt.Errorf("start private engine: %w", err)
	}
	return d, nil
}

func (d *daemon) hasEnded() bool {
	select {
	case <-d.ended:
		return true
	default:
		return false
	}
}

// stop ends the daemon with SIGTERM, and with SIGKILL when that does not do.
func (d *daemon) stop() error {
	d.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-d.ended:
		return nil
	case <-time.After(daemonTimeout):
	}
	d.cmd.Process.Kill()
	<-d.ended
	return fmt.Errorf("%s does not end within %v of SIGTERM", filepath.Base(d.cmd.Path), daemonTimeout)
}

// lockedBuffer is a buffer for several writers.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}
