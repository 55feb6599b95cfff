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
	assembler
	tty      bool
	runStart int64
	admit    func(s record.Stream, at int64, text []byte) (bool, error)

	// buf holds the incomplete entry at the end of what was fed so far.
	buf []byte
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
	// Admit, where it is set, is asked before each entry is taken, with its time
	// and its text, which is valid during the call only. What it does not admit
	// is as if it had not been sent; an error of it ends the decoding.
	Admit func(s record.Stream, at int64, text []byte) (bool, error)
}

// NewDocker returns a decoder that calls emit for every line. An error of emit
// ends the decoding and is returned by Feed or Flush.
func NewDocker(opts DockerOptions, emit func(*Line) error) *Docker {
	d := &Docker{assembler: assembler{maxLine: opts.MaxLine, emit: emit}, tty: opts.TTY, admit: opts.Admit}
	if !opts.RunStart.IsZero() {
		d.runStart = opts.RunStart.UnixNano()
	}
	return d
}

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
	text := payload[space+1:]
	if d.admit != nil {
		if ok, err := d.admit(s, at, text); err != nil || !ok {
			return err
		}
	}
	return d.piece(s, at, text)
}

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
	return d.assembler.Flush()
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
	d.assembler.Settle(s, match)
}

// parseTime parses a timestamp as the engine writes it, with nine digits of
// fraction and in UTC, and any other RFC 3339 form more slowly.
func parseTime(b []byte) (int64, error) {
	if len(b) == timestampSize-1 && b[len(b)-1] == 'Z' && b[secondSize] == '.' {
		second, ok1 := parseSecond(b[:secondSize])
		nanos, ok2 := digits(b[secondSize+1 : len(b)-1])
		if ok1 && ok2 {
			return second + int64(nanos), nil
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
