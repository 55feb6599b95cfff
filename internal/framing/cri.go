package framing

import (
	"bytes"

	"log_capturer/internal/record"
)

// CRI decodes the log files of Kubernetes' container runtimes: a line for each
// entry, with its time, its stream, a tag that says whether the entry is partial
// (P) or ends a line (F), and its text:
//
//	2016-10-06T00:17:09.669794202Z stdout P log content 1
//	2016-10-06T00:17:09.669794203Z stdout F log content 2
//
// The format is from the kubelet's design of the CRI log; further tags may follow
// the first one behind a colon. A line is the text of the partial entries and of
// the one that ends it, and has the time of the first of them. Long lines are cut
// as those of the engine are.
//
// A line of the file that is no entry is a record of its own on stdout, as it
// stands, with the time of the entry before it: nothing is dropped.
//
// It must not be used by two goroutines at once.
type CRI struct {
	assembler
	place func(i int) record.Place
	clock clock
	// odd says that what comes up to the next newline belongs to a line of the
	// file that is no entry.
	odd bool
}

// NewCRI returns a decoder that calls emit for every line. An error of emit ends
// the decoding and is returned.
func NewCRI(opts PlainOptions, emit func(*Line) error) *CRI {
	d := &CRI{place: opts.Place}
	d.maxLine, d.emit = opts.MaxLine, emit
	return d
}

// IsCRI reports whether the first line of p is an entry of a CRI log. It is known
// only when p has a whole line.
func IsCRI(p []byte) (is, known bool) {
	line, _, whole := bytes.Cut(p, []byte("\n"))
	if !whole {
		return false, len(p) > maxCRIHead && !looksLikeTime(p)
	}
	var d CRI
	_, ok := d.parse(line)
	return ok, true
}

// maxCRIHead is more than what stands before an entry's text.
const maxCRIHead = 128

func looksLikeTime(p []byte) bool { return p[4] == '-' && p[7] == '-' && p[10] == 'T' }

// maxCRIEntry bounds one entry, in bytes. Runtimes write pieces of 16 KiB.
const maxCRIEntry = 48 << 10

// Start sets how many lines of s come before what is decoded next, and the time
// of the last of them.
func (d *CRI) Start(s record.Stream, seq uint64, time int64) {
	d.assembler.Start(s, seq)
	d.lastEntry = max(d.lastEntry, time)
}

// Bound returns the place before which all entries belong to lines that were
// emitted: here, the place behind what was decoded, or an earlier one while a
// line has no end.
func (d *CRI) Bound(here record.Place) record.Place {
	for s := range d.streams {
		if as := &d.streams[s]; as.open {
			return as.begin // that of both, if both are open
		}
	}
	here.Seqs = d.seqsNow()
	return here
}

func (d *CRI) seqsNow() (seqs [record.NumStreams]uint64) {
	for s := range d.streams {
		seqs[s] = d.streams[s].seq
	}
	return seqs
}

// Decode decodes the entries at the start of p, and returns how much of p it has
// used. What is behind it is to be given again, with what follows it. The time is
// that of the first line when it is no entry, in Unix nanoseconds.
func (d *CRI) Decode(p []byte, at int64) (int, error) {
	done := 0
	for {
		length := bytes.IndexByte(p[done:], '\n')
		if length < 0 {
			break
		}
		start := done
		done += length + 1
		if err := d.fileLine(p[start:done], start, at); err != nil {
			return done, err
		}
	}
	if rest := p[done:]; len(rest) >= maxCRIEntry || d.odd && len(rest) > 0 {
		err := d.oddPiece(rest, done, at)
		return len(p), err
	}
	return done, nil
}

// End decodes p as Decode does, and what is left of it as an entry that was cut
// off. Open lines remain: their ends may be in the next file.
func (d *CRI) End(p []byte, at int64) error {
	n, err := d.Decode(p, at)
	if err != nil || n == len(p) && !d.odd {
		return err
	}
	if n < len(p) {
		if e, ok := d.parse(p[n:]); ok && !d.odd {
			if err := d.take(e, n); err != nil || e.partial {
				return err
			}
			return d.unterminated(e.stream)
		}
		if err := d.oddPiece(p[n:], n, at); err != nil {
			return err
		}
	}
	d.odd = false
	return d.unterminated(record.Stdout)
}

// fileLine takes a line of the file, with its newline, at index i of what is
// decoded.
func (d *CRI) fileLine(line []byte, i int, at int64) error {
	if !d.odd {
		if e, ok := d.parse(line[:len(line)-1]); ok {
			if !e.partial {
				e.text = line[len(line)-1-len(e.text):] // with the newline
			}
			return d.take(e, i)
		}
	}
	if err := d.oddPiece(line, i, at); err != nil {
		return err
	}
	d.odd = false
	return nil
}

// oddPiece takes a part of what is no entry.
func (d *CRI) oddPiece(text []byte, i int, at int64) error {
	if d.lastEntry != 0 {
		at = d.lastEntry
	}
	if !d.odd && d.streams[record.Stdout].open {
		if err := d.unterminated(record.Stdout); err != nil {
			return err
		}
	}
	d.odd = true
	return d.take(criEntry{stream: record.Stdout, time: at, text: text}, i)
}

// take takes an entry at index i of what is decoded.
func (d *CRI) take(e criEntry, i int) error {
	as := &d.streams[e.stream]
	if as.open {
		e.time = as.time // a line has the time of its first entry
	} else if n := len(e.text); n == 0 || e.text[n-1] != '\n' {
		d.opens(as, i)
	}
	return d.piece(e.stream, e.time, e.text)
}

// opens notes where a line begins. While the other stream has an open line that
// is where that one began, since to begin here would give its rest as a line.
func (d *CRI) opens(as *assembly, i int) {
	for s := range d.streams {
		if other := &d.streams[s]; other.open {
			as.begin = other.begin
			return
		}
	}
	as.begin = d.place(i)
	as.begin.Seqs = d.seqsNow()
}

// criEntry is what an entry holds.
type criEntry struct {
	stream  record.Stream
	time    int64
	partial bool
	text    []byte
}

// parse parses a line of the file without its newline. It reports false for one
// that is no entry.
func (d *CRI) parse(line []byte) (criEntry, bool) {
	space := bytes.IndexByte(line[:min(len(line), maxCRIHead)], ' ')
	if space < 0 {
		return criEntry{}, false
	}
	at, ok := d.clock.parse(line[:space])
	if !ok {
		var err error
		if space < len("2006-01-02T15:04:05Z") {
			return criEntry{}, false
		}
		if at, err = parseTime(line[:space]); err != nil {
			return criEntry{}, false
		}
	}
	e := criEntry{time: at}
	rest := line[space+1:]
	const streamSize = len("stdout ")
	if len(rest) < streamSize {
		return criEntry{}, false
	}
	switch string(rest[:streamSize]) {
	case "stdout ":
	case "stderr ":
		e.stream = record.Stderr
	default:
		return criEntry{}, false
	}
	rest = rest[streamSize:]
	tags, text, found := bytes.Cut(rest, []byte(" "))
	if !found {
		text = rest[len(rest):] // an entry of an empty line may end here
	}
	first, _, _ := bytes.Cut(tags, []byte(":"))
	switch string(first) {
	case "P":
		e.partial = true
	case "F":
	default:
		return criEntry{}, false
	}
	e.text = text
	return e, true
}
