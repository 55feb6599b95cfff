//go:build unix && !linux

package tail

import (
	"errors"
	"time"
)

// inotify stands for what other systems do not have: there, polling does it all.
type inotify struct{}

var errNoSuchDir = errors.New("no such directory")

func openInotify() (*inotify, error) {
	return nil, errors.New("watch directories: there is no inotify on this system")
}

func (*inotify) add(string, bool) (int32, error) { return 0, errNoSuchDir }
func (*inotify) remove(int32)                    {}
func (*inotify) close()                          {}
func (*inotify) deadline(time.Time)              {}
func (*inotify) read() (events, error)           { return nil, errors.New("no inotify") }

type events []byte

func (events) each(func(int32, uint32, []byte) string, func(string)) bool { return false }

func (w *watcher) take(int32, uint32, []byte, *[]*Member) string { return "" }
