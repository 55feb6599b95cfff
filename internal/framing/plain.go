package framing

import (
	"bytes"

	"log_capturer/internal/record"
)

// Plain decodes a plain text file: each line is a record, and its bytes are what
// the file has, in whatever encoding, without the newline. Lines have no time of
// their own: each gets that of the reading, one nanosecond more than the line
// before it where that would be the same or less, so that equal lines remain
// different ones.
//
// It must not be used by two goroutines at once.
type Plain struct {
	maxLine int
	place   func(i int) record.Place
	emit    func(*Line) error

	// pending is what was taken of a line that is longer than what is read at
	// once, and begin where that line begins.
	pending   []byte
	open      bool
	continued bool
	begin     record.Place

	seq  uint64
	time int64
	line Line
}

// PlainOptions describe how a plain file is decoded.
type PlainOptions struct {
	// MaxLine is the length, in bytes, at which longer lines are cut.
	MaxLine int
	// Place returns the place of index i of what Decode was given. Seqs are set by
	// the decoder.
	Place func(i int) record.Place
}

// holdBack is how much of a line that has no end yet is left to be read again
// together with its end, in bytes. More is kept in memory.
const holdBack = 16 << 10

// NewPlain returns a decoder that calls emit for every line. An error of emit
// ends the decoding and is returned.
func NewPlain(opts PlainOptions, emit func(*Line) error) *Plain {
	return &Plain{maxLine: opts.MaxLine, place: opts.Place, emit: emit}
}

// Start sets how many lines come before what is decoded next, and the time of the
// last of them. A plain file has lines of stdout alone.
func (d *Plain) Start(s record.Stream, seq uint64, time int64) {
	if s == record.Stdout {
		d.seq, d.time = seq, max(d.time, time)
	}
}

// Bound returns the place before which all is in lines that were emitted: here,
// the place behind what was decoded, or the begin of a line that was taken in
// part.
func (d *Plain) Bound(here record.Place) record.Place {
	if d.open {
		return d.begin
	}
	here.Seqs[record.Stdout] = d.seq
	return here
}

// Decode decodes the lines at the start of p, read at a time in Unix nanoseconds,
// and returns how much of p it has used. What is behind it is to be given again,
// with what follows it.
func (d *Plain) Decode(p []byte, at int64) (int, error) {
	done := 0
	for {
		length := bytes.IndexByte(p[done:], '\n')
		if length < 0 {
			break
		}
		start := done
		done += length + 1
		var err error
		if text := p[start : start+length]; !d.open && length <= d.maxLine {
			err = d.send(text, at, 0)
		} else if err = d.take(text, start, at); err == nil {
			err = d.close(at, 0)
		}
		if err != nil {
			return done, err
		}
	}
	if rest := p[done:]; d.open && len(rest) > 0 || len(rest) > holdBack {
		err := d.take(rest, done, at)
		return len(p), err
	}
	return done, nil
}

// End decodes p as Decode does, and what is left of it as a last line that gets
// no end.
func (d *Plain) End(p []byte, at int64) error {
	n, err := d.Decode(p, at)
	if err == nil && n < len(p) {
		err = d.take(p[n:], n, at)
	}
	if err != nil || !d.open {
		return err
	}
	return d.close(at, record.Unterminated)
}

// Flush sends the line whose end will not come.
func (d *Plain) Flush() error {
	if !d.open {
		return nil
	}
	return d.close(d.time, record.Unterminated)
}

// take takes a part of a line that begins, if it does, at index i of what is
// decoded.
func (d *Plain) take(text []byte, i int, at int64) error {
	if !d.open {
		d.begin = d.place(i)
		d.begin.Seqs[record.Stdout] = d.seq
		d.open = true
	}
	for len(d.pending)+len(text) > d.maxLine {
		n := d.maxLine - len(d.pending)
		d.pending = append(d.pending, text[:n]...)
		text = text[n:]
		if err := d.send(d.pending, at, d.mark()|record.Cut); err != nil {
			return err
		}
		d.pending, d.continued = d.pending[:0], true
	}
	d.pending = append(d.pending, text...)
	return nil
}

func (d *Plain) mark() record.Flags {
	if d.continued {
		return record.Continued
	}
	return 0
}

// close sends what is left of the open line.
func (d *Plain) close(at int64, flags record.Flags) error {
	err := d.send(d.pending, at, d.mark()|flags)
	// A rare long line must not hold its memory for good.
	d.pending, d.open, d.continued = nil, false, false
	return err
}

func (d *Plain) send(text []byte, at int64, flags record.Flags) error {
	d.seq++
	d.time = max(d.time+1, at)
	d.line.Record = record.Record{Time: d.time, Ordinal: 1, Stream: record.Stdout, Flags: flags}
	d.line.Bytes = text
	return d.emit(&d.line)
}
