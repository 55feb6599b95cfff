package file

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"log_capturer/internal/health"
)

// File is the public state of a file.
type File struct {
	Path string
	// State is one of reading, idle, gone and error.
	State string
	// Reason says why a file is not read, empty for one that is.
	Reason string
	Labels map[string]string
	// Namespace, Pod and Container say which container of which pod has the file.
	Namespace, Pod, Container string
	Lag                       time.Duration
	Records, Bytes            int64
	LastLine                  time.Time
	Gaps                      uint64
	// LostBytes is how many bytes are missing in the gaps at least.
	LostBytes int64
	// Watched says that the kernel tells of changes.
	Watched bool
}

// The states of a file.
const (
	stateReading = "reading"
	stateIdle    = "idle"
	stateGone    = "gone"
	stateError   = "error"
)

var stateNames = []string{stateReading, stateIdle, stateGone, stateError}

// lag returns how long ago what is read of the file now was written, and nothing
// when all of it was read.
func (s *source) lag(now time.Time) time.Duration {
	if since := s.behindSince.Load(); since != 0 {
		return max(0, now.Sub(time.Unix(0, since)))
	}
	return 0
}

func (s *source) state() (state, reason string) {
	switch failure := s.failure.Load(); {
	case failure != nil:
		return stateError, *failure
	case s.endedAt.Load() != 0:
		return stateGone, "the file was removed, and all of it was read"
	case s.behindSince.Load() != 0:
		return stateReading, ""
	}
	return stateIdle, ""
}

// Files returns the state of all files, by path.
func (m *Monitor) Files() []File {
	now := time.Now()
	m.mu.Lock()
	defer m.mu.Unlock()
	list := make([]File, 0, len(m.table)+len(m.refused))
	for _, s := range m.table {
		f := File{
			Path: s.path, Labels: s.record.Labels, Lag: s.lag(now),
			Namespace: s.record.Namespace, Pod: s.record.Pod, Container: s.record.ContainerName,
			Records: s.records.Load(), Bytes: s.bytes.Load(), Gaps: s.gaps.Load(), LostBytes: s.lost.Load(),
		}
		f.State, f.Reason = s.state()
		if member := s.member.Load(); member != nil {
			f.Watched = member.Watched()
		}
		if last := s.lastLine.Load(); last != 0 {
			f.LastLine = time.Unix(0, last)
		}
		list = append(list, f)
	}
	for path, reason := range m.refused {
		list = append(list, File{Path: path, State: stateError, Reason: reason})
	}
	slices.SortFunc(list, func(a, b File) int { return strings.Compare(a.Path, b.Path) })
	return list
}

// Ready reports whether the patterns were looked for once.
func (m *Monitor) Ready() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.scanned
}

// failingAfter is how often in a row reading a file may fail before that makes
// the monitor degraded.
const failingAfter = 3

// Health reports whether all files are captured.
func (m *Monitor) Health() []health.Component {
	m.mu.Lock()
	defer m.mu.Unlock()
	c := health.Component{Name: "file_monitor"}
	var failing int
	var example, reason string
	for _, s := range m.table {
		if text := s.failure.Load(); text != nil && s.failures.Load() >= failingAfter {
			failing++
			example, reason = s.path, *text
		}
	}
	for path, text := range m.refused {
		failing++
		example, reason = path, text
	}
	switch {
	case !m.scanned:
		c.Status, c.Reason = health.Degraded, "the files have not been looked for yet"
	case failing > 0:
		c.Status, c.Reason = health.Degraded, fmt.Sprintf("%d files can't be read, among them %s: %s", failing, example, reason)
	case m.scanError != nil:
		c.Status, c.Reason = health.Degraded, m.scanError.Error()
	}
	return []health.Component{c}
}
