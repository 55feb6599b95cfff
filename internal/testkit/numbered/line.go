// Package numbered is the language between the test writer, which runs inside
// containers and writes log lines, and the tests, which count them.
//
// It owns the form of a numbered line, whose number and checksum say which line
// it is and whether it is whole, and the count file, by which a test learns how
// many lines were written without asking the engine. What is missing or
// repeated is decided by package ledger.
package numbered

import (
	"bytes"
	"errors"
	"fmt"
	"hash/crc32"
	"strconv"

	"log_capturer/internal/record"
)

// Alphabet chooses what payloads are made of.
type Alphabet uint8

const (
	// ASCII payloads are letters and digits: no output format has to escape
	// them.
	ASCII Alphabet = iota
	// Mixed payloads hold quotes, backslashes, control bytes, ANSI colours and
	// runes of several bytes. Use it for lines below 16 KiB only: the json-file
	// driver replaces a rune that its pieces cut in two.
	Mixed
)

// payloads are cyclic texts, one for each Alphabet. A payload is a run of such
// a text that starts at a place of the line's number.
var payloads = [...][]byte{
	ASCII: bytes.Repeat([]byte("the0quick1brown2fox3jumps4over5the6lazy7dog8SPHINX9of0black1quartz2judge3my4vow"), 32),
	Mixed: bytes.Repeat([]byte("\x1b[31mred\x1b[0m \"quoted\" back\\slash tab\tnul\x00 bell\a <a&b> größe 日本語 🎉 \u2028 'x' {\"k\":[1]} "), 32),
}

// castagnoli is the table of the lines' checksum.
var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Line is a parsed numbered line.
type Line struct {
	// Run names what numbered the line: numbers are unique within a run and a
	// stream. It aliases the parsed bytes.
	Run []byte
	// Stream is the stream that the line was written to.
	Stream record.Stream
	// N is the line's number, from 1. In an end line it is the number of
	// lines that were written before it.
	N uint64
	// End marks the line that a writer ends with when it was told to stop.
	End bool
}

// Append appends the numbered line n of a run and stream to dst, without a
// newline. It is size bytes long, or longer where its head needs more: the run,
// the stream ("out" or "err"), the number and the checksum of all the rest,
// with a space after each, and the payload. A run has no spaces.
func Append(dst []byte, run string, stream record.Stream, n uint64, size int, alphabet Alphabet) []byte {
	start := len(dst)
	dst = append(dst, run...)
	dst = append(dst, ' ')
	dst = append(dst, streamName(stream)...)
	dst = append(dst, ' ')
	dst = strconv.AppendUint(dst, n, 10)
	dst = append(dst, ' ')
	sum := len(dst)
	dst = append(dst, "00000000 "...)
	payload := len(dst)
	text := payloads[alphabet]
	from := int(n*31) % len(text)
	for left := size - (payload - start); left > 0; {
		part := text[from:min(from+left, len(text))]
		dst = append(dst, part...)
		left -= len(part)
		from = 0
	}
	if alphabet == Mixed {
		trimRune(dst[payload:])
	}
	const digits = "0123456789abcdef"
	crc := crc32.Update(crc32.Checksum(dst[start:sum], castagnoli), castagnoli, dst[payload:])
	for i := range 8 {
		dst[sum+i] = digits[crc>>(28-4*i)&15]
	}
	return dst
}

// AppendEnd appends the line that says that n lines were written.
func AppendEnd(dst []byte, run string, stream record.Stream, n uint64) []byte {
	return fmt.Appendf(dst, "%s %s end %d", run, streamName(stream), n)
}

// trimRune replaces what is no whole rune at both ends of a payload.
func trimRune(p []byte) {
	for i := 0; i < len(p) && p[i]&0xc0 == 0x80; i++ {
		p[i] = '.'
	}
	for i := len(p) - 1; i >= 0 && p[i] >= 0x80; i-- {
		p[i] = '.'
	}
}

// ErrForm is the error of Parse for a line that is no numbered line.
var ErrForm = errors.New("not a numbered line")

// ErrChecksum is the error of Parse for a numbered line whose checksum does not
// match: the returned Line is what its head claims.
var ErrChecksum = errors.New("checksum does not match")

// Parse takes a line without its newline apart and verifies its checksum. It
// does not allocate. The error is ErrForm or ErrChecksum.
func Parse(line []byte) (Line, error) {
	var l Line
	run, rest, ok := bytes.Cut(line, space)
	name, rest, ok2 := bytes.Cut(rest, space)
	if !ok || !ok2 || len(run) == 0 {
		return l, ErrForm
	}
	switch string(name) {
	case "out":
		l.Stream = record.Stdout
	case "err":
		l.Stream = record.Stderr
	default:
		return l, ErrForm
	}
	l.Run = run
	number, rest, ok := bytes.Cut(rest, space)
	if !ok {
		return l, ErrForm
	}
	if string(number) == "end" {
		l.End = true
		l.N, ok = parseUint(rest)
		if !ok {
			return l, ErrForm
		}
		return l, nil
	}
	if l.N, ok = parseUint(number); !ok {
		return l, ErrForm
	}
	sum, payload, ok := bytes.Cut(rest, space)
	if !ok || len(sum) != 8 {
		return l, ErrChecksum
	}
	head := line[:len(line)-len(rest)]
	crc := crc32.Update(crc32.Checksum(head, castagnoli), castagnoli, payload)
	want, ok := parseHex(sum)
	if !ok || want != crc {
		return l, ErrChecksum
	}
	return l, nil
}

var space = []byte{' '}

// streamName returns the stream's name in a numbered line.
func streamName(s record.Stream) string {
	if s == record.Stderr {
		return "err"
	}
	return "out"
}

func parseUint(b []byte) (n uint64, ok bool) {
	if len(b) == 0 || len(b) > 19 {
		return 0, false
	}
	for _, c := range b {
		if c < '0' || c > '9' {
			return 0, false
		}
		n = n*10 + uint64(c-'0')
	}
	return n, true
}

func parseHex(b []byte) (n uint32, ok bool) {
	for _, c := range b {
		switch {
		case '0' <= c && c <= '9':
			n = n<<4 | uint32(c-'0')
		case 'a' <= c && c <= 'f':
			n = n<<4 | uint32(c-'a'+10)
		default:
			return 0, false
		}
	}
	return n, true
}
