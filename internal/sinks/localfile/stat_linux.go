package localfile

import (
	"io/fs"
	"time"

	"golang.org/x/sys/unix"
)

// Stat uses statx(2), which knows a file's time of birth.
func (osFileSystem) Stat(name string) (status, error) {
	const mask = unix.STATX_BASIC_STATS | unix.STATX_BTIME
	var st unix.Statx_t
	for {
		err := unix.Statx(unix.AT_FDCWD, name, 0, mask, &st)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return status{}, &fs.PathError{Op: "stat", Path: name, Err: err}
		}
		break
	}
	s := status{
		identity: identity{device: unix.Mkdev(st.Dev_major, st.Dev_minor), inode: st.Ino},
		size:     int64(st.Size),
		modified: time.Unix(st.Mtime.Sec, int64(st.Mtime.Nsec)),
	}
	if st.Mask&unix.STATX_BTIME != 0 {
		s.identity.born = st.Btime.Sec*1e9 + int64(st.Btime.Nsec)
	}
	return s, nil
}
