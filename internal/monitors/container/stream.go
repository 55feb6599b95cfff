package container

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"log_capturer/internal/framing"
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
	// Forget removes a source that will not come again.
	Forget(source string) error
}

// The causes for which a stream's context is cancelled.
var (
	errRotate  = errors.New("end of lease")
	errStuck   = errors.New("stream is stuck")
	errStalled = errors.New("anchor did not show up")
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
}

// stream reads one container's log over the API while it holds a lease. Its
// fields are set before run starts; the monitor reads the atomic ones while it
// runs, and position when it has returned.
type stream struct {
	id      string
	engine  Engine
	sink    Dispatcher
	maxLine int
	start   record.Cursor
	stats   *counters

	// source may be replaced while the stream runs, by a rename.
	source     *atomic.Pointer[record.Source]
	info       Info
	makeSource func(Info) *record.Source

	position position
	// readToEnd is set by run when it came to the end of the log of a container
	// that had stopped.
	readToEnd bool

	// status is what others see of a running stream.
	status streamStatus

	decoder *framing.Docker
	search  *search
	batch   *record.Batch
	next    record.Cursor
	seqs    [record.NumStreams]uint64
	lastAt  [record.NumStreams]uint64
	total   uint64
	hint    int
	// settles says that the place is an unterminated line, at the end of the
	// log, so that nothing needs to come for it to be found.
	settles bool
}

// streamStatus is shared between a stream and those who watch it.
type streamStatus struct {
	opened time.Time
	cancel context.CancelCauseFunc
	// blockedSince is when the stream began to wait for the engine, zero while
	// it works. lastEntry is the time of the last entry seen. foundPlace is
	// when the search for the place to begin at ended, zero while it goes on.
	// from is the oldest time of the position that it was opened at. All are in
	// Unix nanoseconds.
	blockedSince, lastEntry, foundPlace, from atomic.Int64
}

// searching reports whether the stream still looks for its place.
func (s *streamStatus) searching() bool { return s.foundPlace.Load() == 0 }

// reading returns when the stream began to show new lines. One that has not
// found its place for long counts as if it had then.
func (s *streamStatus) reading(now time.Time) time.Time {
	if found := s.foundPlace.Load(); found != 0 {
		return time.Unix(0, found)
	}
	if now.Sub(s.opened) > maxSearch {
		return s.opened
	}
	return now
}

// current reports whether the stream has shown all but the last moments.
func (s *streamStatus) current(now time.Time) bool {
	return s.idle(now) || !s.searching() && now.Sub(time.Unix(0, s.lastEntry.Load())) < recent
}

// idle reports whether the stream has read all there is.
func (s *streamStatus) idle(now time.Time) bool {
	since := s.blockedSince.Load()
	return since != 0 && !s.searching() && now.Sub(time.Unix(0, since)) >= idleAfter
}

// counters are a container's totals over all its streams.
type counters struct {
	records, bytes, lastLine atomic.Int64
	gaps                     atomic.Uint64
}

const readSize = 64 << 10

var readBuffers = sync.Pool{New: func() any { b := make([]byte, readSize); return &b }}

// run reads until the lease ends, the log ends, or an error. It is started by
// the monitor, as a goroutine of its own; cancelling ctx ends it, and the
// monitor waits for it.
func (s *stream) run(ctx context.Context) (ending, error) {
	end, err := s.read(ctx)
	if s.batch != nil {
		// Not accepted, so it is read again.
		s.batch.Release()
		s.batch = nil
	}
	s.position.closed = time.Now()
	if cause := context.Cause(ctx); cause != nil {
		switch {
		case errors.Is(cause, errStuck):
			return endStuck, nil
		case errors.Is(cause, errRotate):
			return endRotated, nil
		}
		return endClosed, nil
	}
	return end, err
}

