//go:build unix && !linux

package localfile

import (
	"os"
	"syscall"
)

// Stat uses stat(2); it does not know a file's time of birth.
func (osFileSystem) Stat(name string) (status, error) {
	info, err := os.Stat(name)
	if err != nil {
		return status{}, err
	}
	s := status{size: info.Size(), modified: info.ModTime()}
	if st, ok := info.Sys().(*syscall.Stat_t); ok {
		s.identity = identity{device: uint64(st.Dev), inode: uint64(st.Ino)}
	}
	return s, nil
}
