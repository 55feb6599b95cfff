package container

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"strings"
	"time"

	"log_capturer/internal/lifetime"
)

// snapshot is what a list said.
type snapshot struct {
	// asked is when the engine was asked: what became known later is newer.
	asked time.Time
	infos []Info
}

const (
	minReconnect = 200 * time.Millisecond
	maxReconnect = 10 * time.Second
	// engineTimeout bounds a call that should be answered at once.
	engineTimeout = 30 * time.Second
)

// discover tells the owner what containers there are: a list, then the events
// since that list, and a list again after every reconnect and from time to
// time, since the engine drops events silently when it is busy.
func (m *Monitor) discover(ctx context.Context) error {
	for failures := 0; ctx.Err() == nil; failures++ {
		err := m.watch(ctx, func() { failures = 0 })
		if ctx.Err() != nil {
			break
		}
		m.lost(err)
		pause := min(minReconnect<<min(failures, 10), maxReconnect)
		if n := failures + 1; n&(n-1) == 0 {
			m.logger.Warn("engine_unreachable", "address", m.opts.Engine.Address(), "error", err, "retry_in", pause,
				"hint", "start the engine, set container_monitor.docker_host or DOCKER_HOST, and check that this user may use the socket")
		}
		timer := time.NewTimer(pause)
		select {
		case <-ctx.Done():
		case <-timer.C:
		}
		timer.Stop()
	}
	return ctx.Err()
}

// lost records that discovery does not work.
func (m *Monitor) lost(err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.engineError == nil {
		m.engineSince = time.Now()
	}
	m.engineError = err
}

// watch follows the events of one connection. It returns why that ended.
func (m *Monitor) watch(ctx context.Context, connected func()) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	if err := m.learnRoot(ctx); err != nil {
		return err
	}
	var listError error
	reconcile := func() {
		if listError = m.list(ctx); listError != nil {
			cancel()
			return
		}
		connected()
	}
	// The list is made while events are being buffered by the connection, so
	// that none is missed between the two.
	events := make(chan Event)
	ready := make(chan struct{})
	connection := lifetime.NewGroup(ctx)
	ended := connection.Context().Done()
	connection.Go("discovery", func(ctx context.Context) error {
		return m.opts.Engine.Events(ctx, func() { close(ready) }, func(e Event) {
			select {
			case events <- e:
			case <-ctx.Done():
			}
		})
	})
	wait := func() error {
		cancel()
		return connection.Wait()
	}
	opening := time.NewTimer(m.opts.openPatience)
	defer opening.Stop()
	select {
	case <-ready:
	case <-ended:
		return wait()
	case <-opening.C:
		_ = wait() // it was cut off
		return fmt.Errorf("open events: the engine did not answer within %v", m.opts.openPatience)
	}
	ticker := time.NewTicker(m.opts.ReconcileInterval)
	defer ticker.Stop()
	reconcile()
	for {
		if listError != nil {
			_ = wait() // the list says why
			return listError
		}
		select {
		case <-ended:
			return wait()
		case e := <-events:
			if !m.tell(ctx, e) {
				return wait()
			}
		case <-ticker.C:
			reconcile()
		}
	}
}

// tell gives the owner something that was found.
func (m *Monitor) tell(ctx context.Context, what any) bool {
	select {
	case m.found <- what:
		return true
	case <-ctx.Done():
		return false
	}
}

// list tells the owner of all containers. Stopped ones are inspected, since
// only that tells whether they ran again unnoticed.
func (m *Monitor) list(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, engineTimeout)
	defer cancel()
	s := snapshot{asked: time.Now()}
	infos, err := m.opts.Engine.List(ctx)
	if err != nil {
		return err
	}
	for _, info := range infos {
		if !info.Running && m.opts.Filter.excluded(info) == "" {
			full, err := m.opts.Engine.Inspect(ctx, info.ID)
			if err != nil {
				continue // gone meanwhile: the next list or event says so
			}
			info = full
		}
		s.infos = append(s.infos, info)
	}
	m.tell(ctx, s)
	return nil
}

// learn takes in what discovery found.
func (m *Monitor) learn(what any) {
	m.mu.Lock()
	defer m.mu.Unlock()
	now := time.Now()
	switch w := what.(type) {
	case snapshot:
		m.learnSnapshot(w, now)
	case Event:
		m.learnEvent(w, now)
	case answer:
		m.learnAnswer(w, now)
	}
}

