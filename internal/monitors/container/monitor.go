// Package container captures what every container writes, over the log
// endpoint of a container engine's API.
//
// A Monitor finds the containers (discovery.go), decides which of them hold one
// of the bounded number of streams (pool.go), reads each through its stream
// (stream.go) from where the sinks stand (resume.go), and closes streams that
// have gone silent while there is more to read (heartbeat.go). It hands batches
// to a Dispatcher and promises that
//   - each line of a readable container is handed over once, each stream of it
//     in order, across rotations and restarts of streams, containers, engine
//     and agent;
//   - what it can't be sure of is counted as a suspected gap;
//   - a container that is not being read is never reported as if it were.
//
// Lines that the engine itself no longer has are beyond it. Custody, and so the
// moving of positions, is the Dispatcher's.
//
// One goroutine owns the table of containers. Each open stream has one goroutine
// of its own, which the owner waits for before it gives the lease away.
package container

import (
	"cmp"
	"context"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"log_capturer/internal/framing"
	"log_capturer/internal/lifetime"
	"log_capturer/internal/record"
	"log_capturer/internal/tail"
)

// Options say what a Monitor captures and how. All fields are required unless
// stated.
type Options struct {
	Engine     Engine
	Dispatcher Dispatcher
	// Host is the name of this machine in records.
	Host   string
	Filter Filter
	// StartAtEnd leaves out what containers wrote before the agent first saw
	// them. It is about the containers of the first list only.
	StartAtEnd bool
	// Since is when another monitor of this agent has ended that this one follows:
	// what was written from then on is never left out. Optional.
	Since time.Time
	// Transport is how containers are read, and DataRoot where the agent sees
	// the engine's data, empty for where the engine has it.
	Transport Transport
	DataRoot  string
	// MaxStreams is the number of streams open at once.
	MaxStreams int
	// RotationInterval is how long a stream stays open.
	RotationInterval time.Duration
	// HeartbeatInterval is how often silent streams are probed.
	HeartbeatInterval time.Duration
	// ReconcileInterval is how often the containers are listed again.
	ReconcileInterval time.Duration
	// MaxLineBytes is the length at which lines are cut.
	MaxLineBytes int
	// PositionRetention is how long the position of a removed container is
	// kept.
	PositionRetention time.Duration
	// Known returns the keys of all sources that have positions. They are asked
	// for once, after the first list.
	Known  func() []string
	Logger *slog.Logger

	// patience is how long a stream may take to close, openPatience how long the
	// request for events may be without an answer, and holdFor how long the log
	// of an unknown container is held; files are the options of the set of files.
	// Tests set them.
	patience, openPatience, holdFor time.Duration
	files                           tail.SetOptions
}

// keyPrefix begins the source key of a container.
const keyPrefix = "container/"

// Monitor captures containers. Make it with New, start it with Run.
type Monitor struct {
	opts   Options
	pool   pool
	logger *slog.Logger

	results chan result
	over    chan struct{} // closed when nobody takes results any more
	found   chan any      // snapshot, Event or answer

	// files steps the readers of the containers' files. ctx ends the reading of
	// them and of streams; own sets it.
	files     *tail.Set
	ctx       context.Context
	newcomers newcomers
	questions questions

	stats stats

	mu sync.Mutex
	// table holds all containers by id. Only the goroutine of Run changes it.
	table map[string]*entry
	// held are containers whose files are open and of which nothing else is
	// known, by id.
	held map[string]*entry
	// asks are ids that the engine is to be asked about, and when.
	asks map[string]time.Time
	// root is where the engine keeps its data, and watching says that the agent
	// sees the containers' directory there.
	root     dataRoot
	watching bool
	// listed is set when the first list has come.
	listed bool
	// engineError is why discovery does not work, nil when it does.
	engineError error
	engineSince time.Time
	// orphans are sources that have positions but no container, and since when.
	orphans map[string]time.Time
}

// state is what the monitor does with a container.
type state int

