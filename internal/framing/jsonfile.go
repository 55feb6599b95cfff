package framing

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"math/bits"
	"unicode/utf16"
	"unicode/utf8"

	"log_capturer/internal/record"
)

// MaxJSONEntry bounds one entry of a json-file, in bytes. The engine writes
// pieces of at most 16 KiB, a byte of which takes at most six, and what its
// option attrs adds. More without a newline is no entry.
const MaxJSONEntry = 256 << 10

// JSONFile decodes the json-files of an engine's driver of that name: a JSON
// object in a line for each entry, with the line's text, its stream and its
// time. It joins pieces and cuts long lines as Docker does, and gives the same
// lines of a file as the engine does of the same log.
//
// What is no entry (a torn line, the NULs that a file system leaves where it
// had no time to write) is skipped up to where the next entry begins, and
// counted; nothing behind it is lost.
//
// It must not be used by two goroutines at once.
type JSONFile struct {
	assembler
	opts  JSONFileOptions
	clock clock
	room  []byte
	spare []byte
	// attrs is the last value of attrs that was found to be valid: most
	// containers have the same in all entries.
	attrs []byte
	lost  uint64
}

// JSONFileOptions describe how a json-file is decoded.
type JSONFileOptions struct {
	// MaxLine is the length, in bytes, at which longer lines are cut.
	MaxLine int
	// Room, where it is set, returns n bytes for a line to be put into before
	// it is emitted. Bytes of a Line are at its front then, unless the line
	// came in pieces.
	Room func(n int) []byte
	// Place returns the place of the entry at index i of what Decode was given.
	// It is asked for where an entry begins a line that it does not end. Seqs
	// are set by the decoder.
	Place func(i int) record.Place
}

// NewJSONFile returns a decoder that calls emit for every line. An error of emit
// ends the decoding and is returned by Decode or Flush.
func NewJSONFile(opts JSONFileOptions, emit func(*Line) error) *JSONFile {
	d := &JSONFile{opts: opts}
	d.maxLine, d.emit = opts.MaxLine, emit
	if opts.Room == nil {
		d.opts.Room = d.ownRoom
	}
	return d
}

func (d *JSONFile) ownRoom(n int) []byte {
	if cap(d.room) < n {
		d.room = make([]byte, max(n, 2*pieceSize))
	}
	return d.room[:n]
}

// Lost returns the number of bytes that were skipped since they are no entry.
func (d *JSONFile) Lost() uint64 { return d.lost }

// Tear counts n bytes that were not decoded and are not given again: the torn
// entry at the end of a file that has no more.
func (d *JSONFile) Tear(n int) { d.lost += uint64(n) }

// Pending reports whether the stream has a line without its end.
func (d *JSONFile) Pending(s record.Stream) bool { return d.streams[s].open }

// Bound returns the place before which all entries belong to lines that were
// emitted: here, the place behind the last entry, or an earlier one while a line
// has no end.
func (d *JSONFile) Bound(here record.Place) record.Place {
	for s := range d.streams {
		if as := &d.streams[s]; as.open {
			return as.begin // that of both, if both are open
		}
	}
	here.Seqs = d.seqs()
	return here
}

// Decode decodes the whole entries at the start of p and returns their length.
// What is behind it is to be given again, with what follows it. It returns 0
// only while p holds less than MaxJSONEntry bytes.
func (d *JSONFile) Decode(p []byte) (int, error) {
	for i := 0; ; {
		if i < len(p) && p[i] == 0 {
			n := len(p[i:]) - len(bytes.TrimLeft(p[i:], "\x00"))
			d.lost += uint64(n)
			i += n
			continue
		}
		length := bytes.IndexByte(p[i:], '\n')
		if length < 0 {
			if rest := p[i:]; len(rest) >= MaxJSONEntry {
				n := bytes.LastIndex(rest, entryHead)
				if n <= 0 {
					n = len(rest) - len(entryHead) + 1
				}
				d.lost += uint64(n)
				i += n
			}
			return i, nil
		}
		line := p[i : i+length]
		e, ok := d.parse(line)
		if !ok {
			n := d.skip(line)
			d.lost += uint64(n)
			i += n
			continue
		}
		if err := d.entry(i, e); err != nil {
			return i, err
		}
		i += length + 1
	}
}

