// Package template renders short texts that depend on a record's source:
// file paths, label values, tenants.
//
// A template is compiled once and rendered often. It is text with placeholders
// in braces, "{compose_project}/{container_name}.log"; a brace that is meant as
// such is written twice. Compiling finds every mistake, so that rendering has
// no errors. The package does not know what the result is used for: escaping
// the values is left to the caller, by AppendEscaped.
package template

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"log_capturer/internal/record"
	"log_capturer/internal/spelling"
)

// field is what a placeholder stands for.
type field uint8

const (
	literal field = iota
	sourceName
	containerName
	containerID
	containerShortID
	image
	composeProject
	composeService
	filePath
	fileName
	namespace
	pod
	podUID
	stream
	host
	date
	hour
	label
)

// placeholders are the valid names, in the order in which documents list them.
var placeholders = []struct {
	name  string
	field field
}{
	{"source", sourceName},
	{"container_name", containerName},
	{"container_id", containerID},
	{"container_short_id", containerShortID},
	{"image", image},
	{"compose_project", composeProject},
	{"compose_service", composeService},
	{"file_path", filePath},
	{"file_name", fileName},
	{"namespace", namespace},
	{"pod", pod},
	{"pod_uid", podUID},
	{"stream", stream},
	{"host", host},
	{"date", date},
	{"hour", hour},
}

// shortIDLength is the number of digits of {container_short_id}, as in the
// engine's own lists.
const shortIDLength = 12

// labelPrefix begins the placeholder of a label: {label.<name>}.
const labelPrefix = "label."

// Placeholders returns the names of all valid placeholders, without braces.
// Besides them there is label.<name> for the label of that name; where there is
// none it is empty, as is any of the others that a source does not have.
//
//	source              the container's name, or the path of the file
//	container_name      the container's name
//	container_id        its full id
//	container_short_id  the first 12 digits of its id
//	image               the image reference that it was made from
//	compose_project     its Compose project; empty without Compose
//	compose_service     its Compose service; empty without Compose
//	file_path           the path of the file
//	file_name           the last part of that path
//	namespace           the namespace of the pod
//	pod                 the name of the pod
//	pod_uid             the uid of the pod
//	stream              stdout or stderr
//	host                the name of the machine
//	date                the record's day in UTC, as 2006-01-02
//	hour                the record's hour in UTC, as 15
func Placeholders() []string {
	names := make([]string, len(placeholders))
	for i, p := range placeholders {
		names[i] = p.name
	}
	return names
}

// Template is a compiled template. It is immutable, and may be used from any
// number of goroutines. The zero Template renders nothing.
type Template struct {
	text  string
	parts []part
	names []string
}

// part is a literal text, or a field. The text of a label is its name.
type part struct {
	field field
	text  string
}

// Compile returns the template of text. Besides the Placeholders, it may use
// the names of constants, whose values are put in as they are. An unknown
// placeholder, a brace without its partner, and a constant with the name of a
// placeholder are errors.
func Compile(text string, constants map[string]string) (*Template, error) {
	for _, p := range placeholders {
		if _, ok := constants[p.name]; ok {
			return nil, fmt.Errorf("compile template %q: the constant {%s} hides a placeholder", text, p.name)
		}
	}
	t := &Template{text: text}
	for rest := text; rest != ""; {
		i := strings.IndexAny(rest, "{}")
		if i < 0 {
			t.addLiteral(rest)
			break
		}
		t.addLiteral(rest[:i])
		brace := rest[i]
		rest = rest[i+1:]
		if rest != "" && rest[0] == brace {
			t.addLiteral(rest[:1])
			rest = rest[1:]
			continue
		}
		if brace == '}' {
			return nil, fmt.Errorf("compile template %q: '}' at byte %d closes nothing (write '}}' for a brace)",
				text, len(text)-len(rest))
		}
		end := strings.IndexAny(rest, "{}")
		if end < 0 || rest[end] == '{' {
			return nil, fmt.Errorf("compile template %q: '{' at byte %d is not closed (write '{{' for a brace)",
				text, len(text)-len(rest))
		}
		if err := t.addPlaceholder(rest[:end], constants); err != nil {
			return nil, fmt.Errorf("compile template %q: %w", text, err)
		}
		rest = rest[end+1:]
	}
	return t, nil
}

// addLiteral adds text, joined to a literal before it.
func (t *Template) addLiteral(text string) {
	if text == "" {
		return
	}
	if n := len(t.parts); n > 0 && t.parts[n-1].field == literal {
		t.parts[n-1].text += text
		return
	}
	t.parts = append(t.parts, part{text: text})
}

