package container

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"slices"
	"sync/atomic"
	"syscall"
	"time"

	"log_capturer/internal/framing"
	"log_capturer/internal/record"
	"log_capturer/internal/tail"
)

// How a container is read from its file
//
// The engine's json-file driver writes the file that a tail.Reader follows; a
// tail.Set steps the readers of all containers on a few goroutines. Reading goes
// on at the cursor's place, from which lines are numbered as they were before, so
// that those that the sinks have are known by their numbers. The last of them has
// to be the anchor's: where it is not, or where the place is in no file any more,
// everything that is retained is searched for the anchors, as over the API.
//
// A log has no end of its own. It is the engine that says that a container has
// stopped, or is gone; what the file has then is all.

// fileLog reads one container's json-file. The monitor makes it and sets the
// atomic fields; all else belongs to the step, which one goroutine of the set
// makes at a time.
type fileLog struct {
	intake
	logger *slog.Logger
	reader *tail.Reader
	member *tail.Member
	// report tells the monitor what the reading came to, or that it wants to be
	// told whether the container is still there. It returns soon after its
	// context is done.
	report func(context.Context, result)

	// ctx ends the reading, for the reason that is its cause.
	ctx    context.Context
	cancel context.CancelCauseFunc

	// known says that it is known whose log this is, and so whether it is
	// captured. Until then what was read is held.
	known atomic.Bool
	// stopped is the number of the container's run that has ended, zero while it
	// runs, and gone says that it was removed: nothing more is written.
	stopped atomic.Int64
	gone    atomic.Bool
	// ran says that the container was started, so that there has to be a file.
	ran atomic.Bool
	// found says that a file was opened, and ended that it went away. idle says
	// that all was read that there is, and lastEntry is the time of the last
	// entry in Unix nanoseconds.
	found, ended, idle atomic.Bool
	// absent says that the file was not where it was while it was still written
	// to.
	absent    atomic.Bool
	lastEntry atomic.Int64
	opened    time.Time
	// newcomer says that the container was made while the agent watched, so that
	// its file should be seen when it is empty yet. lateBy is set before it is
	// reported that it was not.
	newcomer bool
	lateBy   lateness

	decoder *framing.JSONFile
	// numbered says that lines are known by their numbers, and placed that the
	// decoder's numbers are those of the anchors.
	numbered, placed bool
	places           candidates
	// chunk is what is being decoded, and place the place behind what the batch
	// holds.
	chunk *tail.Chunk
	place record.Place
	// live is the inode of the file that was read to its end last: what does not
	// fill the buffer is all there is of it, without another look.
	live uint64
	// looked is when it was seen last whether the file is where it was.
	looked time.Time
	// unlinked says that the file that went away was not renamed, so that others
	// may have come and gone before the next one.
	unlinked bool
	// endedRun is the run at whose end the reading ended.
	endedRun int64
	lost     uint64
}

// errMisplaced says that the lines at a place are not those that the cursor
// tells of.
var errMisplaced = errors.New("lines have other numbers than before")

// errNoFile says that there is no file although there was one.
var errNoFile = errors.New("there is no file")

// newFileLog returns the reading of the log at path from a position. With
// searching set the position's place is not used.
func newFileLog(in intake, path string, maxLine int, places candidates, searching bool) *fileLog {
	f := &fileLog{intake: in, places: places, opened: time.Now()}
	cursor := in.position.cursor
	start := tail.Start{Oldest: true}
	f.decoder = framing.NewJSONFile(framing.JSONFileOptions{
		MaxLine: maxLine,
		Room:    func(n int) []byte { return f.current(n).Room(n) },
		Place:   func(i int) record.Place { return f.chunk.Place(i) },
	}, f.take)
	if !searching && !cursor.Place.IsZero() && bounds(cursor) {
		start = tail.Start{Place: cursor.Place}
		f.numbered, f.place = true, cursor.Place
		f.begin(f.searchByNumber(cursor))
	} else {
		f.begin(newSearch(cursor, true))
		for s, a := range cursor.Streams {
			f.decoder.Start(record.Stream(s), a.Seq)
		}
	}
	f.placed = f.numbered || cursor.IsZero()
	f.reader = tail.NewReader(tail.Log{Path: path, Rotated: tail.Numbered(path)}, start, tail.Options{})
	return f
}