// learnRoot finds out where the engine keeps its data, once, and watches the
// directory of the containers.
func (m *Monitor) learnRoot(ctx context.Context) error {
	m.mu.Lock()
	known := m.root.agent != ""
	m.mu.Unlock()
	if known || m.opts.Transport == TransportAPI {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, engineTimeout)
	defer cancel()
	root, err := m.opts.Engine.DataRoot(ctx)
	if err != nil {
		return err
	}
	m.mu.Lock()
	m.root = dataRoot{engine: root, agent: cmp.Or(m.opts.DataRoot, root)}
	directory := m.root.containers()
	_, err = os.Stat(directory)
	m.watching = err == nil
	m.mu.Unlock()
	if err == nil {
		m.files.WatchDir(directory)
	}
	return nil
}

func (m *Monitor) learnSnapshot(s snapshot, now time.Time) {
	if m.engineError != nil {
		// What failed may have failed with the engine.
		m.engineError = nil
		m.logger.Info("engine_reachable", "address", m.opts.Engine.Address(), "after", now.Sub(m.engineSince))
		for _, e := range m.table {
			e.retryAt = time.Time{}
		}
	}
	present := map[string]bool{}
	for _, info := range s.infos {
		if m.removedSince(info.ID, s.asked) {
			continue
		}
		present[info.ID] = true
		if e := m.table[info.ID]; e != nil && e.seen.After(s.asked) {
			info.Running = e.info.Running // an event has told of it since
		}
		m.update(info, now)
		m.seenStopped(info, s.asked, now)
	}
	m.changeOver(now)
	for id, e := range m.table {
		if !present[id] && e.seen.Before(s.asked) {
			m.vanish(e, now)
		}
	}
	if !m.listed {
		m.listed = true
		running := 0
		for _, info := range s.infos {
			if info.Running {
				running++
			}
		}
		m.logger.Info("containers_found", "address", m.opts.Engine.Address(), "running", running, "stopped", len(s.infos)-running)
		for _, key := range m.opts.Known() {
			id, ours := strings.CutPrefix(key, keyPrefix)
			if ours && m.table[id] == nil {
				m.orphans[key] = now
			}
		}
	}
}

func (m *Monitor) learnEvent(event Event, now time.Time) {
	e := m.table[event.ID]
	info := Info{ID: event.ID, Name: event.Name, Image: event.Image, Labels: event.Labels}
	if h := m.held[event.ID]; h != nil {
		m.identify(h, info, now)
		m.update(info, now)
		e = h
	}
	if _, removed := m.orphans[keyPrefix+event.ID]; removed && e == nil {
		// It is heard late of a container that the engine has said is gone. Ids do
		// not come again, and should it be there after all, the next list says so.
		return
	}
	switch event.Kind {
	case EventCreate:
		if e == nil {
			m.update(info, now)
		}
	case EventStart:
		if m.heardLate(e, event, now) {
			return
		}
		info.Running = true
		if e != nil {
			e.ran, e.noFileUntil = true, time.Time{}
			e.runs++
			e.drained = false
			info.Labels = e.info.Labels
			e.runChanged, e.draining, e.readToEnd = true, false, false
			e.failures, e.retryAt = 0, time.Time{}
			// What was inspected was another run.
			e.info.Inspected = false
		}
		m.update(info, now)
		m.table[event.ID].heard = now
		m.started(m.table[event.ID])
	case EventDie:
		if e == nil {
			// Its start was missed, but it may still be there.
			e = m.enroll(info, now)
			e.ran = true
			m.update(info, now)
		}
		e.info.Running, e.seen, e.heard, e.ran = false, now, now, true
		e.draining = e.stream != nil
		e.judge()
	case EventRename:
		if e != nil {
			e.seen = now
			e.rename(event.Name)
		}
	case EventDestroy:
		if e != nil {
			m.vanish(e, now)
		}
	}
}

// removedSince reports whether a container was heard to be removed after the engine
// was asked, so that an answer that has it is about what was before. The caller
// holds m.mu.
func (m *Monitor) removedSince(id string, asked time.Time) bool {
	return m.table[id] == nil && m.orphans[keyPrefix+id].After(asked)
}

