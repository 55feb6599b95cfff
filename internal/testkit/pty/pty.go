// Package pty is a terminal for tests: what is written to it is kept.
package pty

import (
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"
)

// Terminal is what a program under test writes to.
type Terminal struct {
	// File is the program's side.
	File *os.File

	other *os.File
	done  chan struct{}

	mu    sync.Mutex
	shown strings.Builder
}

// Open opens a terminal, which is closed with the test.
func Open(t testing.TB) *Terminal {
	t.Helper()
	fail := func(err error) {
		if err != nil {
			t.Fatalf("open a terminal: %v", err)
		}
	}
	other, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	fail(err)
	fd := int(other.Fd())
	fail(unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0))
	n, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	fail(err)
	file, err := os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0)
	fail(err)
	terminal := &Terminal{File: file, other: other, done: make(chan struct{})}
	go terminal.read()
	t.Cleanup(func() { terminal.Close() })
	return terminal
}

// read keeps what is written. It is started by Open and ends when the program's
// side is closed; Close waits for it.
func (p *Terminal) read() {
	defer close(p.done)
	buffer := make([]byte, 4096)
	for {
		n, err := p.other.Read(buffer)
		p.mu.Lock()
		p.shown.Write(buffer[:n])
		p.mu.Unlock()
		if err != nil {
			return // EIO: nobody has the other side open any more
		}
	}
}

// Close closes the terminal, and returns all that was written to it. It may be
// called again.
func (p *Terminal) Close() string {
	_ = p.File.Close() // the second time it is closed already
	<-p.done
	_ = p.other.Close()
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.shown.String()
}
