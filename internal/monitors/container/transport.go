package container

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"log_capturer/internal/record"
)

// Transport is how containers are read.
type Transport string

// The transports. Auto reads the json-file of a container where there is one
// that can be read, and the others over the API.
const (
	TransportAuto Transport = "auto"
	TransportFile Transport = "file"
	TransportAPI  Transport = "api"
)

// dataRoot is where the engine keeps its data, as it sees it itself and as the
// agent does.
type dataRoot struct{ engine, agent string }

// containers returns the directory that has one for each container.
func (r dataRoot) containers() string { return filepath.Join(r.agent, "containers") }

// logPath returns where the agent sees a container's json-file, also when it is
// not known to have one.
func (r dataRoot) logPath(info *Info) string {
	if info.LogPath == "" {
		return filepath.Join(r.containers(), info.ID, info.ID+"-json.log")
	}
	if rest, ok := strings.CutPrefix(info.LogPath, r.engine+"/"); ok {
		return filepath.Join(r.agent, rest)
	}
	return info.LogPath
}

// jsonFile is the name of the driver whose files are read.
const jsonFile = "json-file"

// filePath returns the path of the file that a container is to be read from, or
// else why it is not. The caller holds m.mu.
func (m *Monitor) filePath(e *entry, now time.Time) (path, why string) {
	switch {
	case m.opts.Transport == TransportAPI:
		return "", "container_monitor.transport is api"
	case now.Before(e.noFileUntil):
		return "", e.noFile
	case e.info.Driver != "" && e.info.Driver != jsonFile:
		why = "its log driver is " + e.info.Driver
	case m.root.agent == "":
		why = "the engine did not say where its data is"
	default:
		path = m.root.logPath(&e.info)
		if err := readable(path); err != nil {
			path, why = "", whyNot(err)
		}
	}
	e.noFile = why
	if why != "" {
		e.noFileUntil = now.Add(m.opts.ReconcileInterval)
	}
	return path, why
}

// readable tries to open a file.
func readable(path string) error {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return err
	}
	return f.Close()
}

// whyNot says why a container is not read from its file, for people.
func whyNot(err error) string {
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, errNoFile), errors.Is(err, errGoneFile):
		return "the agent sees no json-file of it: its driver is another one, or the engine's data directory is not where container_monitor.data_root says"
	case errors.Is(err, fs.ErrPermission):
		return "the agent may not read its json-file"
	}
	return fmt.Sprintf("its json-file can't be read: %v", err)
}

// errGoneFile says that a container's file went away, and the container did not.
var errGoneFile = errors.New("its file is gone")

// attach begins to read e from its file at path. The caller holds m.mu.
func (m *Monitor) attach(e *entry, path string, now time.Time) {
	var places candidates
	if !e.position.known {
		cursors, err := m.opts.Dispatcher.Resume(keyPrefix+e.info.ID, e.start)
		if err != nil {
			e.state, e.reason = stateFailing, err.Error()
			e.retry(now)
			return
		}
		places = newCandidates(cursors)
		e.position = position{cursor: places.oldest(), known: true, total: places.total}
	}
	if e.source.Load() == nil {
		e.source.Store(m.makeSource(e.info))
	}
	f := m.newFileLog(m.ctx, e, path, places)
	f.known.Store(true)
	f.stopped.Store(e.endedRun())
	f.ran.Store(e.ran)
	e.state, e.reason = stateReading, ""
	if !e.ran {
		e.state, e.reason = stateDone, neverStarted
	}
	m.enter(f)
}

// newFileLog makes the reading of e's file. The caller holds m.mu.
func (m *Monitor) newFileLog(ctx context.Context, e *entry, path string, places candidates) *fileLog {
	m.used(e, TransportFile)
	in := intake{sink: m.opts.Dispatcher, stats: e.counters, source: &e.source, position: e.position}
	f := newFileLog(in, path, m.opts.MaxLineBytes, places, e.searching)
	if !f.numbered && f.search.missing() != 0 {
		m.stats.searches.Inc()
	}
	e.searching, e.noFile = false, ""
	f.logger = m.logger
	f.ctx, f.cancel = context.WithCancelCause(ctx)
	f.report = func(ctx context.Context, r result) {
		r.entry = e
		select {
		case m.results <- r:
		case <-ctx.Done():
		}
	}
	f.newcomer = e.newcomer && in.position.cursor.IsZero()
	e.file = f
	return f
}

