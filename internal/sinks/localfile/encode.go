package localfile

import (
	"encoding/base64"
	"maps"
	"slices"
	"unicode/utf8"

	"log_capturer/internal/jsondoc"
	"log_capturer/internal/record"
)

// encoder appends records to a buffer, one line each. It allocates nothing.
// The zero encoder is ready, and belongs to one goroutine.
type encoder struct {
	format Format
	clock  jsondoc.Clock
}

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
	dst = e.clock.Append(dst, r.Time)
	if r.Stream == record.Stderr {
		dst = append(dst, `","stream":"stderr",`...)
	} else {
		dst = append(dst, `","stream":"stdout",`...)
	}
	if utf8.Valid(line) {
		dst = append(dst, `"line":"`...)
		dst = jsondoc.AppendEscaped(dst, line)
	} else {
		dst = append(dst, `"line_base64":"`...)
		dst = base64.StdEncoding.AppendEncode(dst, line)
	}
	dst = append(dst, '"')
	dst = jsondoc.AppendMarks(dst, r.Flags)
	return append(dst, fields...)
}

// sourceFields returns the end of every JSON line of a source, from the comma
// after the line to the newline. What says nothing of the source is left out.
func sourceFields(src *record.Source) []byte {
	var dst []byte
	field := func(name, value string) {
		dst = append(dst, `,"`...)
		dst = append(dst, name...)
		dst = append(dst, `":"`...)
		dst = jsondoc.AppendEscaped(dst, []byte(validText(value)))
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
		dst = jsondoc.AppendEscaped(dst, []byte(validText(name)))
		dst = append(dst, `":"`...)
		dst = jsondoc.AppendEscaped(dst, []byte(validText(labels[name])))
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
