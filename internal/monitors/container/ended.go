package container

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"
)

// result is what a stream came to.
type result struct {
	entry  *entry
	stream *stream
	file   *fileLog
	end    ending
	err    error
}

const (
	minRetry = 100 * time.Millisecond
	maxRetry = 10 * time.Second
)

// retry sets when e is tried again: soon at first, then less and less often.
func (e *entry) retry(now time.Time) {
	pause := min(minRetry<<min(e.failures, 10), maxRetry)
	e.failures++
	e.retryAt = now.Add(pause/2 + rand.N(pause/2))
}

// ended takes in what a stream came to.
func (m *Monitor) ended(r result) {
	m.mu.Lock()
	defer m.mu.Unlock()
	now := time.Now()
	e := r.entry
	if r.file != nil {
		m.fileEnded(r, now)
		return
	}
	if e.stream != r.stream {
		m.unstuck(e)
		return
	}
	progress := r.stream.position.total > e.position.total
	e.position = r.stream.position
	e.readUntil = r.stream.status.readUntil(e.readUntil)
	if e.position.caughtUp {
		e.readUntil = now
	}
	e.stream, e.closing = nil, false
	if r.stream.info.Inspected {
		running, name := e.info.Running, e.info.Name
		e.info = r.stream.info
		e.info.Running, e.info.Name = running, name
		if e.runChanged {
			e.info.Inspected = false // it tells of an earlier run
		}
	}
	if progress {
		e.failures = 0
	}
	e.position.distrustTime = r.end == endStuck
	e.readToEnd = r.stream.readToEnd || r.end == endGone && e.readToEnd
	e.waitingSince = now
	switch r.end {
	case endRotated:
		m.stats.rotations.Inc()
		e.state = stateWaiting
	case endStuck:
		m.stats.reopens.WithLabelValues("stuck").Inc()
		m.logger.Warn("stream_stuck", "container", e.info.Name)
		e.state = stateWaiting
	case endStopped:
		e.state = stateWaiting
		if e.runChanged {
			break
		}
		e.info.Running = false
		// What was opened while the container ran is opened once more, now that
		// it has stopped: an engine may end a followed log before its last line.
		if !r.stream.info.Running {
			e.state, e.drainedRun = stateDone, e.info.StartedAt
			m.opts.Dispatcher.Ended(keyPrefix + e.info.ID)
		}
	case endRestarted:
		// A start makes a new log stream; while the container is between two
		// runs there is nothing to read, so it is tried less and less often.
		m.stats.reopens.WithLabelValues("ended").Inc()
		e.state = stateWaiting
		if !e.runChanged {
			e.retry(now)
		}
	case endClosed:
		e.state = stateWaiting
	case endSwitched:
		e.state, e.noFileUntil = stateWaiting, time.Time{}
	case endExcluded:
		e.state, e.reason = stateExcluded, m.opts.Filter.excluded(e.info)
	case endGone:
		m.remove(e, now)
	case endUnreadable:
		e.state, e.reason = stateUnreadable, "its log driver "+e.info.Driver+" can't be read: "+
			"give the container another one, or exclude it in container_monitor.exclude"
		m.logger.Warn("container_unreadable", "container", e.info.Name, "driver", e.info.Driver)
	case endFailed:
		m.stats.reopens.WithLabelValues("error").Inc()
		e.state, e.reason = stateFailing, r.err.Error()
		e.retry(now)
		if n := e.failures; n&(n-1) == 0 && !errors.Is(r.err, context.Canceled) {
			m.logger.Warn("stream_failed", "container", e.info.Name, "error", r.err, "failures", n)
		}
	}
	if e.gone && e.stream == nil && e.state != stateWaiting {
		m.remove(e, now)
	}
}

// wantsSince returns since when e may have had a lease: not before the end of
// the pause after a failure.
func (e *entry) wantsSince() time.Time {
	if e.retryAt.After(e.waitingSince) {
		return e.retryAt
	}
	return e.waitingSince
}
