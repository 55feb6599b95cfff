// Package framing turns the bytes of a transport into whole lines.
//
// Docker decodes what the container engine's log endpoint sends: frames of
// eight bytes of header and a payload, or, for a container with a TTY, bare
// bytes. It joins the pieces of 16 KiB in which the engine keeps long lines,
// for each stream on its own, and cuts lines that are longer than wanted.
//
// A decoder gives the same lines with the same ordinals whenever it reads the
// same bytes from the same place, which is what resuming rests on. It starts no
// goroutine and keeps no reference to what it was given.
package framing

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"log_capturer/internal/record"
)

// The stream types of a frame's header, from the Engine API's description of
// the attach endpoint.
const (
	frameStdin  = 0
	frameStdout = 1
	frameStderr = 2
	// frameSystemError carries an error of the engine itself; the type is from
	// the engine's stdcopy package.
	frameSystemError = 3

	headerSize = 8
)

// maxEntry bounds one entry of the log, in bytes: the engine writes at most 16
// KiB and a timestamp, other engines that speak its API somewhat more.
const maxEntry = 4 << 20

// timestampSize is the length of the timestamps of an engine, nine digits of
// fraction and the space behind them included.
const timestampSize = len("2006-01-02T15:04:05.000000000Z ")

// ErrCorrupt is wrapped by the errors of bytes that are no log stream.
var ErrCorrupt = errors.New("corrupt log stream")

// EngineError is an error that the engine reported inside a log stream.
type EngineError struct{ Message string }

func (e *EngineError) Error() string { return "engine reports: " + e.Message }

// Line is a whole line, or one cut from it. Bytes is valid only during the call
// that it is passed to.
type Line struct {
	record.Record
	Bytes []byte
}

// Docker decodes one log stream. It must not be used by two goroutines at once.
type Docker struct {
	tty      bool
	maxLine  int
	runStart int64
	emit     func(*Line) error

	// buf holds the incomplete entry at the end of what was fed so far.
	buf     []byte
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
}

// DockerOptions describe a log stream.
type DockerOptions struct {
	// TTY is set for a container with a terminal, whose stream has no frames.
	TTY bool
	// MaxLine is the length, in bytes, at which longer lines are cut.
	MaxLine int
	// RunStart is when the container was last started. Without frames, nothing
	// but this tells an unterminated line from what the next run of the
	// container wrote behind it.
	RunStart time.Time
}

// NewDocker returns a decoder that calls emit for every line. An error of emit
// ends the decoding and is returned by Feed or Flush.
func NewDocker(opts DockerOptions, emit func(*Line) error) *Docker {
	d := &Docker{tty: opts.TTY, maxLine: opts.MaxLine, emit: emit}
	if !opts.RunStart.IsZero() {
		d.runStart = opts.RunStart.UnixNano()
	}
	return d
}

// Entries returns the number of log entries decoded: pieces, not lines.
func (d *Docker) Entries() uint64 { return d.entries }

// LastEntry returns the time of the last decoded entry in Unix nanoseconds,
// zero when there was none.
func (d *Docker) LastEntry() int64 { return d.lastEntry }

// Pending reports whether the stream has a line without its end.
func (d *Docker) Pending(s record.Stream) bool {
	return d.streams[s].open || d.tty && s == record.Stdout && len(d.buf) > 0
}

// Feed decodes p, together with what earlier calls left over.
func (d *Docker) Feed(p []byte) error {
	if len(d.buf) > 0 {
		d.buf = append(d.buf, p...)
		p = d.buf
	}
	n, err := d.decode(p)
	rest := p[n:]
	if err != nil {
		return err
	}
	if len(rest) > maxEntry {
		return fmt.Errorf("%w: entry of more than %d bytes", ErrCorrupt, maxEntry)
	}
	d.buf = append(d.buf[:0], rest...)
	return nil
}

// decode decodes the whole entries at the start of p and returns their length.
func (d *Docker) decode(p []byte) (int, error) {
	done := 0
	for {
		var n int
		var err error
		if d.tty {
			n, err = d.bare(p[done:])
		} else {
			n, err = d.frame(p[done:])
		}
		done += n
		if n == 0 || err != nil {
			return done, err
		}
	}
}