// bounds reports whether a cursor's place is not behind its anchors.
func bounds(c record.Cursor) bool {
	for s, a := range c.Streams {
		if c.Place.Seqs[s] > a.Seq {
			return false
		}
	}
	return true
}

// searchByNumber returns the search for the anchors of a cursor from its place
// on. Streams that have no record between the two are found already.
func (f *fileLog) searchByNumber(c record.Cursor) *search {
	s := &search{want: c, whole: true}
	for i, a := range c.Streams {
		stream := record.Stream(i)
		f.decoder.Start(stream, c.Place.Seqs[i])
		if c.Place.Seqs[i] == a.Seq {
			s.open |= record.Only(stream)
			f.decoder.Run(stream, a.Time, a.Count)
		} else {
			s.need |= record.Only(stream)
		}
	}
	return s
}

// take takes a decoded line.
func (f *fileLog) take(l *framing.Line) error {
	switch {
	case f.search.open.Has(l.Stream):
		f.add(l)
	case f.numbered:
		return f.pass(l)
	case f.search.take(l):
		f.add(l)
	default:
		// It was numbered before, if it is one of those that were read.
		f.decoder.Start(l.Stream, f.search.want.Streams[l.Stream].Seq)
	}
	return nil
}

// pass takes a line that was read before. The last one has to be the anchor's.
func (f *fileLog) pass(l *framing.Line) error {
	a := f.search.want.Streams[l.Stream]
	if f.decoder.Seq(l.Stream) < a.Seq {
		return nil
	}
	if l.Time != a.Time || record.LineHash(l.Bytes) != a.Hash {
		return errMisplaced
	}
	f.search.open |= record.Only(l.Stream)
	f.decoder.Run(l.Stream, a.Time, a.Count)
	return nil
}

// step reads on. It is called by a goroutine of the set, with a buffer for the
// time of the call.
func (f *fileLog) step(ctx context.Context, buf []byte) tail.Verdict {
	if cause := context.Cause(f.ctx); cause != nil {
		return f.leave(ctx, endOf(cause), nil)
	}
	known := f.known.Load()
	if f.batch != nil && len(f.batch.Records) > 0 {
		// It was held.
		if !known {
			return tail.Rest
		}
		if err := f.deliver(); err != nil {
			return f.fail(ctx, err)
		}
	}
	// What the file holds after the engine said that the container has stopped
	// is all of it; before that it may not be.
	stopped, gone := f.stopped.Load(), f.gone.Load()
	c, err := f.reader.Next(buf)
	if err != nil {
		return f.leave(ctx, endFileLost, err)
	}
	if c.Kind == tail.Data && known {
		f.look(ctx)
	}
	if f.reader.Inode() != 0 && !f.found.Swap(true) && f.newcomer && len(c.Data) > 0 {
		f.lateBy = seenLate(f.reader.Path())
		f.report(ctx, result{file: f, end: endLate})
	}
	switch c.Kind {
	case tail.Data:
		return f.data(ctx, &c, known, stopped != 0)
	case tail.Gap:
		return f.gapped(ctx, &c)
	case tail.Ended:
		if f.found.Load() && !gone {
			return f.lostFile(ctx)
		}
	}
	if !f.found.Load() && f.ran.Load() && !gone && readable(f.reader.Path()) != nil {
		// The engine makes the file before it starts the container, so it went
		// away, or out of reach, before it was opened.
		return f.leave(ctx, endFileLost, errNoFile)
	}
	f.idle.Store(true)
	if c.Kind == tail.Idle {
		f.live, f.looked = f.reader.Inode(), time.Now()
		f.absent.Store(false)
	}
	if !known {
		return tail.Rest
	}
	if f.search.missing() != 0 && !f.settle() {
		return f.notFound(ctx)
	}
	switch {
	case gone:
		return f.finish(ctx, endGone)
	case stopped != 0:
		f.endedRun = stopped
		return f.finish(ctx, endStopped)
	}
	return tail.Rest
}

