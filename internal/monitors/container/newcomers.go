package container

import (
	"context"
	"errors"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"time"

	"log_capturer/internal/record"
	"log_capturer/internal/tail"
)

// A container that lives for milliseconds may be gone, with its file, before the
// engine's events tell of it. So the directory of the containers is watched, and
// what appears there is opened at once. What it is, and whether it is captured
// at all, is asked of the engine; until that is known its lines are held.

// holdFor is how long the log is held of something that the engine does not know.
const holdFor = time.Minute

// newcomers are ids of containers whose directories have appeared.
type newcomers struct {
	mu    sync.Mutex
	ids   []string
	ready chan struct{}
}

var containerID = regexp.MustCompile(`^[0-9a-f]{64}$`)

// appeared is told by the set of files what was made in the directory.
func (n *newcomers) appeared(path string) {
	id := filepath.Base(path)
	if !containerID.MatchString(id) {
		return
	}
	n.mu.Lock()
	n.ids = append(n.ids, id)
	n.mu.Unlock()
	token(n.ready)
}

// token puts a token into c where there is none.
func token(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

func (n *newcomers) take() []string {
	n.mu.Lock()
	defer n.mu.Unlock()
	ids := n.ids
	n.ids = nil
	return ids
}

// learnNewcomers opens the logs of directories that have appeared.
func (m *Monitor) learnNewcomers() {
	ids := m.newcomers.take()
	m.mu.Lock()
	defer m.mu.Unlock()
	now := time.Now()
	for _, id := range ids {
		if e := m.table[id]; e != nil {
			m.expect(e, now)
			continue
		}
		if m.held[id] == nil {
			m.hold(id, now)
		}
	}
}

// hold opens the log of a container of which nothing else is known. The caller
// holds m.mu.
func (m *Monitor) hold(id string, now time.Time) {
	e := &entry{info: Info{ID: id}, counters: &counters{}, seen: now, newcomer: true}
	m.held[id] = e
	m.enter(m.newFileLog(m.ctx, e, m.root.logPath(&e.info), candidates{}))
	m.ask(id, now)
}

// expect reads the file of a container that was never started as soon as there
// is one. The caller holds m.mu.
func (m *Monitor) expect(e *entry, now time.Time) {
	if e.ran || e.file != nil || e.stream != nil || e.gone || e.state == stateExcluded ||
		!m.watching || e.info.Driver != "" && e.info.Driver != jsonFile {
		return
	}
	m.attach(e, m.root.logPath(&e.info), now)
}

// identify takes in whose log it is that is held. The caller holds m.mu.
func (m *Monitor) identify(e *entry, info Info, now time.Time) {
	delete(m.held, info.ID)
	m.table[info.ID] = e
	m.learnEnvironment(e, &info)
	e.info, e.waitingSince, e.state = info, now, stateReading
	if m.opts.Filter.excluded(info) != "" {
		return // update lets it go
	}
	e.source.Store(m.makeSource(info))
	cursors, err := m.opts.Dispatcher.Resume(keyPrefix+info.ID, record.Cursor{})
	if err != nil || len(cursors) > 0 {
		e.change(errRotate) // it is not new: read from its position
		return
	}
	e.file.known.Store(true)
	e.change(nil)
}

// started sees that the file of a container that has started is there. The
// caller holds m.mu.
func (m *Monitor) started(e *entry) {
	if e.file == nil {
		return
	}
	if e.file.found.Load() || readable(e.file.reader.Path()) == nil {
		e.file.ran.Store(true)
		e.judge()
		e.change(nil)
		return
	}
	e.change(errSwitch)
}

// ask has the engine asked about a container at a time. The caller holds m.mu.
func (m *Monitor) ask(id string, at time.Time) { m.asks[id] = at }

// question is the queue of ids that the engine is to be asked about.
type questions struct {
	mu    sync.Mutex
	ids   []string
	ready chan struct{}
}

// put asks about those whose time has come, and returns when to ask next. The
// caller holds m.mu.
func (m *Monitor) put(now time.Time) time.Time {
	next := now.Add(time.Minute)
	for id, at := range m.asks {
		if now.Before(at) {
			if at.Before(next) {
				next = at
			}
			continue
		}
		delete(m.asks, id)
		m.questions.mu.Lock()
		m.questions.ids = append(m.questions.ids, id)
		m.questions.mu.Unlock()
		token(m.questions.ready)
	}
	return next
}

// answer is what the engine said of a container.
type answer struct {
	id   string
	info Info
	err  error
	// asked is when the engine was asked.
	asked time.Time
}

// inquire asks the engine about containers, one after the other. It is one of
// the goroutines of Run and ends with ctx.
func (m *Monitor) inquire(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-m.questions.ready:
		}
		m.questions.mu.Lock()
		ids := m.questions.ids
		m.questions.ids = nil
		m.questions.mu.Unlock()
		for _, id := range ids {
			asking, cancel := context.WithTimeout(ctx, engineTimeout)
			asked := time.Now()
			info, err := m.opts.Engine.Inspect(asking, id)
			cancel()
			if !m.tell(ctx, answer{id, info, err, asked}) {
				return ctx.Err()
			}
		}
	}
}