// seenStopped remembers when the engine was asked, and said, that a container has
// run and stopped. The caller holds m.mu.
func (m *Monitor) seenStopped(info Info, asked, now time.Time) {
	e := m.table[info.ID]
	if e != nil && info.Inspected && !info.Running && !info.StartedAt.IsZero() && asked.After(e.stoppedAsked) {
		e.stoppedAsked, e.stoppedTold = asked, now
	}
}

// heardLate reports whether a start is that of a run, or of one before it, of
// which the engine has said since that it is over: a busy engine's events come
// when a short run was read long ago, and perhaps its log is gone. A start between
// the question and the answer is most likely that of the run that the answer is
// about, since a run may be shorter than the engine takes to answer; it is asked
// again then, which tells of another one. The times can be compared where the
// engine is on this machine. The caller holds m.mu.
func (m *Monitor) heardLate(e *entry, start Event, now time.Time) bool {
	if e == nil || !m.watching || e.info.Running || start.Time.IsZero() || start.Time.After(e.stoppedTold) {
		return false
	}
	if !start.Time.Before(e.stoppedAsked) {
		m.ask(e.info.ID, now)
	}
	return true
}

// update enters what is known of a container. The caller holds m.mu.
func (m *Monitor) update(info Info, now time.Time) {
	delete(m.orphans, keyPrefix+info.ID)
	e := m.table[info.ID]
	if h := m.held[info.ID]; h != nil {
		m.identify(h, info, now)
		e = h
	}
	if e == nil {
		e = m.enroll(info, now)
	}
	e.ran = e.ran || info.Running || !info.StartedAt.IsZero()
	if info.Running || !e.drainedRun.IsZero() && !info.StartedAt.IsZero() && !info.StartedAt.Equal(e.drainedRun) {
		e.drained = false
	}
	e.seen, e.gone = now, false
	m.learnEnvironment(e, &info)
	if reason := m.opts.Filter.excluded(info); reason != "" && e.stream == nil {
		if e.file != nil {
			e.change(errExcluded)
		}
		e.state, e.reason = stateExcluded, reason
		return
	}
	if !e.ran {
		e.state, e.reason = stateDone, neverStarted
		m.expect(e, now)
	}
	defer e.judge()
	if e.stream == nil {
		if !info.Inspected {
			// Keep what only an inspection tells, unless the run has changed.
			info.keepInspected(&e.info)
			if info.Running && !e.info.Running {
				info.Inspected = false
			}
		}
		if e.info.Name != info.Name && e.source.Load() != nil {
			e.source.Store(m.makeSource(info))
		}
		e.info = info
	}
	if e.stream != nil {
		e.rename(info.Name)
	}
	switch e.state {
	case stateExcluded:
		e.state, e.reason, e.waitingSince = stateWaiting, "", now
	case stateDone:
		if e.file != nil {
			if e.ran {
				e.state, e.reason = stateReading, ""
			}
			break
		}
		if info.Running || !info.StartedAt.IsZero() && !info.StartedAt.Equal(e.drainedRun) {
			e.state, e.reason, e.waitingSince = stateWaiting, "", now
		}
	}
}

// neverStarted is the reason of a container that has no log yet.
const neverStarted = "never started"

// enroll enters a container into the table. The caller holds m.mu.
func (m *Monitor) enroll(info Info, now time.Time) *entry {
	e := &entry{info: info, counters: &counters{}, waitingSince: now}
	m.table[info.ID] = e
	e.newcomer = m.listed
	if m.opts.StartAtEnd && !m.listed {
		if e.start = startOf(now); !m.opts.Since.IsZero() {
			e.start = startOf(m.opts.Since)
		}
	}
	return e
}

// rename takes in a container's present name. The caller holds the monitor's
// lock.
func (e *entry) rename(name string) {
	if e.info.Name == name {
		return
	}
	e.info.Name = name
	if source := e.source.Load(); source != nil {
		renamed := *source
		renamed.ContainerName = name
		e.source.Store(&renamed)
	}
}

// vanish takes in that a container was removed. An open stream is read to its
// end first. The caller holds m.mu.
func (m *Monitor) vanish(e *entry, now time.Time) {
	e.gone, e.seen, e.info.Running = true, now, false
	e.draining = e.stream != nil
	switch {
	case e.file != nil:
		e.judge()
	case e.stream == nil:
		m.remove(e, now)
	}
}
