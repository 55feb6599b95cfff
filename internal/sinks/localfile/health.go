package localfile

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"sync"
	"syscall"
	"time"

	"log_capturer/internal/health"
)

// change is what another program has done to a file.
type change int

const (
	changeAbsent change = iota
	changeShortened
	changeGrown
	numChanges
)

func (c change) String() string { return [...]string{"absent", "shortened", "grown"}[c] }

// troubles is what health is computed from.
type troubles struct {
	now func() time.Time

	mu sync.Mutex
	// write and sync are the errors of the last attempts, nil when these
	// succeeded.
	write, sync error
	// maintenance is the last error of each operation of the sink's own.
	maintenance [numOps]trouble
	// changed is when another program last changed a file, and which it was.
	changed     time.Time
	changedPath string
	changes     int
}

// trouble is an error and its time. held counts those since the last one that
// was logged.
type trouble struct {
	err    error
	at     time.Time
	logged time.Time
	held   int
}

const (
	// troubleTime is how long health remembers what does not end by itself.
	troubleTime = 10 * time.Minute
	// logInterval is the shortest time between two warnings of one kind.
	logInterval = 5 * time.Minute
)

func (t *troubles) writeFailed(err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.write = err
}

func (t *troubles) writeSucceeded() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.write = nil
}

func (t *troubles) synced(err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.sync = err
}

// Health reports on the sink's files as "sink/<name>/files".
func (s *Sink) Health() []health.Component {
	t := &s.troubles
	t.mu.Lock()
	defer t.mu.Unlock()
	c := health.Component{Name: "sink/" + s.opts.Name + "/files", Status: health.Healthy}
	var reasons []string
	add := func(status health.Status, reason string) {
		c.Status = max(c.Status, status)
		reasons = append(reasons, reason)
	}
	if t.write != nil {
		add(health.Unhealthy, t.write.Error())
	}
	if t.sync != nil {
		add(health.Degraded, t.sync.Error())
	}
	for _, m := range t.maintenance {
		if m.err != nil && t.now().Sub(m.at) < troubleTime {
			add(health.Degraded, m.err.Error())
		}
	}
	if t.changes > 0 && t.now().Sub(t.changed) < troubleTime {
		add(health.Degraded, fmt.Sprintf("another program has removed or changed %d files, the last one %q; "+
			"what they held can't be vouched for", t.changes, t.changedPath))
	}
	c.Reason = strings.Join(reasons, "; ")
	return []health.Component{c}
}

// reportChange reports that another program has changed a file.
func (s *Sink) reportChange(path string, what change) {
	s.counters.changes[what].Add(1)
	s.logger.Warn("file_changed_by_others", "path", path, "change", what.String())
	t := &s.troubles
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.now().Sub(t.changed) >= troubleTime {
		t.changes = 0
	}
	t.changed, t.changedPath = t.now(), path
	t.changes++
}

// maintenanceFailed reports an error that costs no record now, and whose cause
// is tried again by itself.
func (s *Sink) maintenanceFailed(op operation, err error) {
	s.counters.errors[op].Add(1)
	t := &s.troubles
	t.mu.Lock()
	m := &t.maintenance[op]
	m.err, m.at = err, t.now()
	held := m.held
	quiet := !m.logged.IsZero() && m.at.Sub(m.logged) < logInterval
	if quiet {
		m.held++
	} else {
		m.held, m.logged = 0, m.at
	}
	t.mu.Unlock()
	if !quiet {
		s.logger.Warn("file_maintenance_failed", "operation", op.String(), "error", err, "held_back", held)
	}
}

// explain adds to an error of the file system what to do about it.
func explain(err error) error {
	for _, known := range []struct {
		cause  error
		advice string
	}{
		{syscall.ENOSPC, "the disk is full; make room, or lower the sink's retention; records wait meanwhile"},
		{syscall.EDQUOT, "the disk quota is used up; make room or raise it; records wait meanwhile"},
		{syscall.EIO, "the disk reports an error; check it with dmesg and smartctl; records wait meanwhile"},
		{syscall.EROFS, "the file system is read-only; mount it writable or change the path"},
		{fs.ErrPermission, "give the agent's user the right to write there, or change the path"},
	} {
		if errors.Is(err, known.cause) {
			return fmt.Errorf("%w (%s)", err, known.advice)
		}
	}
	return err
}

// isAbsent reports whether err says that there is no file of this name.
func isAbsent(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR)
}

// isBelow reports whether dir is inside root.
func isBelow(dir, root string) bool {
	return len(dir) > len(root) && strings.HasPrefix(dir, strings.TrimSuffix(root, "/")+"/")
}