const (
	// askAgain is how soon the engine is asked again about a container that is
	// being removed, or that it does not know yet, at first.
	askAgain = 50 * time.Millisecond
	// askSeldom is how soon at last, and after an error.
	askSeldom = 2 * time.Second
)

// learnAnswer takes in what the engine said. The caller holds m.mu.
func (m *Monitor) learnAnswer(a answer, now time.Time) {
	switch {
	case a.err == nil && m.removedSince(a.id, a.asked):
	case a.err == nil:
		if e := m.table[a.id]; e != nil && e.heard.After(a.asked) {
			a.info.Running = e.info.Running // an event has told of it since
		}
		m.update(a.info, now)
		m.seenStopped(a.info, a.asked, now)
		m.judgeLate(a)
		if e := m.table[a.id]; e != nil && e.file != nil && (e.file.ended.Load() || e.file.absent.Load()) {
			m.withoutFile(e, a.info, now)
		}
	case !errors.Is(a.err, ErrGone):
		m.ask(a.id, now.Add(askSeldom))
	case m.table[a.id] != nil:
		m.judgeLate(a)
		m.vanish(m.table[a.id], now)
	case m.held[a.id] != nil:
		// The engine makes the directory before it knows the container, and
		// tells of one that is gone in events that may still come.
		e := m.held[a.id]
		if now.Sub(e.seen) < m.opts.holdFor {
			e.failures++
			m.ask(a.id, now.Add(min(askAgain<<min(e.failures, 10), askSeldom)))
			return
		}
		m.letGo(e)
	}
}

// lateness is how a new container's file was when it was seen first.
type lateness struct {
	// rotations is how often it had been rotated, as far as that can be seen.
	rotations int
}

// seenLate looks at what the log at path was rotated to.
func seenLate(path string) lateness {
	var l lateness
	rotated, _ := tail.Numbered(path)() // what can't be listed is not there
	for _, name := range rotated {
		n, _ := strconv.Atoi(strings.TrimSuffix(strings.TrimPrefix(name, path+"."), ".gz"))
		l.rotations = max(l.rotations, n)
	}
	return l
}

// judgeLate counts a suspected gap when the beginning of a container's log may
// have been rotated away before its file was seen. The caller holds m.mu.
func (m *Monitor) judgeLate(a answer) {
	e := m.table[a.id]
	if e == nil || e.late == nil {
		return
	}
	late := *e.late
	e.late = nil
	lost := false
	switch {
	case a.err != nil:
		lost = late.rotations > 0
	case a.info.MaxFiles > 1:
		lost = late.rotations >= a.info.MaxFiles-1
	case a.info.MaxSize > 0:
		lost = true // there is nothing to tell by
	}
	if lost {
		e.counters.gaps.Add(1)
		m.logger.Warn("suspected_gap", "container", e.info.Name, "reason", "its file may have been rotated before it was seen first")
	}
}

// withoutFile decides what becomes of a container that is there while its file
// is not. The caller holds m.mu.
func (m *Monitor) withoutFile(e *entry, info Info, now time.Time) {
	switch {
	case info.Removing:
		m.ask(info.ID, now.Add(askAgain))
	case readable(e.file.reader.Path()) == nil:
		e.change(nil) // it was being rotated
	default:
		e.change(errSwitch)
	}
}

// letGo ends the holding of a log that is nobody's, as far as can be known. The
// caller holds m.mu.
func (m *Monitor) letGo(e *entry) {
	delete(m.held, e.info.ID)
	if e.file.found.Load() && readable(e.file.reader.Path()) != nil {
		m.stats.retiredGaps++
		m.logger.Warn("suspected_gap", "container", e.info.ID, "reason", "it was gone before the engine said what it was")
	}
	e.change(errExcluded)
}