func (t *Template) addPlaceholder(name string, constants map[string]string) error {
	if value, ok := constants[name]; ok {
		t.addLiteral(value)
		return nil
	}
	if key, ok := strings.CutPrefix(name, labelPrefix); ok && key != "" {
		t.add(part{label, key}, name)
		return nil
	}
	for _, p := range placeholders {
		if p.name == name {
			t.add(part{field: p.field}, name)
			return nil
		}
	}
	valid := append(Placeholders(), slices.Sorted(maps.Keys(constants))...)
	if meant, ok := nearest(name, valid); ok {
		return fmt.Errorf("unknown placeholder {%s}; did you mean {%s}?", name, meant)
	}
	return fmt.Errorf("unknown placeholder {%s}; valid are {%s}", name, strings.Join(valid, "}, {"))
}

// nearest returns the valid name that was most likely meant by name: one that
// it is a whole word of (service, name, id), or else one that is spelt nearly so.
func nearest(name string, valid []string) (string, bool) {
	for _, v := range valid {
		if slices.Contains(strings.Split(v, "_"), name) {
			return v, true
		}
	}
	return spelling.Nearest(name, valid)
}

func (t *Template) add(p part, name string) {
	t.parts = append(t.parts, p)
	if !slices.Contains(t.names, name) {
		t.names = append(t.names, name)
	}
}

// String returns the text that the template was compiled from.
func (t *Template) String() string { return t.text }

// Fixed returns what is rendered where it is the same for every record.
func (t *Template) Fixed() (text string, fixed bool) {
	if len(t.names) > 0 {
		return "", false
	}
	return t.Prefix(), true
}

// Prefix returns the text before the first placeholder, the same for every
// record. Braces and constants in it are resolved.
func (t *Template) Prefix() string {
	if len(t.parts) > 0 && t.parts[0].field == literal {
		return t.parts[0].text
	}
	return ""
}

// Names returns the placeholders that the template uses, each once, in the
// order of their first use. Constants are not among them.
func (t *Template) Names() []string { return slices.Clone(t.names) }

// UsesStream reports whether the result depends on the record's stream.
func (t *Template) UsesStream() bool { return t.uses(stream) }

// UsesTime reports whether the result depends on the record's time.
func (t *Template) UsesTime() bool { return t.uses(date) || t.uses(hour) }

func (t *Template) uses(f field) bool {
	return slices.ContainsFunc(t.parts, func(p part) bool { return p.field == f })
}

// Append appends the text for a record of src to dst. The time is in
// nanoseconds since the Unix epoch; it and the stream matter only where
// UsesTime and UsesStream say so. A value that src does not have is empty.
func (t *Template) Append(dst []byte, src *record.Source, s record.Stream, unixNano int64) []byte {
	for i := range t.parts {
		dst = t.parts[i].append(dst, src, s, unixNano)
	}
	return dst
}

// AppendEscaped is Append with every value of src passed through escape, which
// appends to dst what is to stand for value. Literals, constants, streams and
// times do not pass through it.
func (t *Template) AppendEscaped(dst []byte, src *record.Source, s record.Stream, unixNano int64,
	escape func(dst []byte, value string) []byte) []byte {
	for i := range t.parts {
		p := &t.parts[i]
		if value, ok := p.value(src); ok {
			dst = escape(dst, value)
			continue
		}
		dst = p.append(dst, src, s, unixNano)
	}
	return dst
}

func (p *part) append(dst []byte, src *record.Source, s record.Stream, unixNano int64) []byte {
	switch p.field {
	case literal:
		return append(dst, p.text...)
	case stream:
		return append(dst, s.String()...)
	case date:
		return time.Unix(0, unixNano).UTC().AppendFormat(dst, time.DateOnly)
	case hour:
		h := time.Unix(0, unixNano).UTC().Hour()
		if h < 10 {
			dst = append(dst, '0')
		}
		return strconv.AppendInt(dst, int64(h), 10)
	}
	value, _ := p.value(src)
	return append(dst, value...)
}

// value returns the value of a field that comes from the source, and whether
// the part is one.
func (p *part) value(src *record.Source) (string, bool) {
	switch p.field {
	case sourceName:
		return strings.TrimPrefix(src.Name(), "/"), true
	case filePath:
		return src.FilePath, true
	case fileName:
		return src.FilePath[strings.LastIndexByte(src.FilePath, '/')+1:], true
	case namespace:
		return src.Namespace, true
	case pod:
		return src.Pod, true
	case podUID:
		return src.PodUID, true
	case label:
		return src.Labels[p.text], true
	case containerName:
		return src.ContainerName, true
	case containerID:
		return src.ContainerID, true
	case containerShortID:
		return src.ContainerID[:min(len(src.ContainerID), shortIDLength)], true
	case image:
		return src.Image, true
	case composeProject:
		return src.ComposeProject, true
	case composeService:
		return src.ComposeService, true
	case host:
		return src.Host, true
	}
	return "", false
}