// data decodes a chunk and hands over what is new in it.
func (f *fileLog) data(ctx context.Context, c *tail.Chunk, known, stopped bool) tail.Verdict {
	f.idle.Store(false)
	if f.ended.Swap(false) && f.unlinked && f.search.missing() == 0 {
		f.gap(f.logger, "the file was removed, and what came between it and the present one is not known")
	}
	f.chunk, f.hint = c, len(c.Data)
	n, err := f.decoder.Decode(c.Data)
	switch {
	case errors.Is(err, errMisplaced):
		return f.searchAll(ctx)
	case err != nil:
		return f.fail(ctx, err)
	}
	if len(c.Data) > 0 {
		f.place = c.Place(n)
	}
	if c.Last && n < len(c.Data) {
		f.decoder.Tear(len(c.Data) - n)
		n = len(c.Data)
	}
	f.reader.Use(c, n)
	f.chunk = nil
	f.lastEntry.Store(f.decoder.LastEntry())
	if lost := f.decoder.Lost(); lost != f.lost {
		f.stats.lost.Add(lost - f.lost)
		f.logger.Warn("corrupt_log_file", "container", f.name(), "path", f.reader.Path(), "bytes_lost", lost-f.lost)
		f.lost = lost
	}
	if !known {
		return tail.Rest
	}
	if err := f.deliver(); err != nil {
		return f.fail(ctx, err)
	}
	if c.More || c.Last || stopped || f.search.missing() != 0 || f.reader.Inode() != f.live {
		return tail.Again
	}
	f.idle.Store(true)
	return tail.Rest
}

// lookEvery is how often it is seen whether the file of a container that writes
// all the time is still where it was: while it grows the reader has no reason to
// look.
const lookEvery = time.Second

// look asks about the container when its file is not where it was.
func (f *fileLog) look(ctx context.Context) {
	now := time.Now()
	if now.Sub(f.looked) < lookEvery {
		return
	}
	f.looked = now
	_, err := os.Stat(f.reader.Path())
	f.absent.Store(err != nil)
	if err != nil {
		f.report(ctx, result{file: f, end: endAsk})
	}
}

// deliver hands over the batch.
func (f *fileLog) deliver() error {
	var place record.Place
	if f.search.missing() == 0 {
		open := f.decoder.Pending(record.Stdout) || f.decoder.Pending(record.Stderr)
		// A line that was open before all anchors were found began at a place
		// whose numbers are not known.
		if f.placed = f.placed || !open; f.placed {
			place = f.decoder.Bound(f.place)
		}
	}
	if f.batch != nil {
		f.batch.Gathered = f.reader.Gathered()
	}
	return f.handOver(f.ctx, f.decoder, place)
}

// settle looks for anchors among the lines without an end, at the end of the
// file, and reports whether all are found.
func (f *fileLog) settle() bool {
	for i, a := range f.search.want.Streams {
		stream := record.Stream(i)
		if !f.search.missing().Has(stream) {
			continue
		}
		f.decoder.Settle(stream, func(l *framing.Line) bool {
			if !f.numbered {
				f.search.take(l)
			} else if f.decoder.Seq(stream)+1 == a.Seq && l.Time == a.Time && record.LineHash(l.Bytes) == a.Hash {
				f.search.open |= record.Only(stream)
			}
			return f.search.open.Has(stream)
		})
		if f.search.open.Has(stream) {
			f.decoder.Start(stream, a.Seq)
			f.decoder.Run(stream, a.Time, a.Count)
		}
	}
	return f.search.missing() == 0
}