// entry takes the entry at index i of what is decoded.
func (d *JSONFile) entry(i int, e jsonEntry) error {
	as := &d.streams[e.stream]
	n := len(e.text)
	whole := n > 0 && e.text[n-1] == '\n'
	if whole && !as.open && n <= d.maxLine {
		return d.piece(e.stream, e.time, e.text)
	}
	// Its text is in the room of the next line that is emitted, which it is not
	// itself.
	d.spare = append(d.spare[:0], e.text...)
	e.text = d.spare
	if whole {
		return d.piece(e.stream, e.time, e.text)
	}
	if as.open && as.time != e.time {
		// It is another line that opens here.
		if err := d.unterminated(e.stream); err != nil {
			return err
		}
	}
	if !as.open && d.opts.Place != nil {
		d.opens(as, i)
	}
	return d.piece(e.stream, e.time, e.text)
}

// opens notes where a line begins. While the other stream has an open line that
// is where that one began, since to begin here would give its rest as a line.
func (d *JSONFile) opens(as *assembly, i int) {
	for s := range d.streams {
		if other := &d.streams[s]; other.open {
			as.begin = other.begin
			return
		}
	}
	as.begin = d.opts.Place(i)
	as.begin.Seqs = d.seqs()
}

// skip returns the length of what is no entry at the front of a line that is
// none, its newline included.
func (d *JSONFile) skip(line []byte) int {
	// The writer was stopped in an entry and began the next one right behind
	// it. Within an entry these bytes can't be: quotes are escaped there.
	if len(line) > 0 {
		if next := bytes.Index(line[1:], entryHead); next >= 0 {
			return next + 1
		}
	}
	return len(line) + 1
}

// seqs returns how many lines of each stream were emitted.
func (d *JSONFile) seqs() (seqs [record.NumStreams]uint64) {
	for s := range d.streams {
		seqs[s] = d.streams[s].seq
	}
	return seqs
}

// jsonEntry is what an entry holds.
type jsonEntry struct {
	text   []byte
	time   int64
	stream record.Stream
}

// The parts of an entry, as the engine's jsonlog package writes them.
var (
	entryHead  = []byte(`{"log":"`)
	partStdout = `,"stream":"stdout"`
	partStderr = `,"stream":"stderr"`
	partAttrs  = `,"attrs":`
	partTime   = `,"time":"`
	entryEnd   = `"}`
)

// parse parses a line of the file. It reports false for one that is no entry.
func (d *JSONFile) parse(line []byte) (jsonEntry, bool) {
	if len(line) < len(entryHead) || string(line[:len(entryHead)]) != string(entryHead) {
		return d.parseAny(line)
	}
	src := line[len(entryHead):]
	room := d.opts.Room(len(src))
	n, end := unquote(room, src)
	if end < 0 {
		return jsonEntry{}, false
	}
	e := jsonEntry{text: room[:n]}
	rest := src[end+1:]
	switch {
	case len(rest) < len(partStdout):
		return d.parseAny(line)
	case string(rest[:len(partStdout)]) == partStdout:
	case string(rest[:len(partStderr)]) == partStderr:
		e.stream = record.Stderr
	default:
		return d.parseAny(line)
	}
	rest = rest[len(partStdout):]
	if len(rest) > len(partAttrs) && string(rest[:len(partAttrs)]) == partAttrs {
		if rest = d.skipAttrs(rest[len(partAttrs):]); rest == nil {
			return d.parseAny(line)
		}
	}
	if len(rest) < len(partTime)+len(entryEnd) || string(rest[:len(partTime)]) != partTime || string(rest[len(rest)-len(entryEnd):]) != entryEnd {
		return d.parseAny(line)
	}
	at, ok := d.clock.parse(rest[len(partTime) : len(rest)-len(entryEnd)])
	if !ok {
		return d.parseAny(line)
	}
	e.time = at
	return e, true
}

// skipAttrs returns what follows the value of attrs, and nil where there is no
// valid one.
func (d *JSONFile) skipAttrs(rest []byte) []byte {
	if n := len(d.attrs); n > 0 && len(rest) > n && string(rest[:n]) == string(d.attrs) && rest[n] == ',' {
		return rest[n:]
	}
	end := bytes.LastIndex(rest, []byte(partTime))
	if end < 0 || !json.Valid(rest[:end]) {
		return nil
	}
	d.attrs = append(d.attrs[:0], rest[:end]...)
	return rest[end:]
}

