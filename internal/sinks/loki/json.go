package loki

import (
	"strconv"
	"unicode/utf8"

	"log_capturer/internal/record"
)

// The JSON form of a push:
//
//	{"streams":[{"stream":{"label":"value"},"values":[["<ns>","<line>",{"name":"value"}]]}]}

func appendJSONPush(dst []byte, runs []run, omitMetadata bool) []byte {
	dst = append(dst, `{"streams":[`...)
	for i := range runs {
		r := &runs[i]
		if i == 0 || runs[i-1].number != r.number {
			if i > 0 {
				dst = append(dst, `]},`...)
			}
			dst = append(dst, `{"stream":{`...)
			dst = append(dst, r.labels()...)
			dst = append(dst, `},"values":[`...)
		}
		dst = appendJSONRun(dst, r, omitMetadata)
	}
	return append(dst, `]}]}`...)
}

func appendJSONRun(dst []byte, r *run, omitMetadata bool) []byte {
	batch := r.part.Batch
	records := batch.Records[r.part.From:r.part.To]
	for i := range records {
		rec := &records[i]
		if !r.streams.Has(rec.Stream) {
			continue
		}
		if dst[len(dst)-1] != '[' {
			dst = append(dst, ',')
		}
		dst = appendJSONEntry(dst, rec, batch.Line(rec), r.fixed[rec.Stream].metadata, omitMetadata)
	}
	return dst
}

// appendJSONEntry appends one value.
func appendJSONEntry(dst []byte, rec *record.Record, line, metadata []byte, omitMetadata bool) []byte {
	dst = append(dst, '[', '"')
	dst = strconv.AppendInt(dst, sentTime(rec), 10)
	dst = append(dst, '"', ',')
	dst, valid := appendJSONString(dst, line)
	marked := rec.Flags != 0 || rec.Ordinal > 1 || !valid
	if omitMetadata || (len(metadata) == 0 && !marked) {
		return append(dst, ']')
	}
	dst = append(dst, ',', '{')
	dst = append(dst, metadata...)
	if rec.Ordinal > 1 {
		dst = appendName(dst, metaOrdinal)
		dst = append(dst, '"')
		dst = strconv.AppendUint(dst, uint64(rec.Ordinal), 10)
		dst = append(dst, '"')
	}
	if rec.Flags&record.Cut != 0 {
		dst = append(appendName(dst, metaCut), `"true"`...)
	}
	if rec.Flags&record.Continued != 0 {
		dst = append(appendName(dst, metaContinued), `"true"`...)
	}
	if rec.Flags&record.Unterminated != 0 {
		dst = append(appendName(dst, metaUnterminated), `"true"`...)
	}
	if !valid {
		dst = append(appendName(dst, metaInvalidUTF8), `"replaced"`...)
	}
	return append(dst, '}', ']')
}

// appendMembers appends pairs as an object's members, without its braces.
func appendMembers(dst []byte, pairs []pair) []byte {
	for i, p := range pairs {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst, _ = appendJSONString(dst, p.name)
		dst = append(dst, ':')
		dst, _ = appendJSONString(dst, p.value)
	}
	return dst
}

// appendName appends a member's name, which needs no escaping.
func appendName(dst []byte, name string) []byte {
	if dst[len(dst)-1] != '{' {
		dst = append(dst, ',')
	}
	dst = append(dst, '"')
	dst = append(dst, name...)
	return append(dst, '"', ':')
}

const hexDigits = "0123456789abcdef"

// appendJSONString appends s as a JSON string, with U+FFFD for each byte that is
// no UTF-8, and reports whether there was none.
func appendJSONString[S string | []byte](dst []byte, s S) (_ []byte, valid bool) {
	valid = true
	dst = append(dst, '"')
	start := 0
	for i := 0; i < len(s); {
		c := s[i]
		if c < utf8.RuneSelf {
			if c >= ' ' && c != '"' && c != '\\' {
				i++
				continue
			}
			dst = append(dst, s[start:i]...)
			switch c {
			case '"', '\\':
				dst = append(dst, '\\', c)
			case '\n':
				dst = append(dst, '\\', 'n')
			case '\r':
				dst = append(dst, '\\', 'r')
			case '\t':
				dst = append(dst, '\\', 't')
			default:
				dst = append(dst, '\\', 'u', '0', '0', hexDigits[c>>4], hexDigits[c&15])
			}
			i++
			start = i
			continue
		}
		r, size := utf8.DecodeRuneInString(string(s[i:min(i+utf8.UTFMax, len(s))]))
		if r == utf8.RuneError && size == 1 {
			dst = append(dst, s[start:i]...)
			dst = utf8.AppendRune(dst, utf8.RuneError)
			valid = false
			i++
			start = i
			continue
		}
		i += size
	}
	dst = append(dst, s[start:]...)
	return append(dst, '"'), valid
}
