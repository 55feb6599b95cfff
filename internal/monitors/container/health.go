package container

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"log_capturer/internal/health"
)

// lag returns how far the reading of e is behind: how long ago the moment is up
// to which all was read. The caller holds m.mu.
func (e *entry) lag(now time.Time) time.Duration {
	switch e.state {
	case stateReading:
		if e.file != nil {
			return e.file.lag(now)
		}
		if e.stream.status.idle(now) {
			return 0
		}
		if until := e.stream.status.readUntil(e.readUntil); !until.IsZero() {
			return max(0, now.Sub(until))
		}
		return now.Sub(e.stream.status.opened)
	case stateWaiting, stateFailing:
		if e.readUntil.IsZero() {
			return now.Sub(e.waitingSince)
		}
		return max(0, now.Sub(e.readUntil))
	}
	return 0
}

// Container is the public state of a container.
type Container struct {
	ID, Name, Image string
	// State is one of waiting, reading, stopped, excluded, unreadable, error.
	State string
	// Reason says why a container is not read, empty for one that is.
	Reason string
	// Transport is how it is read, or was last, empty for one that was not yet.
	// TransportReason says why it is not read from its file.
	Transport       Transport
	TransportReason string
	// Lease says that it holds a stream of the engine's.
	Lease bool
	// Waiting is how long it has waited for a stream, Open for how long its
	// stream is open.
	Waiting, Open time.Duration
	Lag           time.Duration
	Records       int64
	Bytes         int64
	// LastLine is the time of the last line, zero when there was none.
	LastLine time.Time
	// Gaps is the number of suspected gaps.
	Gaps uint64
}

// Containers returns the state of all containers, by name.
func (m *Monitor) Containers() []Container {
	now := time.Now()
	m.mu.Lock()
	defer m.mu.Unlock()
	list := make([]Container, 0, len(m.table))
	for _, e := range m.table {
		c := Container{
			ID: e.info.ID, Name: e.info.Name, Image: e.info.Image,
			State: e.state.String(), Reason: e.reason, Lag: e.lag(now),
			Records: e.counters.records.Load(), Bytes: e.counters.bytes.Load(), Gaps: e.counters.gaps.Load(),
		}
		c.Transport, c.Lease = e.transport, e.stream != nil
		if e.transport == TransportAPI {
			c.TransportReason = e.noFile
			if m.opts.Transport == TransportAPI {
				c.TransportReason = "container_monitor.transport is api"
			}
		}
		if last := e.counters.lastLine.Load(); last != 0 {
			c.LastLine = time.Unix(0, last)
		}
		switch e.state {
		case stateReading:
			if e.file != nil {
				c.Open = now.Sub(e.file.opened)
			} else {
				c.Open = now.Sub(e.stream.status.opened)
			}
		case stateWaiting:
			c.Waiting = max(0, now.Sub(e.wantsSince()))
			c.Reason = "waits for a stream: all are in use by other containers"
			if now.Before(e.retryAt) {
				c.Reason = "its log has ended although it runs: it is tried again soon, and when it is started"
			}
		}
		list = append(list, c)
	}
	slices.SortFunc(list, func(a, b Container) int { return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.ID, b.ID)) })
	return list
}

// Ready reports whether the containers were listed once.
func (m *Monitor) Ready() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.listed
}

// failingAfter is how often in a row reading a container may fail before that
// makes the monitor degraded.
const failingAfter = 3

// Health reports whether all containers are captured.
func (m *Monitor) Health() []health.Component {
	now := time.Now()
	m.mu.Lock()
	defer m.mu.Unlock()
	c := health.Component{Name: "container_monitor"}
	worsen := func(s health.Status, format string, args ...any) {
		if s > c.Status {
			c.Status, c.Reason = s, fmt.Sprintf(format, args...)
		}
	}
	if m.engineError != nil {
		worsen(health.Unhealthy, "no answer from the container engine at %s for %v: %v; start it, or set container_monitor.docker_host",
			m.opts.Engine.Address(), now.Sub(m.engineSince).Round(time.Second), m.engineError)
	} else if !m.listed {
		worsen(health.Degraded, "the containers have not been listed yet")
	}
	var unreadable, failing, late int
	var example, reason string
	bound := m.pool.bound(m.wanting())
	for _, e := range m.table {
		switch {
		case e.state == stateUnreadable:
			unreadable++
			example, reason = e.info.Name, e.reason
		case e.state == stateFailing && e.failures >= failingAfter:
			failing++
			example, reason = e.info.Name, e.reason
		case e.state == stateWaiting && now.Sub(e.wantsSince()) > bound:
			late++
			example = e.info.Name
		}
	}
	if failing > 0 {
		worsen(health.Degraded, "reading fails for %d containers, among them %s: %s", failing, example, reason)
	}
	if late > 0 {
		worsen(health.Degraded, "%d containers wait for a stream for longer than %v, among them %s", late, bound, example)
	}
	if unreadable > 0 {
		worsen(health.Degraded, "%d containers are not captured, among them %s: %s", unreadable, example, reason)
	}
	return []health.Component{c, m.transports()}
}

// transports says how the containers are read. The caller holds m.mu.
func (m *Monitor) transports() health.Component {
	c := health.Component{Name: "container_transport"}
	var files, streams int
	var example *entry
	for _, e := range m.table {
		switch {
		case e.file != nil && e.state == stateReading:
			files++
		case e.stream != nil:
			streams++
			example = e
		}
	}
	c.Reason = fmt.Sprintf("%d containers are read from their files, %d over the API", files, streams)
	if example != nil && example.noFile != "" {
		c.Reason += fmt.Sprintf(", among them %s: %s", example.info.Name, example.noFile)
	}
	if err := m.files.WatchProblem(); err != nil {
		c.Reason += fmt.Sprintf("; the kernel does not tell of all changes, so that files are looked at from time to time: %v", err)
	}
	return c
}

// wanting returns the number of containers that hold a stream or want one. The
// caller holds m.mu.
func (m *Monitor) wanting() int {
	n := 0
	for _, e := range m.table {
		if e.file == nil && (e.state == stateReading || e.state == stateWaiting) {
			n++
		}
	}
	return n
}
