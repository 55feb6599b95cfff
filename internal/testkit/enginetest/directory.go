package enginetest

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// directory is where a private engine keeps all of its state. Its name is the
// name of the engine's containerd namespace and cgroups too, and holds the id
// of the test's process, so that a later test can clear away what a process
// that was killed has left.
type directory string

// directoryPrefix is short because the directory holds sockets, whose paths may
// have 107 bytes.
const directoryPrefix = "lcpe"

func newDirectory() (directory, error) {
	dir, err := os.MkdirTemp("", fmt.Sprintf("%s%d-*", directoryPrefix, os.Getpid()))
	if err != nil {
		return "", fmt.Errorf("make directory of private engine: %w", err)
	}
	return directory(dir), nil
}

func (d directory) path(name string) string { return filepath.Join(string(d), name) }

func (d directory) name() string { return filepath.Base(string(d)) }

func (d directory) containerdSocket() string { return d.path("cd.sock") }

// owner returns the id of the process that made the directory.
func (d directory) owner() int {
	digits, _, _ := strings.Cut(strings.TrimPrefix(d.name(), directoryPrefix), "-")
	pid, _ := strconv.Atoi(digits)
	return pid
}

// sweep clears away the private engines of test processes that were killed.
func sweep() {
	found, _ := filepath.Glob(filepath.Join(os.TempDir(), directoryPrefix+"*-*"))
	for _, path := range found {
		d := directory(path)
		if pid := d.owner(); pid > 0 && syscall.Kill(pid, 0) == syscall.ESRCH {
			killContainers(d)
			d.remove()
		}
	}
}

// process is a line of the table of processes.
type process struct {
	pid, parent int
	command     []string
}

// processes reads the table of processes. Those that end meanwhile are left out.
func processes() []process {
	var list []process
	entries, _ := os.ReadDir("/proc")
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		command, err := os.ReadFile(filepath.Join("/proc", e.Name(), "cmdline"))
		if err != nil || len(command) == 0 {
			continue
		}
		stat, err := os.ReadFile(filepath.Join("/proc", e.Name(), "stat"))
		if err != nil {
			continue
		}
		// pid (name) state parent ...; the name may hold anything.
		fields := strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')')+1:]))
		if len(fields) < 2 {
			continue
		}
		parent, _ := strconv.Atoi(fields[1])
		list = append(list, process{pid, parent, strings.Split(strings.TrimSuffix(string(command), "\x00"), "\x00")})
	}
	return list
}

// shims returns the processes of containerd that look after one container each,
// of this engine's containers and of no others: they are told from others by
// the socket in their arguments.
func shims(d directory, table []process) []process {
	var found []process
	for _, p := range table {
		if strings.HasPrefix(filepath.Base(p.command[0]), "containerd-shim") && slices.Contains(p.command, d.containerdSocket()) {
			found = append(found, p)
		}
	}
	return found
}

// killContainers kills the processes in the engine's containers. Their shims
// see to the rest while containerd runs.
func killContainers(d directory) {
	table := processes()
	for _, shim := range shims(d, table) {
		for _, p := range table {
			if p.parent == shim.pid {
				syscall.Kill(p.pid, syscall.SIGKILL)
			}
		}
	}
}

// remove ends the shims that are left, and removes mounts, cgroups and files.
// The daemons have ended.
func (d directory) remove() error {
	var errs []error
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		left := shims(d, processes())
		if len(left) == 0 {
			break
		}
		if time.Now().After(deadline) {
			errs = append(errs, fmt.Errorf("%d shims do not end", len(left)))
			break
		}
		killContainers(d)
		for _, shim := range left {
			syscall.Kill(shim.pid, syscall.SIGKILL)
		}
	}
	d.removeShimSockets()
	for _, mount := range slices.Backward(d.mounts()) {
		if err := syscall.Unmount(mount, syscall.MNT_DETACH); err != nil {
			errs = append(errs, fmt.Errorf("unmount %q: %w", mount, err))
		}
	}
	errs = append(errs, d.removeCgroups(), os.RemoveAll(string(d)))
	return errors.Join(errs...)
}

// removeShimSockets removes the sockets of shims that were killed: containerd
// keeps them at one place for all its instances, and each one's path in a file
// of the instance.
func (d directory) removeShimSockets() {
	files, _ := filepath.Glob(d.path("cs/io.containerd.runtime.v2.task/*/*/address"))
	for _, file := range files {
		if address, err := os.ReadFile(file); err == nil {
			os.Remove(strings.TrimPrefix(strings.TrimSpace(string(address)), "unix://"))
		}
	}
}

// mounts returns the mounts below the directory, in the order they were made.
func (d directory) mounts() []string {
	table, _ := os.ReadFile("/proc/self/mountinfo")
	var mounts []string
	for line := range strings.Lines(string(table)) {
		fields := strings.Fields(line)
		if len(fields) > 4 && strings.HasPrefix(fields[4], string(d)+"/") {
			mounts = append(mounts, fields[4])
		}
	}
	return mounts
}

// cgroups returns the engine's cgroups, in every hierarchy, deepest last.
func (d directory) cgroups() []string {
	var groups []string
	for _, pattern := range []string{"/sys/fs/cgroup/", "/sys/fs/cgroup/*/"} {
		roots, _ := filepath.Glob(pattern + d.name())
		for _, root := range roots {
			filepath.WalkDir(root, func(path string, e fs.DirEntry, err error) error {
				if err == nil && e.IsDir() {
					groups = append(groups, path)
				}
				return nil
			})
		}
	}
	return groups
}

// removeCgroups removes them. A cgroup can be removed moments after its last
// process has ended.
func (d directory) removeCgroups() error {
	for deadline := time.Now().Add(5 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		var last error
		for _, group := range slices.Backward(d.cgroups()) {
			if err := os.Remove(group); err != nil && !os.IsNotExist(err) {
				last = err
			}
		}
		if last == nil || time.Now().After(deadline) {
			return last
		}
	}
}