// enter has a log stepped.
func (m *Monitor) enter(f *fileLog) { f.member = m.files.Add(f.reader, f.step) }

// change tells the reading of e's file that something is to be looked at again.
func (e *entry) change(cause error) {
	if cause != nil {
		e.file.cancel(cause)
	}
	e.file.member.Wake()
}

// judge tells the reading of e's file whether more can come. The caller holds
// m.mu.
func (e *entry) judge() {
	if e.file == nil {
		return
	}
	stopped := e.endedRun()
	if e.file.stopped.Swap(stopped) != stopped || e.gone != e.file.gone.Swap(e.gone) {
		e.change(nil)
	}
}

// endedRun returns the number of the run that has ended, zero while there is
// one.
func (e *entry) endedRun() int64 {
	if e.info.Running || !e.ran {
		return 0
	}
	return e.runs + 1
}

// fileEnded takes in what the reading of a file came to. The caller holds m.mu.
func (m *Monitor) fileEnded(r result, now time.Time) {
	e, f := r.entry, r.file
	if e.file != f {
		return
	}
	switch r.end {
	case endLate:
		e.late = &f.lateBy
		m.ask(e.info.ID, now)
		return
	case endAsk:
		m.ask(e.info.ID, now)
		return
	}
	if f.position.total > e.position.total {
		e.failures = 0
	}
	e.position = f.position
	e.file, e.readUntil, e.waitingSince = nil, now.Add(-f.lag(now)), now
	e.readToEnd = false
	e.state, e.reason = stateWaiting, ""
	switch r.end {
	case endStopped:
		if f.endedRun != e.endedRun() {
			break // it was started since
		}
		e.readToEnd, e.drained = true, true
		m.opts.Dispatcher.Ended(keyPrefix + e.info.ID)
		e.state, e.drainedRun = stateDone, e.info.StartedAt
	case endGone:
		e.readToEnd = f.found.Load() || !e.ran
		e.state = stateReading
		m.remove(e, now)
		return
	case endSearch:
		e.searching = true
	case endSwitched, endFileLost:
		err := r.err
		if err == nil {
			err = errGoneFile
		}
		e.noFile, e.noFileUntil = whyNot(err), now.Add(m.opts.ReconcileInterval)
		if !f.found.Load() {
			e.transport = "" // it never was
		}
		if !e.ran {
			e.state, e.reason = stateDone, neverStarted
			break
		}
		m.logger.Warn("file_not_readable", "container", e.info.Name, "path", f.reader.Path(), "error", err)
	case endFailed:
		m.stats.reopens.WithLabelValues("error").Inc()
		e.state, e.reason = stateFailing, r.err.Error()
		e.retry(now)
		if n := e.failures; n&(n-1) == 0 && !errors.Is(r.err, context.Canceled) {
			m.logger.Warn("read_failed", "container", e.info.Name, "error", r.err, "failures", n)
		}
	}
	if reason := m.opts.Filter.excluded(e.info); reason != "" {
		e.state, e.reason = stateExcluded, reason
	}
	if e.gone && e.state != stateWaiting {
		m.remove(e, now)
	}
}

// changeOver ends the reading over the API of containers whose files can be read
// now. The caller holds m.mu.
func (m *Monitor) changeOver(now time.Time) {
	if m.opts.Transport != TransportAuto {
		return
	}
	for _, e := range m.table {
		if e.stream == nil || e.closing || e.gone {
			continue
		}
		if path, _ := m.filePath(e, now); path != "" {
			e.closing = true
			e.stream.status.cancel(errSwitch)
		}
	}
}

// used counts a change of the transport of e. The caller holds m.mu.
func (m *Monitor) used(e *entry, t Transport) {
	if e.transport != "" && e.transport != t {
		m.stats.changes.WithLabelValues(string(t)).Inc()
		m.logger.Info("transport_changed", "container", e.info.Name, "transport", string(t), "reason", e.noFile)
	}
	e.transport = t
}

// startOf returns the cursor of what is written after a time.
func startOf(now time.Time) (c record.Cursor) {
	for s := range c.Streams {
		c.Streams[s] = record.Anchor{Time: now.UnixNano()}
	}
	return c
}