// parseAny parses an entry of any form, as those of other writers may be.
func (d *JSONFile) parseAny(line []byte) (jsonEntry, bool) {
	var v struct {
		Log    string `json:"log"`
		Stream string `json:"stream"`
		Time   string `json:"time"`
	}
	if len(line) == 0 || line[0] != '{' || json.Unmarshal(line, &v) != nil {
		return jsonEntry{}, false
	}
	e := jsonEntry{}
	switch v.Stream {
	case "stdout":
	case "stderr":
		e.stream = record.Stderr
	default:
		return jsonEntry{}, false
	}
	var err error
	if e.time, err = parseTime([]byte(v.Time)); err != nil {
		return jsonEntry{}, false
	}
	e.text = []byte(v.Log)
	return e, true
}

// unquote decodes the JSON string whose first byte behind its quote is src[0]
// into dst, which has the length of src. It returns the length of what it wrote
// and the index of the closing quote, -1 where there is none or the string is
// not valid. It leaves bytes that are not UTF-8 as they are.
func unquote(dst, src []byte) (n, end int) {
	const (
		low  = 0x0101010101010101
		high = 0x8080808080808080
	)
	i := 0
	for {
		// Eight bytes at once, up to the first quote, backslash or control
		// character: subtracting one from each byte carries into its highest
		// bit only where it was zero, and at most once wrong behind that.
		if from := src[i:]; len(from) >= 8 {
			to := dst[n:]
			to = to[:len(from)]
			k := 0
			for ; k+8 <= len(from); k += 8 {
				x := binary.LittleEndian.Uint64(from[k:])
				binary.LittleEndian.PutUint64(to[k:], x)
				quote, slash := x^(low*'"'), x^(low*'\\')
				if found := ((quote-low)&^quote | (slash-low)&^slash | (x-low*0x20)&^x) & high; found != 0 {
					k += bits.TrailingZeros64(found) / 8
					break
				}
			}
			i, n = i+k, n+k
		}
		if i >= len(src) {
			return n, -1
		}
		c := src[i]
		switch {
		case c == '\\':
			if i+1 < len(src) {
				if c := escapes[src[i+1]]; c != 0 {
					dst[n] = c
					n, i = n+1, i+2
					continue
				}
			}
			var ok bool
			if n, i, ok = unescape(dst, n, src, i); !ok {
				return n, -1
			}
		case c == '"':
			return n, i
		case c < 0x20:
			return n, -1
		default:
			dst[n] = c
			n, i = n+1, i+1
		}
	}
}

// escapes are the characters that follow a backslash for another one.
var escapes = [256]byte{'"': '"', '\\': '\\', '/': '/', 'b': '\b', 'f': '\f', 'n': '\n', 'r': '\r', 't': '\t'}

// unescape decodes the escape with four digits at src[i] to dst[n], and returns
// where both go on.
func unescape(dst []byte, n int, src []byte, i int) (int, int, bool) {
	r, ok := hex4(src, i)
	if !ok {
		return n, i, false
	}
	i += 6
	if utf16.IsSurrogate(r) {
		if second, ok := hex4(src, i); ok {
			if pair := utf16.DecodeRune(r, second); pair != utf8.RuneError {
				return n + utf8.EncodeRune(dst[n:], pair), i + 6, true
			}
		}
		r = utf8.RuneError
	}
	return n + utf8.EncodeRune(dst[n:], r), i, true
}

// hex4 returns the rune of an escape with four hexadecimal digits at src[i].
func hex4(src []byte, i int) (rune, bool) {
	if i+6 > len(src) || src[i] != '\\' || src[i+1] != 'u' {
		return 0, false
	}
	var r rune
	for _, c := range src[i+2 : i+6] {
		switch {
		case '0' <= c && c <= '9':
			c -= '0'
		case 'a' <= c && c <= 'f':
			c -= 'a' - 10
		case 'A' <= c && c <= 'F':
			c -= 'A' - 10
		default:
			return 0, false
		}
		r = r<<4 | rune(c)
	}
	return r, true
}
