package framing

import "log_capturer/internal/record"

// assembler makes whole lines of the entries of a log, for each stream on its
// own. An entry is a line with its newline, or a piece of one without it: the
// engine keeps lines of more than 16 KiB as pieces.
type assembler struct {
	maxLine int
	emit    func(*Line) error

	streams [record.NumStreams]assembly
	entries uint64
	// lastEntry is the time of the last entry, in Unix nanoseconds.
	lastEntry int64
	line      Line
}

// assembly is the state of one stream.
type assembly struct {
	// pending holds the pieces of a line that has no end yet. It is in use
	// while open is set: an open line may be empty.
	pending []byte
	open    bool
	time    int64
	// continued is set when pending continues a line that was cut.
	continued bool

	runTime  int64
	runCount uint32

	// seq is the number of lines emitted, from what it was set to, and begin
	// the place from which the open line can be read, where a decoder keeps it.
	seq   uint64
	begin record.Place
}

// Seq returns the number of lines of s that were emitted, from where Start set
// it.
func (a *assembler) Seq(s record.Stream) uint64 { return a.streams[s].seq }

// Start sets the number of lines of s that come before what is decoded next.
func (a *assembler) Start(s record.Stream, seq uint64) { a.streams[s].seq = seq }

// Run sets the last line of s to be the count-th in an unbroken run of lines
// with the given time.
func (a *assembler) Run(s record.Stream, time int64, count uint32) {
	a.streams[s].runTime, a.streams[s].runCount = time, count
}

// Entries returns the number of log entries decoded: pieces, not lines.
func (a *assembler) Entries() uint64 { return a.entries }

// LastEntry returns the time of the last decoded entry in Unix nanoseconds,
// zero when there was none.
func (a *assembler) LastEntry() int64 { return a.lastEntry }

// piece takes one entry of the log: a line with its newline or a piece without
// one.
func (a *assembler) piece(s record.Stream, at int64, text []byte) error {
	a.entries++
	a.lastEntry = at
	as := &a.streams[s]
	// Every piece of a line carries the time of the first. Another time means
	// that the open line never got its end: its container was stopped there.
	if as.open && as.time != at {
		if err := a.unterminated(s); err != nil {
			return err
		}
	}
	whole := len(text) > 0 && text[len(text)-1] == '\n'
	if whole {
		text = text[:len(text)-1]
	}
	if !as.open && whole && len(text) <= a.maxLine {
		return a.send(s, at, text, 0)
	}
	as.open, as.time = true, at
	for len(as.pending)+len(text) > a.maxLine {
		n := a.maxLine - len(as.pending)
		as.pending = append(as.pending, text[:n]...)
		text = text[n:]
		if err := a.send(s, at, as.pending, as.mark()|record.Cut); err != nil {
			return err
		}
		as.pending, as.continued = as.pending[:0], true
	}
	as.pending = append(as.pending, text...)
	if !whole {
		return nil
	}
	return a.close(s, 0)
}

func (as *assembly) mark() record.Flags {
	if as.continued {
		return record.Continued
	}
	return 0
}

// close sends the open line of s.
func (a *assembler) close(s record.Stream, flags record.Flags) error {
	as := &a.streams[s]
	err := a.send(s, as.time, as.pending, as.mark()|flags)
	as.drop()
	return err
}

// drop ends the open line without sending it.
func (as *assembly) drop() {
	as.pending, as.open, as.continued = as.pending[:0], false, false
	if cap(as.pending) > 4*pieceSize {
		as.pending = nil // a rare long line must not hold its memory for good
	}
}

func (a *assembler) unterminated(s record.Stream) error { return a.close(s, record.Unterminated) }

// Flush sends the lines that have no end. It is called when the container has
// stopped, so that no end will come.
func (a *assembler) Flush() error {
	for s := range a.streams {
		if a.streams[s].open {
			if err := a.unterminated(record.Stream(s)); err != nil {
				return err
			}
		}
	}
	return nil
}

// Settle closes the open line of s without sending it if match, which is given
// the line as it stands, knows it.
func (a *assembler) Settle(s record.Stream, match func(*Line) bool) {
	as := &a.streams[s]
	if !as.open {
		return
	}
	if match(a.stamp(s, as.time, as.pending, as.mark()|record.Unterminated)) {
		as.drop()
		return
	}
	as.runCount--
}

func (a *assembler) send(s record.Stream, at int64, text []byte, flags record.Flags) error {
	a.streams[s].seq++
	return a.emit(a.stamp(s, at, text, flags))
}

// stamp makes the next line of s.
func (a *assembler) stamp(s record.Stream, at int64, text []byte, flags record.Flags) *Line {
	as := &a.streams[s]
	if as.runCount == 0 || as.runTime != at {
		as.runTime, as.runCount = at, 0
	}
	as.runCount++
	a.line.Record = record.Record{Time: at, Ordinal: as.runCount, Stream: s, Flags: flags}
	a.line.Bytes = text
	return &a.line
}
