package container

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"log_capturer/internal/framing"
	"log_capturer/internal/lifetime"
	"log_capturer/internal/record"
)

// Dispatcher takes batches and knows how far they came. *dispatcher.Dispatcher
// is one.
type Dispatcher interface {
	// Accept takes over b; it blocks while there is no room for it.
	Accept(ctx context.Context, b *record.Batch) error
	// Resume returns where the sinks stand in a source, setting those that do
	// not know it yet to start.
	Resume(source string, start record.Cursor) ([]record.Cursor, error)
	// Ended says that all was accepted of a run of a source. It does not block.
	Ended(source string)
	// Forget removes a source that will not come again.
	Forget(source string) error
}

// The causes for which a stream's context is cancelled.
var (
	errRotate  = errors.New("end of lease")
	errStuck   = errors.New("stream is stuck")
	errStalled = errors.New("anchor did not show up")
	// errSwitch ends the reading in one way for that in the other.
	errSwitch = errors.New("change of transport")
	// errExcluded ends the reading of a container that is not to be captured.
	errExcluded = errors.New("container is excluded")
)

// ending says why a stream ended.
type ending int

const (
	// endRotated: the lease ended.
	endRotated ending = iota
	// endStuck: the heartbeat closed it.
	endStuck
	// endClosed: the monitor ends.
	endClosed
	// endStopped: the container has stopped and its log was read to the end.
	endStopped
	// endRestarted: the log ended while the container runs.
	endRestarted
	// endGone: there is no such container any more.
	endGone
	// endUnreadable: the log driver can't be read.
	endUnreadable
	// endFailed: an error, which may pass.
	endFailed
	// endSwitched: it is to be read in the other way.
	endSwitched
	// endFileLost: its file can't be read.
	endFileLost
	// endSearch: its files are to be searched for its position.
	endSearch
	// endAsk is no end: the file went away, and it is for the engine to say
	// whether the container did.
	endAsk
	// endExcluded: it turned out, when it was inspected, that it is not to be
	// captured.
	endExcluded
	// endLate is no end: the file of a new container was not empty when it was
	// seen first, so that it may have been rotated before.
	endLate
)

// position is where this process has read a container to.
type position struct {
	cursor record.Cursor
	// known says that cursor is set, and is where the next stream begins.
	known bool
	// total numbers the records of all streams.
	total uint64
	// caughtUp says that the last stream had read everything there was.
	caughtUp bool
	// closed is when the last stream ended, rate its entries a second.
	closed time.Time
	rate   float64
	// distrustTime makes the next stream be opened without a time limit: the
	// heartbeat saw lines that a limited one does not show.
	distrustTime bool
	// doubts are what the entries have given cause for that may be repeats.
	doubts doubts
}

// stream reads one container's log over the API while it holds a lease. Its
// fields are set before run starts; the monitor reads the atomic ones while it
// runs, and position when it has returned.
type stream struct {
	intake
	id      string
	engine  Engine
	maxLine int
	start   record.Cursor
	logger  *slog.Logger

	info       Info
	makeSource func(Info) *record.Source
	repeats    *repeatStats
	// excluded says whether a container is not to be captured.
	excluded func(Info) bool

	// readToEnd is set by run when it came to the end of the log of a container
	// that had stopped.
	readToEnd bool

	// status is what others see of a running stream, task its goroutine, and ctx
	// what it runs under.
	status streamStatus
	task   *lifetime.Task
	ctx    context.Context

	decoder *framing.Docker
	// settles says that the place is an unterminated line, at the end of the
	// log, so that nothing needs to come for it to be found.
	settles bool
}

// counters are a container's totals over all its streams.
type counters struct {
	records, bytes, lastLine atomic.Int64
	// lost are bytes of its files that are no entries.
	gaps, lost atomic.Uint64
}

const readSize = 64 << 10

var readBuffers = sync.Pool{New: func() any { b := make([]byte, readSize); return &b }}

// run reads until the lease ends, the log ends, or an error. It is started by
// the monitor, as a goroutine of its own; cancelling ctx ends it, and the
// monitor waits for it.
func (s *stream) run(ctx context.Context) (ending, error) {
	end, err := s.read(ctx)
	s.drop()
	s.position.closed = time.Now()
	if cause := context.Cause(ctx); cause != nil {
		return endOf(cause), nil
	}
	return end, err
}

func (s *stream) read(ctx context.Context) (ending, error) {
	if !s.info.Inspected || !s.info.Running {
		info, err := s.engine.Inspect(ctx, s.id)
		if err != nil {
			return s.failure(err)
		}
		if s.info = info; s.excluded(info) {
			return endExcluded, nil
		}
		s.describe(s.makeSource(info))
	} else if s.source.Load() == nil {
		s.source.Store(s.makeSource(s.info)) // inspected by discovery
	}
	var places candidates
	if !s.position.known {
		cursors, err := s.sink.Resume(s.source.Load().Key, s.start)
		if err != nil {
			return endFailed, err
		}
		places = newCandidates(cursors)
		s.position.cursor, s.position.known = places.oldest(), true
		s.position.total = places.total
	}
	tail, since := s.reach()
	for located := false; ; located = true {
		err := s.follow(ctx, tail, since)
		if !errors.Is(err, errStalled) {
			return s.finish(ctx, err)
		}
		if tail, since, err = s.locate(ctx, tail, since, &places); err != nil {
			return s.failure(err)
		}
		if located {
			// A part of the log looks hopeless though it holds the place, when
			// the clock stepped back in it, or when the place is far inside a
			// run of lines of one time. The whole log never does.
			tail = all
		}
	}
}