// frame decodes one frame, and returns its length or 0 when it is incomplete.
func (d *Docker) frame(p []byte) (int, error) {
	if len(p) < headerSize {
		return 0, nil
	}
	if p[0] > frameSystemError || p[1]|p[2]|p[3] != 0 {
		return 0, fmt.Errorf("%w: frame header % x", ErrCorrupt, p[:headerSize])
	}
	size := binary.BigEndian.Uint32(p[4:])
	if size > maxEntry {
		return 0, fmt.Errorf("%w: frame of %d bytes", ErrCorrupt, size)
	}
	end := headerSize + int(size)
	if len(p) < end {
		return 0, nil
	}
	payload := p[headerSize:end]
	switch p[0] {
	case frameSystemError:
		return end, &EngineError{Message: string(payload)}
	case frameStderr:
		return end, d.entry(record.Stderr, payload)
	default: // stdin is written on stdout, says the API
		return end, d.entry(record.Stdout, payload)
	}
}

// bare decodes one entry of a stream without frames: a timestamp and what
// follows it up to the newline. A piece has no newline, so the timestamp of the
// piece behind it is looked for where the engine's pieces end.
func (d *Docker) bare(p []byte) (int, error) {
	if len(p) < timestampSize {
		return 0, nil
	}
	// The pieces of a line all carry the time of its first one, so the bytes
	// of the timestamp at the front tell where the next piece begins.
	text := p[timestampSize:]
	end := bytes.IndexByte(text, '\n')
	window := text
	if end >= 0 {
		window = text[:end]
	}
	if len(window) >= pieceSize {
		if next := window[pieceSize:]; len(next) >= timestampSize {
			if bytes.Equal(next[:timestampSize], p[:timestampSize]) {
				end := timestampSize + pieceSize
				return end, d.entry(record.Stdout, p[:end])
			}
		} else if end < 0 {
			return 0, nil
		}
	}
	if cut := d.nextRun(p[:timestampSize-1], window); cut >= 0 {
		end := timestampSize + cut
		return end, d.entry(record.Stdout, p[:end])
	}
	if end < 0 {
		return 0, nil
	}
	end += timestampSize + 1
	return end, d.entry(record.Stdout, p[:end])
}

// nextRun returns where, in a text that began before the container's last
// start, an entry of the run since then begins, and -1 when none does.
func (d *Docker) nextRun(stamp, text []byte) int {
	at, err := parseTime(stamp)
	if err != nil || at >= d.runStart {
		return -1
	}
	for from := 0; ; {
		i := bytes.Index(text[from:], []byte("Z "))
		if i < 0 {
			return -1
		}
		from += i + len("Z ")
		if from < timestampSize {
			continue
		}
		next, err := parseTime(text[from-timestampSize : from-1])
		if err == nil && next >= d.runStart {
			return from - timestampSize
		}
	}
}

// pieceSize is the size of the pieces in which the engine keeps a long line, in
// bytes.
const pieceSize = 16 << 10

// entry takes one entry of the log: a timestamp, a space, and a line with its
// newline or a piece without one.
func (d *Docker) entry(s record.Stream, payload []byte) error {
	space := bytes.IndexByte(payload, ' ')
	if space < 0 {
		return fmt.Errorf("%w: entry without a timestamp", ErrCorrupt)
	}
	at, err := parseTime(payload[:space])
	if err != nil {
		return fmt.Errorf("%w: %w", ErrCorrupt, err)
	}
	d.entries++
	d.lastEntry = at
	text := payload[space+1:]
	a := &d.streams[s]
	// Every piece of a line carries the time of the first. Another time means
	// that the open line never got its end: its container was stopped there.
	if a.open && a.time != at {
		if err := d.unterminated(s); err != nil {
			return err
		}
	}
	whole := len(text) > 0 && text[len(text)-1] == '\n'
	if whole {
		text = text[:len(text)-1]
	}
	if !a.open && whole && len(text) <= d.maxLine {
		return d.send(s, at, text, 0)
	}
	a.open, a.time = true, at
	for len(a.pending)+len(text) > d.maxLine {
		n := d.maxLine - len(a.pending)
		a.pending = append(a.pending, text[:n]...)
		text = text[n:]
		if err := d.send(s, at, a.pending, a.mark()|record.Cut); err != nil {
			return err
		}
		a.pending, a.continued = a.pending[:0], true
	}
	a.pending = append(a.pending, text...)
	if !whole {
		return nil
	}
	return d.close(s, 0)
}

func (a *assembly) mark() record.Flags {
	if a.continued {
		return record.Continued
	}
	return 0
}

