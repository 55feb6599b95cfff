package loki

import (
	"strconv"

	"log_capturer/internal/jsondoc"
	"log_capturer/internal/record"
)

// The JSON form of a push:
//
//	{"streams":[{"stream":{"label":"value"},"values":[["<ns>","<line>",{"name":"value"}]]}]}

func appendJSONPush(dst []byte, runs []run, how entries) []byte {
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
		dst = appendJSONRun(dst, r, how)
	}
	if len(runs) > 0 {
		dst = append(dst, `]}`...)
	}
	return append(dst, `]}`...)
}

func appendJSONRun(dst []byte, r *run, how entries) []byte {
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
		dst = appendJSONEntry(dst, rec, batch.Line(rec), r.fixed[rec.Stream].metadata, batch.Derivation(rec), how)
	}
	return dst
}

// appendJSONEntry appends one value.
func appendJSONEntry(dst []byte, rec *record.Record, line, metadata []byte, d *record.Derivation, how entries) []byte {
	dst = append(dst, '[', '"')
	dst = strconv.AppendInt(dst, sentTime(rec), 10)
	dst = append(dst, '"', ',')
	dst, valid := jsondoc.AppendString(dst, line)
	marked := rec.Flags != 0 || rec.Ordinal > 1 || !valid || d != nil
	if how.omitMetadata || (len(metadata) == 0 && !marked) {
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
	if d != nil {
		for name, value := range derivedMetadata(d, how.recordLabels) {
			dst, _ = jsondoc.AppendString(appendName(dst, name), []byte(value))
		}
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
		dst, _ = jsondoc.AppendString(dst, []byte(p.name))
		dst = append(dst, ':')
		dst, _ = jsondoc.AppendString(dst, []byte(p.value))
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