// admission decides which entries of a log are taken; nil takes all.
type admission func(stream record.Stream, at int64, text []byte) (bool, error)

// open prepares the reading of a newly opened log.
func (s *stream) open(emit func(*framing.Line) error, whole bool, admit admission) {
	s.begin(newSearch(s.position.cursor, whole))
	s.decoder = framing.NewDocker(framing.DockerOptions{
		TTY: s.info.TTY, MaxLine: s.maxLine, RunStart: s.info.StartedAt, Admit: admit,
	}, emit)
	s.status.from.Store(oldest(s.position.cursor).UnixNano())
}

// follow opens the log and reads it until it ends. It returns errStalled when
// the place of the cursor is not in the part that was opened.
func (s *stream) follow(ctx context.Context, tail int, since time.Time) error {
	reading, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	s.open(s.emit, tail == all, s.onlyOnce(reading))
	var stall *time.Timer
	limit := uint64(tail)
	s.status.foundPlace.Store(0)
	if s.search.missing() == 0 {
		s.status.foundPlace.Store(time.Now().UnixNano())
	} else {
		stall = time.AfterFunc(stallAfter, func() { stop(errStalled) })
		defer stall.Stop()
	}
	started := time.Now()
	defer func() {
		if took := time.Since(started).Seconds(); took > 0.1 {
			s.position.rate = float64(s.decoder.Entries()) / took
		}
		s.position.caughtUp = s.status.current(time.Now())
		s.status.blockedSince.Store(0)
	}()
	err := s.each(reading, LogsOptions{Follow: true, Tail: tail, Since: since}, func() error {
		if stall == nil {
			return nil
		}
		if s.settles {
			s.settle()
		}
		switch {
		case s.search.missing() == 0:
			stall.Stop()
			stall = nil
			s.status.foundPlace.Store(time.Now().UnixNano())
		case s.search.hopeless(), tail != all && s.decoder.Entries() >= limit:
			return errStalled
		default:
			stall.Reset(stallAfter)
		}
		return nil
	})
	if err == nil {
		s.settle()
	}
	if err == nil && s.search.missing() != 0 {
		return errStalled // the log's end, and the place is before its beginning
	}
	return err
}

// each opens the log, feeds the decoder with it, and hands over what was
// decoded after every read, then calls step. It returns nil at the log's end.
func (s *stream) each(ctx context.Context, opts LogsOptions, step func() error) error {
	s.status.blockedSince.Store(0)
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	// The engine answers before it looks into the log.
	late := time.AfterFunc(openTimeout, func() { stop(errStuck) })
	body, err := s.engine.Logs(ctx, s.id, opts)
	late.Stop()
	if err != nil {
		return whyStopped(ctx, err)
	}
	defer body.Close()
	buffer := readBuffers.Get().(*[]byte)
	defer readBuffers.Put(buffer)
	var gathering gathering
	for {
		asked := time.Now()
		s.status.blockedSince.Store(asked.UnixNano())
		n, err := body.Read(*buffer)
		wait := gathering.after(n, len(*buffer), time.Since(asked))
		if n > 0 {
			s.status.blockedSince.Store(0)
			s.hint = n
			// What was decoded before an error is good.
			corrupt := s.decoder.Feed((*buffer)[:n])
			s.status.lastEntry.Store(s.decoder.LastEntry())
			if err := s.handOver(ctx, s.decoder, record.Place{}); err != nil {
				return whyStopped(ctx, err)
			}
			if corrupt != nil {
				return corrupt
			}
			if err := step(); err != nil {
				return err
			}
		}
		switch {
		case err == io.EOF:
			return nil
		case err != nil:
			return whyStopped(ctx, err)
		case wait > 0:
			select {
			case <-ctx.Done():
			case <-time.After(wait):
			}
		}
	}
}

// whyStopped returns the cause of ctx's end where there is one: it is why a
// read failed.
func whyStopped(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); cause != nil {
		return cause
	}
	return err
}

// finish says how the stream ended.
func (s *stream) finish(ctx context.Context, err error) (ending, error) {
	if err != nil {
		return s.failure(err)
	}
	// The log has ended. A stopped container's open lines get no end any more;
	// a running one's are read again by the next stream.
	info, err := s.engine.Inspect(ctx, s.id)
	gone := errors.Is(err, ErrGone)
	if err != nil && !gone {
		return s.failure(err)
	}
	if !gone && info.Running {
		return endRestarted, nil
	}
	if !gone && s.info.Running {
		// It ran when this stream was opened, and an engine may end a followed
		// log before its end, in the middle of a line even. The next stream
		// sees what the line came to.
		s.readToEnd = !s.decoder.Pending(record.Stdout) && !s.decoder.Pending(record.Stderr)
		return endStopped, nil
	}
	if err := s.decoder.Flush(); err != nil {
		return endFailed, err
	}
	if err := s.handOver(ctx, s.decoder, record.Place{}); err != nil {
		return endFailed, err
	}
	s.readToEnd = true
	if gone {
		return endGone, nil
	}
	return endStopped, nil
}

// failure says what an error means for the container.
func (s *stream) failure(err error) (ending, error) {
	switch {
	case errors.Is(err, errStuck):
		return endStuck, nil
	case errors.Is(err, ErrGone):
		return endGone, nil
	case errors.Is(err, ErrUnreadable):
		return endUnreadable, err
	}
	return endFailed, fmt.Errorf("read log: %w", err)
}