const (
	// stateWaiting: it wants a lease.
	stateWaiting state = iota
	// stateReading: its stream is open.
	stateReading
	// stateDone: it is stopped and was read to its end.
	stateDone
	// stateExcluded: it is not captured, by configuration.
	stateExcluded
	// stateUnreadable: its log driver can't be read.
	stateUnreadable
	// stateFailing: reading fails; it is tried again.
	stateFailing
)

var stateNames = [...]string{"waiting", "reading", "stopped", "excluded", "unreadable", "error"}

func (s state) String() string { return stateNames[s] }

// entry is a container in the table.
type entry struct {
	info   Info
	source atomic.Pointer[record.Source]
	state  state
	reason string
	// waitingSince is when it began to want a lease, retryAt when it may have
	// one after a failure, failures how many there were in a row.
	waitingSince, retryAt time.Time
	failures              int
	stream                *stream
	file                  *fileLog
	// transport is how it was read last. noFile says why it is not read from
	// its file, and holds until noFileUntil; searching that its files are to be
	// searched for its position.
	transport   Transport
	noFile      string
	noFileUntil time.Time
	searching   bool
	// ran says that it was started once, and runs counts the starts that were
	// told of.
	ran      bool
	runs     int64
	leaseEnd time.Time
	closing  bool
	position position
	counters *counters
	start    record.Cursor
	// drainedRun is the start of the run that was read to its end by a stream
	// opened after the container had stopped.
	drainedRun time.Time
	// newcomer says that it was made while the agent watched. late is set when
	// its file was seen late, until it is known whether that matters.
	newcomer bool
	late     *lateness
	// drained says that it was read to the end of a run, and that no other run is
	// known of since.
	drained bool
	// readToEnd says that the last stream came to the end of the log of a
	// container that had stopped.
	readToEnd bool
	// environment says that it is known whether its environment has it ignored.
	environment bool
	// seen is when discovery last told of it, gone that it was removed.
	seen time.Time
	gone bool
	// heard is when an event told last that it was started or has ended, and
	// stoppedAsked is when the engine was asked last of those times at which it
	// said that the container had run and stopped, and stoppedTold when that was
	// known.
	heard, stoppedAsked, stoppedTold time.Time
	// runChanged is set when a start was seen while its stream was open, and
	// draining when its end or removal was: the stream is left to read the rest.
	runChanged, draining bool
	// readUntil is up to when all was known to be read when its last stream
	// ended, zero when it had none.
	readUntil time.Time
	// told is since when its stream is known to have been told to close, and
	// stuck the number of its streams that were given up and have not ended.
	told  time.Time
	stuck int
}

// New returns a monitor. It starts nothing.
func New(opts Options) *Monitor {
	opts.Engine = plantEngine(opts.Engine)
	opts.patience = cmp.Or(opts.patience, streamPatience)
	opts.openPatience = cmp.Or(opts.openPatience, openTimeout)
	m := &Monitor{
		opts:    opts,
		pool:    pool{capacity: opts.MaxStreams, interval: opts.RotationInterval},
		logger:  opts.Logger.With("component", "container_monitor"),
		results: make(chan result),
		over:    make(chan struct{}),
		found:   make(chan any),
		stats:   newStats(),
		table:   map[string]*entry{},
		held:    map[string]*entry{},
		asks:    map[string]time.Time{},
		orphans: map[string]time.Time{},
	}
	m.newcomers.ready, m.questions.ready = make(chan struct{}, 1), make(chan struct{}, 1)
	m.opts.holdFor = cmp.Or(opts.holdFor, holdFor)
	opts.files.BufferBytes, opts.files.Appeared = record.TailSize+framing.MaxJSONEntry, m.newcomers.appeared
	m.files = tail.NewSet(opts.files)
	return m
}

// Run captures until ctx is done, and returns when all streams are closed.
func (m *Monitor) Run(ctx context.Context) error {
	group := lifetime.NewGroup(ctx)
	group.Go("discovery", m.discover)
	group.Go("heartbeat", m.heartbeat)
	group.Go("container_monitor", m.own)
	if m.opts.Transport != TransportAPI {
		group.Go("container_files", m.files.Run)
		group.Go("discovery", m.inquire)
	}
	return group.Wait()
}