func (s *stream) read(ctx context.Context) (ending, error) {
	if !s.info.Inspected || !s.info.Running {
		info, err := s.engine.Inspect(ctx, s.id)
		if err != nil {
			return s.failure(err)
		}
		s.info = info
		s.source.Store(s.makeSource(info))
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

const (
	// minTail is the smallest number of entries that a log is opened with, for
	// lines that come while it is closed.
	minTail = 64
	// firstTail is the number where it is not known how long it was closed.
	firstTail = 1024
	// maxTail is the largest number that is tried before the whole log.
	maxTail = 64 << 10
	// all stands for the whole log.
	all = -1
	// clockSlack is by how much the clock may have been set back for a time
	// limit to leave nothing out. The limit spares the engine the unpacking of
	// compressed files, and the sending of what was read.
	clockSlack = 10 * time.Minute
	// recent is the age of an entry up to which a stream is not far behind.
	recent = 2 * time.Second
	// stallAfter is how long the search for an anchor waits for a next entry.
	stallAfter = 2 * time.Second
)

// reach returns how much of the log is to be opened.
func (s *stream) reach() (tail int, since time.Time) {
	p := &s.position
	if from := oldest(p.cursor); !from.IsZero() && !p.distrustTime {
		since = from.Add(-clockSlack)
	}
	switch {
	case needsWhole(p.cursor):
		return all, since
	case p.closed.IsZero():
		return firstTail, since
	case !p.caughtUp:
		return all, since
	}
	tail = minTail + int(2*p.rate*time.Since(p.closed).Seconds())
	if tail > maxTail {
		tail = all
	}
	return tail, since
}

// begin prepares the reading of a newly opened log.
func (s *stream) begin(emit func(*framing.Line) error, whole bool) {
	s.search = newSearch(s.position.cursor, whole)
	s.decoder = framing.NewDocker(framing.DockerOptions{
		TTY: s.info.TTY, MaxLine: s.maxLine, RunStart: s.info.StartedAt,
	}, emit)
	s.next = s.position.cursor
	s.total = s.position.total
	s.status.from.Store(oldest(s.next).UnixNano())
	for i, a := range s.next.Streams {
		s.seqs[i], s.lastAt[i] = a.Seq, a.AsOf
	}
}

// follow opens the log and reads it until it ends. It returns errStalled when
// the place of the cursor is not in the part that was opened.
func (s *stream) follow(ctx context.Context, tail int, since time.Time) error {
	s.begin(s.emit, tail == all)
	var stall *time.Timer
	limit := uint64(tail)
	reading, stop := context.WithCancelCause(ctx)
	defer stop(nil)
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

// settle recognises an anchor that is an unterminated line: the last one of a
// run of the container that was stopped in it. It stays open in the decoder
// until the next run writes something. In mid-stream a line that is complete
// looks the same when the entry with its newline has not been read yet.
func (s *stream) settle() {
	for i := range s.search.want.Streams {
		if stream := record.Stream(i); s.search.missing().Has(stream) {
			s.decoder.Settle(stream, func(l *framing.Line) bool {
				s.search.take(l)
				return s.search.open.Has(stream)
			})
		}
	}
}

// each opens the log, feeds the decoder with it, and hands over what was
// decoded after every read, then calls step. It returns nil at the log's end.
func (s *stream) each(ctx context.Context, opts LogsOptions, step func() error) error {
	s.status.blockedSince.Store(0)
	body, err := s.engine.Logs(ctx, s.id, opts)
	if err != nil {
		return whyStopped(ctx, err)
	}
	defer body.Close()
	buffer := readBuffers.Get().(*[]byte)
	defer readBuffers.Put(buffer)
	for {
		s.status.blockedSince.Store(time.Now().UnixNano())
		n, err := body.Read(*buffer)
		if n > 0 {
			s.status.blockedSince.Store(0)
			s.hint = n
			// What was decoded before an error is good.
			corrupt := s.decoder.Feed((*buffer)[:n])
			s.status.lastEntry.Store(s.decoder.LastEntry())
			if err := s.handOver(ctx); err != nil {
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

// emit takes a decoded line.
func (s *stream) emit(l *framing.Line) error {
	if !s.search.take(l) {
		return nil
	}
	if s.batch == nil {
		s.batch = record.NewBatch(s.source.Load(), max(s.hint, len(l.Bytes)))
		s.batch.From = s.position.cursor
	}
	s.batch.Append(l.Record, l.Bytes)
	s.total++
	s.seqs[l.Stream]++
	s.lastAt[l.Stream] = s.total
	return nil
}

// handOver gives the batch to the dispatcher, and moves the position when it
// was accepted.
func (s *stream) handOver(ctx context.Context) error {
	b := s.batch
	if b == nil {
		return nil
	}
	s.seal(b)
	records, bytes := len(b.Records), b.LineBytes()
	last := b.Records[records-1].Time
	to := b.To
	s.batch = nil
	if err := s.sink.Accept(ctx, b); err != nil {
		return err
	}
	s.position.cursor, s.position.total = to, s.total
	s.stats.records.Add(int64(records))
	s.stats.bytes.Add(int64(bytes))
	s.stats.lastLine.Store(last)
	return nil
}

// seal sets the cursor behind the batch.
func (s *stream) seal(b *record.Batch) {
	var last [record.NumStreams]*record.Record
	for i := range b.Records {
		last[b.Records[i].Stream] = &b.Records[i]
	}
	// A line that never got its end is recognised late when it is read again,
	// behind lines of the other stream: it is no place for both.
	unterminated := false
	for _, r := range last {
		unterminated = unterminated || r != nil && r.Flags&record.Unterminated != 0
	}
	to := b.From
	for i := range to.Streams {
		a := &to.Streams[i]
		if r := last[i]; r != nil {
			a.Time, a.Count, a.Hash = r.Time, r.Ordinal, record.LineHash(b.Line(r))
			a.Seq = s.seqs[i]
		}
		stream := record.Stream(i)
		switch {
		case s.search.missing().Has(stream) || s.search.exact && s.search.missing() != 0:
			// Its anchor was not reached: nothing is known of it up to here.
			continue
		case unterminated, s.decoder.Pending(stream):
			// A line of it may have begun and must be read again from its
			// start, which is somewhere behind its last record.
			if last[i] == nil {
				continue
			}
			a.AsOf = s.lastAt[i]
		default:
			a.AsOf = s.total
		}
		a.Last = a.Count > 0 && s.lastAt[i] == a.AsOf
	}
	b.To = to
}

// locate looks for the cursor's place in ever larger parts of the log, without
// following it, and returns how much of it to follow. What is not in the whole
// log is lost: then the position changes and a gap is counted.
func (s *stream) locate(ctx context.Context, tail int, since time.Time, places *candidates) (int, time.Time, error) {
	s.status.foundPlace.Store(0)
	for {
		if tail != all {
			if tail *= 8; tail > maxTail {
				tail = all
			}
		}
		var foundAt uint64
		discard := func(l *framing.Line) error {
			s.search.take(l)
			if foundAt == 0 && s.search.open&s.search.need != 0 {
				foundAt = s.decoder.Entries()
			}
			return nil
		}
		s.begin(discard, tail == all)
		err := s.each(ctx, LogsOptions{Tail: tail, Since: since}, func() error { return nil })
		if err != nil {
			return 0, since, err
		}
		before := s.search.missing()
		s.settle()
		s.settles = s.search.missing() != before
		if foundAt == 0 && s.search.open&s.search.need != 0 {
			foundAt = s.decoder.Entries()
		}
		entries := s.decoder.Entries()
		// Fewer entries than were asked for are the whole log.
		whole := tail == all || entries < uint64(tail)
		if s.search.missing() == 0 {
			if s.search.ambiguous || foundAt == 0 {
				return all, since, nil
			}
			// From before the anchor, and with room for what comes meanwhile.
			return int(entries-foundAt) + 2*minTail, since, nil
		}
		if whole && tail != all {
			tail = all
			continue
		}
		if !whole {
			continue
		}
		if !since.IsZero() {
			// Be sure that it is not the time limit that hides it.
			since = time.Time{}
			continue
		}
		s.stats.gaps.Add(1)
		s.position.cursor = places.giveUp(s.position.cursor, s.search.missing())
	}
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
	if err := s.decoder.Flush(); err != nil {
		return endFailed, err
	}
	if err := s.handOver(ctx); err != nil {
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
	case errors.Is(err, ErrGone):
		return endGone, nil
	case errors.Is(err, ErrUnreadable):
		return endUnreadable, err
	}
	return endFailed, fmt.Errorf("read log: %w", err)
}