// gapped takes in that bytes are missing.
func (f *fileLog) gapped(ctx context.Context, c *tail.Chunk) tail.Verdict {
	switch {
	case f.numbered && (c.NotFound || f.search.missing() != 0):
		// The place is in nothing that is retained; the anchors may be.
		return f.searchAll(ctx)
	case f.search.missing() != 0:
		return tail.Again // it is not known to be behind the anchors
	}
	f.gap(f.logger, c.Reason, "bytes_at_least", c.Lost)
	// The rest of a line that has begun is not there.
	if err := f.decoder.Flush(); err != nil {
		return f.fail(ctx, err)
	}
	if err := f.deliver(); err != nil {
		return f.fail(ctx, err)
	}
	return tail.Again
}

// notFound takes in that all files were read and an anchor is in none of them.
func (f *fileLog) notFound(ctx context.Context) tail.Verdict {
	if f.numbered {
		return f.searchAll(ctx)
	}
	f.gap(f.logger, "the last line read is in none of the container's files")
	f.position.cursor = f.places.giveUp(f.position.cursor, f.search.missing())
	return f.searchAll(ctx)
}

// searchAll begins again, with a search for the anchors in all files.
func (f *fileLog) searchAll(ctx context.Context) tail.Verdict { return f.leave(ctx, endSearch, nil) }

// lostFile takes in that the file is not there any more. The engine knows
// whether the container is.
func (f *fileLog) lostFile(ctx context.Context) tail.Verdict {
	f.idle.Store(true)
	if !f.ended.Swap(true) {
		f.unlinked = !renamed(f.reader.Path(), f.reader.Inode())
		f.report(ctx, result{file: f, end: endAsk})
	}
	return tail.Rest
}

// renamed reports whether a file is among those that the log at path was rotated
// to.
func renamed(path string, inode uint64) bool {
	rotated, _ := tail.Numbered(path)() // what can't be listed is not there
	return slices.ContainsFunc(rotated, func(name string) bool {
		info, err := os.Stat(name)
		if err != nil {
			return false
		}
		sys, ok := info.Sys().(*syscall.Stat_t)
		return ok && sys.Ino == inode
	})
}

// finish takes the lines that get no end any more, and leaves.
func (f *fileLog) finish(ctx context.Context, end ending) tail.Verdict {
	if err := f.decoder.Flush(); err != nil {
		return f.fail(ctx, err)
	}
	if err := f.deliver(); err != nil {
		return f.fail(ctx, err)
	}
	return f.leave(ctx, end, nil)
}

// fail leaves with an error, or for the reason that caused it.
func (f *fileLog) fail(ctx context.Context, err error) tail.Verdict {
	if cause := context.Cause(f.ctx); cause != nil {
		return f.leave(ctx, endOf(cause), nil)
	}
	return f.leave(ctx, endFailed, err)
}

// leave ends the reading. What was not handed over is read again.
func (f *fileLog) leave(ctx context.Context, end ending, err error) tail.Verdict {
	f.drop()
	f.cancel(nil)
	f.position.closed = time.Now()
	f.report(ctx, result{file: f, end: end, err: err})
	return tail.Leave
}

// name returns the container's name, its id while that is not known.
func (in *intake) name() string {
	if source := in.source.Load(); source != nil {
		return source.ContainerName
	}
	return ""
}

// gap counts a suspected gap, and says why.
func (in *intake) gap(logger *slog.Logger, reason string, args ...any) {
	in.stats.gaps.Add(1)
	logger.Warn("suspected_gap", append([]any{"container", in.name(), "reason", reason}, args...)...)
}

// lag returns how far the reading is behind.
func (f *fileLog) lag(now time.Time) time.Duration {
	last := f.lastEntry.Load()
	if f.idle.Load() || last == 0 {
		return 0
	}
	return max(0, now.Sub(time.Unix(0, last)))
}

// endOf says what the cause of a context's end is for the one who reads.
func endOf(cause error) ending {
	switch {
	case errors.Is(cause, errStuck):
		return endStuck
	case errors.Is(cause, errRotate):
		return endRotated
	case errors.Is(cause, errSwitch):
		return endSwitched
	}
	return endClosed
}