// own is the goroutine that owns the table. It starts the streams and waits for
// them.
func (m *Monitor) own(ctx context.Context) error {
	streams := lifetime.NewGroup(ctx)
	m.ctx = streams.Context()
	defer func() {
		streams.Cancel()
		// A stream that has ended still wants to say so.
		ended := m.awaitStreams()
		close(m.over)
		if ended {
			_ = streams.Wait() // streams report their errors as results
		}
	}()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case r := <-m.results:
			m.ended(r)
		case what := <-m.found:
			m.learn(what)
		case <-m.newcomers.ready:
			m.learnNewcomers()
		case <-timer.C:
		}
		timer.Reset(time.Until(m.schedule(streams, time.Now())))
	}
}

// open returns the number of open streams.
func (m *Monitor) open() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	n := 0
	for _, e := range m.table {
		if e.stream != nil {
			n++
		}
	}
	return n
}

// schedule closes and opens streams as the pool decides, and returns when to do
// so again.
func (m *Monitor) schedule(streams *lifetime.Group, now time.Time) time.Time {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.forget(now)
	next := m.put(now)
	if at := m.giveUpStuck(now); !at.IsZero() && at.Before(next) {
		next = at
	}
	var leases []lease
	var waiters []waiter
	for id, e := range m.table {
		switch {
		case e.stream != nil:
			status := &e.stream.status
			leases = append(leases, lease{
				id: id, opened: status.reading(now), end: e.leaseEnd,
				idle: status.idle(now), behind: !status.current(now), draining: e.draining && !status.idle(now), closing: e.closing,
			})
		case e.file == nil && (e.state == stateWaiting || e.state == stateFailing):
			if now.Before(e.retryAt) {
				if e.retryAt.Before(next) {
					next = e.retryAt
				}
				continue
			}
			path, why := m.filePath(e, now)
			if path != "" {
				m.attach(e, path, now)
				continue
			}
			if m.opts.Transport == TransportFile {
				e.state, e.reason = stateFailing, why
				e.retry(now)
				continue
			}
			waiters = append(waiters, waiter{id: id, since: e.wantsSince()})
		}
	}
	d := m.pool.decide(now, leases, waiters)
	for _, id := range d.close {
		e := m.table[id]
		e.closing = true
		e.stream.status.cancel(errRotate)
	}
	for _, id := range d.open {
		m.start(streams, m.table[id], now)
	}
	if !d.next.IsZero() && d.next.Before(next) {
		next = d.next
	}
	return next
}

// start opens a stream for e. The caller holds m.mu.
func (m *Monitor) start(streams *lifetime.Group, e *entry, now time.Time) {
	m.used(e, TransportAPI)
	m.stats.waited(now.Sub(e.wantsSince()))
	ctx, cancel := context.WithCancelCause(streams.Context())
	s := &stream{
		intake: intake{sink: m.opts.Dispatcher, stats: e.counters, source: &e.source, position: e.position},
		id:     e.info.ID, engine: m.opts.Engine, maxLine: m.opts.MaxLineBytes,
		start: e.start, info: e.info, makeSource: m.makeSource, repeats: &m.stats.repeats, logger: m.logger,
		excluded: func(info Info) bool { return m.opts.Filter.excluded(info) != "" },
	}
	s.ctx, s.status.opened, s.status.cancel = ctx, now, cancel
	e.stream, e.state, e.reason, e.closing, e.runChanged = s, stateReading, "", false, false
	e.draining, e.told = false, time.Time{}
	e.leaseEnd = m.pool.leaseEnd(now)
	s.task = streams.Go("stream", func(context.Context) error {
		end, err := s.run(ctx)
		cancel(nil)
		select {
		case m.results <- result{entry: e, stream: s, end: end, err: err}:
		case <-m.over: // it was given up
		}
		return nil
	})
}

// makeSource describes a container in records.
func (m *Monitor) makeSource(info Info) *record.Source {
	return &record.Source{
		Key: keyPrefix + info.ID, Host: m.opts.Host,
		ContainerID: info.ID, ContainerName: info.Name, Image: info.Image,
		ComposeProject: info.Labels["com.docker.compose.project"],
		ComposeService: info.Labels["com.docker.compose.service"],
		Labels:         info.Labels,
	}
}