// close sends the open line of s.
func (d *Docker) close(s record.Stream, flags record.Flags) error {
	a := &d.streams[s]
	err := d.send(s, a.time, a.pending, a.mark()|flags)
	a.pending, a.open, a.continued = a.pending[:0], false, false
	if cap(a.pending) > 4*pieceSize {
		a.pending = nil // a rare long line must not hold its memory for good
	}
	return err
}

func (d *Docker) unterminated(s record.Stream) error { return d.close(s, record.Unterminated) }

// Flush sends the lines that have no end. It is called when the container has
// stopped, so that no end will come.
func (d *Docker) Flush() error {
	if d.tty && len(d.buf) > timestampSize {
		// Without frames, only the end of the stream ends a last piece.
		rest := d.buf
		d.buf = nil
		if err := d.entry(record.Stdout, rest); err != nil {
			return err
		}
	}
	for s := range d.streams {
		if d.streams[s].open {
			if err := d.unterminated(record.Stream(s)); err != nil {
				return err
			}
		}
	}
	return nil
}

// Settle closes the open line of s without sending it if match, which is given
// the line as it stands, knows it.
func (d *Docker) Settle(s record.Stream, match func(*Line) bool) {
	if d.tty && s == record.Stdout && len(d.buf) > timestampSize {
		if at, err := parseTime(d.buf[:timestampSize-1]); err == nil {
			l := d.stamp(s, at, d.buf[timestampSize:], record.Unterminated)
			if match(l) {
				d.buf = d.buf[:0]
				return
			}
			d.streams[s].runCount--
		}
	}
	if a := &d.streams[s]; a.open {
		if match(d.stamp(s, a.time, a.pending, a.mark()|record.Unterminated)) {
			a.pending, a.open, a.continued = a.pending[:0], false, false
			return
		}
		a.runCount--
	}
}

func (d *Docker) send(s record.Stream, at int64, text []byte, flags record.Flags) error {
	return d.emit(d.stamp(s, at, text, flags))
}

// stamp makes the next line of s.
func (d *Docker) stamp(s record.Stream, at int64, text []byte, flags record.Flags) *Line {
	a := &d.streams[s]
	if a.runCount == 0 || a.runTime != at {
		a.runTime, a.runCount = at, 0
	}
	a.runCount++
	d.line.Record = record.Record{Time: at, Ordinal: a.runCount, Stream: s, Flags: flags}
	d.line.Bytes = text
	return &d.line
}

// parseTime parses a timestamp as the engine writes it, with nine digits of
// fraction and in UTC, and any other RFC 3339 form more slowly.
func parseTime(b []byte) (int64, error) {
	if len(b) == timestampSize-1 && b[len(b)-1] == 'Z' && b[10] == 'T' && b[19] == '.' {
		year, ok1 := digits(b[0:4])
		month, ok2 := digits(b[5:7])
		day, ok3 := digits(b[8:10])
		hour, ok4 := digits(b[11:13])
		minute, ok5 := digits(b[14:16])
		second, ok6 := digits(b[17:19])
		nanos, ok7 := digits(b[20:29])
		if ok1 && ok2 && ok3 && ok4 && ok5 && ok6 && ok7 {
			return daysFromCivil(year, month, day)*86400e9 +
				int64(hour*3600+minute*60+second)*1e9 + int64(nanos), nil
		}
	}
	t, err := time.Parse(time.RFC3339Nano, string(b[:min(len(b), 64)]))
	if err != nil {
		return 0, fmt.Errorf("timestamp %q", b[:min(len(b), 64)])
	}
	return t.UnixNano(), nil
}

func digits(b []byte) (int, bool) {
	n := 0
	for _, c := range b {
		if c < '0' || c > '9' {
			return 0, false
		}
		n = n*10 + int(c-'0')
	}
	return n, true
}

// daysFromCivil returns the days from 1970-01-01 to a date of the Gregorian
// calendar. It counts the years from March, so that the leap day ends the year.
func daysFromCivil(year, month, day int) int64 {
	if month <= 2 {
		year--
		month += 12
	}
	era := year / 400
	yearOfEra := year % 400
	dayOfYear := (153*(month-3)+2)/5 + day - 1
	dayOfEra := yearOfEra*365 + yearOfEra/4 - yearOfEra/100 + dayOfYear
	return int64(era)*146097 + int64(dayOfEra) - 719468
}
