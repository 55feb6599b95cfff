package tail

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// inotify is a connection to the kernel's file-system events (inotify(7)). They
// are read in bulk into one buffer and nothing is allocated for one, since a busy
// log makes an event with every write.
type inotify struct {
	file *os.File
	buf  []byte
}

// errNoSuchDir says that a directory is not there to be watched.
var errNoSuchDir = errors.New("no such directory")

// openInotify makes a connection. The error says what to do.
func openInotify() (*inotify, error) {
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if errors.Is(err, unix.EMFILE) {
		return nil, fmt.Errorf("watch directories: the user's inotify instances are used up; raise fs.inotify.max_user_instances: %w", err)
	}
	if err != nil {
		return nil, fmt.Errorf("watch directories: %w", err)
	}
	return &inotify{file: os.NewFile(uintptr(fd), "inotify"), buf: make([]byte, 64<<10)}, nil
}

// watchMask is what is told of a directory. That a file was written to is told
// unless the directory is mute.
const watchMask = unix.IN_CREATE | unix.IN_DELETE | unix.IN_MOVED_FROM | unix.IN_MOVED_TO |
	unix.IN_DELETE_SELF | unix.IN_MOVE_SELF | unix.IN_ONLYDIR

// add watches a directory, or changes what is told of it.
func (n *inotify) add(path string, mute bool) (int32, error) {
	mask := uint32(watchMask)
	if !mute {
		mask |= unix.IN_MODIFY
	}
	var fs unix.Statfs_t
	if err := unix.Statfs(path, &fs); err == nil && isRemote(uint32(fs.Type)) {
		return 0, fmt.Errorf("watch %q: its file system does not tell of changes that others make", path)
	}
	var number int
	var err error
	if controlErr := control(n.file, func(fd int) { number, err = unix.InotifyAddWatch(fd, path, mask) }); controlErr != nil {
		err = controlErr
	}
	switch {
	case errors.Is(err, unix.ENOSPC):
		return 0, fmt.Errorf("watch %q: the user's inotify watches are used up; raise fs.inotify.max_user_watches: %w", path, err)
	case errors.Is(err, unix.ENOENT):
		return 0, errNoSuchDir
	case err != nil:
		return 0, fmt.Errorf("watch %q: %w", path, err)
	}
	return int32(number), nil
}

// isRemote reports whether others than this kernel change a file system of this
// type: their changes make no events here.
func isRemote(magic uint32) bool {
	switch magic {
	case unix.NFS_SUPER_MAGIC, unix.SMB_SUPER_MAGIC, unix.CIFS_SUPER_MAGIC, unix.SMB2_SUPER_MAGIC,
		unix.FUSE_SUPER_MAGIC, unix.V9FS_MAGIC, unix.CEPH_SUPER_MAGIC, unix.AFS_SUPER_MAGIC:
		return true
	}
	return false
}

// remove ends a watch. That it has ended by itself is fine.
func (n *inotify) remove(number int32) {
	_ = control(n.file, func(fd int) { _, _ = unix.InotifyRmWatch(fd, uint32(number)) })
}

// control calls f with the descriptor of an open file, without taking the file
// out of the runtime's poller.
func control(file *os.File, f func(fd int)) error {
	raw, err := file.SyscallConn()
	if err != nil {
		return err
	}
	return raw.Control(func(fd uintptr) { f(int(fd)) })
}

func (n *inotify) close() { _ = n.file.Close() }

func (n *inotify) deadline(t time.Time) { _ = n.file.SetReadDeadline(t) }

// events are what was read at once.
type events []byte

// read waits for events. There are none when the deadline came first.
func (n *inotify) read() (events, error) {
	size, err := n.file.Read(n.buf)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read file-system events: %w", err)
	}
	return n.buf[:size], nil
}

// each calls take for each event, and appeared, which may be nil, with the paths
// that it returns. It reports whether events were dropped by the kernel.
func (e events) each(take func(number int32, mask uint32, name []byte) string, appeared func(string)) bool {
	overflow := false
	for len(e) >= unix.SizeofInotifyEvent {
		number := int32(binary.NativeEndian.Uint32(e))
		mask := binary.NativeEndian.Uint32(e[4:])
		end := unix.SizeofInotifyEvent + int(binary.NativeEndian.Uint32(e[12:]))
		name, _, _ := bytes.Cut(e[unix.SizeofInotifyEvent:end], []byte{0})
		e = e[end:]
		if mask&unix.IN_Q_OVERFLOW != 0 {
			overflow = true
			continue
		}
		if path := take(number, mask, name); path != "" && appeared != nil {
			appeared(path)
		}
	}
	if overflow && appeared != nil {
		appeared("")
	}
	return overflow
}

// take enters an event: it appends the member that it is about to changed, and
// returns the path of a file that appeared and is no member's.
func (w *watcher) take(number int32, mask uint32, name []byte, changed *[]*Member) string {
	w.mu.Lock()
	defer w.mu.Unlock()
	d := w.byNumber[number]
	if d == nil {
		return ""
	}
	if mask&(unix.IN_IGNORED|unix.IN_DELETE_SELF|unix.IN_MOVE_SELF) != 0 {
		// The directory is gone, or another one may have its path now.
		delete(w.byNumber, number)
		d.works.Store(false)
		if mask&unix.IN_MOVE_SELF != 0 {
			w.kernel.remove(number)
		}
		for _, m := range d.members {
			*changed = append(*changed, m)
		}
		return ""
	}
	if m := d.members[string(name)]; m != nil {
		if last := len(*changed) - 1; last < 0 || (*changed)[last] != m {
			*changed = append(*changed, m)
		}
		return ""
	}
	if mask&(unix.IN_CREATE|unix.IN_MOVED_TO) != 0 {
		return filepath.Join(d.path, string(name))
	}
	return ""
}
