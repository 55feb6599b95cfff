package localfile

import (
	"encoding/base64"
	"encoding/binary"
	"maps"
	"math/bits"
	"slices"
	"time"
	"unicode/utf8"

	"log_capturer/internal/record"
)

// encoder appends records to a buffer, one line each. It allocates nothing.
// The zero encoder is ready, and belongs to one goroutine.
type encoder struct {
	format Format

	// The text of the second of the last record, most often that of the next.
	second     int64
	secondText [len(secondLayout)]byte
}

const secondLayout = "2006-01-02T15:04:05"

// append appends a record of a source whose sourceFields are fields.
//
// The text format is the line's bytes, whatever they are, and a newline.
//
// The JSON format is one object with time (UTC, RFC 3339 with nine digits
// after the second), stream and line, then "cut", "continued" and
// "unterminated" where true, then the source's fields. A line that is not
// valid UTF-8 can't be a JSON string: it stands as "line_base64" (RFC 4648,
// padded), exact to the byte, in place of "line".
func (e *encoder) append(dst []byte, r *record.Record, line, fields []byte) []byte {
	if e.format == FormatText {
		return append(append(dst, line...), '\n')
	}
	dst = append(dst, `{"time":"`...)
	dst = e.appendTime(dst, r.Time)
	if r.Stream == record.Stderr {
		dst = append(dst, `","stream":"stderr",`...)
	} else {
		dst = append(dst, `","stream":"stdout",`...)
	}
	if utf8.Valid(line) {
		dst = append(dst, `"line":"`...)
		dst = appendEscaped(dst, line)
	} else {
		dst = append(dst, `"line_base64":"`...)
		dst = base64.StdEncoding.AppendEncode(dst, line)
	}
	dst = append(dst, '"')
	if r.Flags != 0 {
		dst = appendFlags(dst, r.Flags)
	}
	return append(dst, fields...)
}

func appendFlags(dst []byte, flags record.Flags) []byte {
	if flags&record.Cut != 0 {
		dst = append(dst, `,"cut":true`...)
	}
	if flags&record.Continued != 0 {
		dst = append(dst, `,"continued":true`...)
	}
	if flags&record.Unterminated != 0 {
		dst = append(dst, `,"unterminated":true`...)
	}
	return dst
}

// appendTime appends a time in Unix nanoseconds.
func (e *encoder) appendTime(dst []byte, unixNano int64) []byte {
	second, nano := unixNano/1e9, unixNano%1e9
	if nano < 0 {
		second, nano = second-1, nano+1e9
	}
	if second != e.second || e.secondText[0] == 0 {
		time.Unix(second, 0).UTC().AppendFormat(e.secondText[:0], secondLayout)
		e.second = second
	}
	dst = append(dst, e.secondText[:]...)
	dst = append(dst, ".000000000Z"...)
	for i := len(dst) - 2; nano > 0; i-- {
		dst[i] += byte(nano % 10)
		nano /= 10
	}
	return dst
}

// sourceFields returns the end of every JSON line of a source, from the comma
// after the line to the newline. What says nothing of the source is left out.
func sourceFields(src *record.Source) []byte {
	var dst []byte
	field := func(name, value string) {
		dst = append(dst, `,"`...)
		dst = append(dst, name...)
		dst = append(dst, `":"`...)
		dst = appendEscaped(dst, []byte(validText(value)))
		dst = append(dst, '"')
	}
	given := func(name, value string) {
		if value != "" {
			field(name, value)
		}
	}
	if src.FilePath == "" {
		field("container_id", src.ContainerID)
		field("container_name", src.ContainerName)
		field("image", src.Image)
	} else {
		field("file_path", src.FilePath)
		given("namespace", src.Namespace)
		given("pod", src.Pod)
		given("pod_uid", src.PodUID)
		given("container_name", src.ContainerName)
		given("container_id", src.ContainerID)
		dst = appendLabels(dst, src.Labels)
	}
	given("compose_project", src.ComposeProject)
	given("compose_service", src.ComposeService)
	field("host", src.Host)
	return append(dst, '}', '\n')
}

// appendLabels appends the labels of a file as an object, where there are any.
func appendLabels(dst []byte, labels map[string]string) []byte {
	if len(labels) == 0 {
		return dst
	}
	dst = append(dst, `,"labels":{`...)
	for i, name := range slices.Sorted(maps.Keys(labels)) {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = append(dst, '"')
		dst = appendEscaped(dst, []byte(validText(name)))
		dst = append(dst, `":"`...)
		dst = appendEscaped(dst, []byte(validText(labels[name])))
		dst = append(dst, '"')
	}
	return append(dst, '}')
}

// validText returns value with the replacement character for what is not
// UTF-8. The engine's names are UTF-8, so nothing is lost in practice.
func validText(value string) string {
	if utf8.ValidString(value) {
		return value
	}
	return string([]rune(value))
}

// appendEscaped appends text, which is valid UTF-8, as the inside of a JSON
// string.
func appendEscaped(dst, text []byte) []byte {
	for {
		n := plainLength(text)
		dst = append(dst, text[:n]...)
		if n == len(text) {
			return dst
		}
		dst = appendEscapedByte(dst, text[n])
		text = text[n+1:]
	}
}

func appendEscapedByte(dst []byte, c byte) []byte {
	const digits = "0123456789abcdef"
	switch c {
	case '"', '\\':
		return append(dst, '\\', c)
	case '\n':
		return append(dst, '\\', 'n')
	case '\r':
		return append(dst, '\\', 'r')
	case '\t':
		return append(dst, '\\', 't')
	}
	return append(dst, '\\', 'u', '0', '0', digits[c>>4], digits[c&15])
}

// plainLength returns how many bytes at the front of text stand for themselves
// in a JSON string. It looks at eight of them at a time.
func plainLength(text []byte) int {
	const ones, highs = 0x0101010101010101, 0x8080808080808080
	n := 0
	for ; len(text)-n >= 8; n += 8 {
		x := binary.LittleEndian.Uint64(text[n:])
		quote, backslash := x^ones*'"', x^ones*'\\'
		// A byte's high bit is set where the byte is below its bound: 0x20, or
		// 1 for those that are zero where the text has the character. A borrow
		// can set it wrongly only above a byte where it is set rightly, so the
		// lowest is right.
		special := ((x-ones*0x20)&^x | (quote-ones)&^quote | (backslash-ones)&^backslash) & highs
		if special != 0 {
			return n + bits.TrailingZeros64(special)/8
		}
	}
	for n < len(text) {
		if c := text[n]; c < 0x20 || c == '"' || c == '\\' {
			break
		}
		n++
	}
	return n
}
