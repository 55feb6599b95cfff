package loki

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"log_capturer/internal/record"
	"log_capturer/internal/template"
)

// Names of the structured metadata that the sink itself sets.
const (
	metaStream       = "stream"
	metaOrdinal      = "ordinal"
	metaCut          = "cut"
	metaContinued    = "continued"
	metaUnterminated = "unterminated"
	metaInvalidUTF8  = "invalid_utf8"
)

var reservedMetadata = []string{metaOrdinal, metaCut, metaContinued, metaUnterminated, metaInvalidUTF8}

// fallbackLabels are used for a source of which every label is empty: Loki
// refuses a stream without labels.
var fallbackLabels = []pair{{"job", "log_capturer"}}

// maxLabelValueBytes is Loki's default max_label_value_length. A longer value
// is cut, since Loki would refuse all records of its source.
const maxLabelValueBytes = 2048

// pair is a label, or an item of structured metadata.
type pair struct{ name, value string }

// fixed is what all records of one stream of a source have in common, encoded
// once. It is immutable.
type fixed struct {
	// tenant is the value of X-Scope-OrgID, empty for none.
	tenant string
	// stream identifies the Loki stream within the tenant: its labels in the
	// canonical form.
	stream string
	// group identifies the Loki stream and the tenant.
	group string
	// labels is the encoded stream: in protobuf the field StreamAdapter.labels,
	// in JSON the members of the object.
	labels []byte
	// metadata is the encoded structured metadata: in protobuf the fields
	// EntryAdapter.structuredMetadata, in JSON the members of the object.
	metadata []byte
	// pairs are the labels, kept where records have labels of their own.
	pairs []pair
}

// shape makes fixed parts. It is immutable.
type shape struct {
	encoding     Encoding
	labels       []namedTemplate
	metadata     []namedTemplate
	tenant       *template.Template
	recordLabels []string
	addStream    bool
	omitMetadata bool
}

type namedTemplate struct {
	name string
	tmpl *template.Template
}

func newShape(o Options) (*shape, error) {
	s := &shape{encoding: o.Encoding, omitMetadata: o.OmitMetadata}
	if len(o.Labels)+len(o.RecordLabels) == 0 {
		return nil, errors.New("labels is empty: a Loki stream needs at least one label")
	}
	var err error
	if s.labels, err = compileAll("labels", o.Labels); err != nil {
		return nil, err
	}
	if o.OmitMetadata && len(o.StructuredMetadata) > 0 {
		return nil, errors.New("structured_metadata is set, and omitted as well: keep one")
	}
	if s.metadata, err = compileAll("structured_metadata", o.StructuredMetadata); err != nil {
		return nil, err
	}
	usesStream := false
	for _, l := range s.labels {
		usesStream = usesStream || l.tmpl.UsesStream()
		for _, name := range l.tmpl.Names() {
			if name == "container_id" || name == "container_short_id" {
				o.Logger.Warn("label_holds_container_id", "hint", "it makes a new Loki stream of every container; structured metadata is the better place",
					"sink", o.Name, "label", l.name)
			}
		}
	}
	for _, m := range s.metadata {
		if _, ok := o.Labels[m.name]; ok {
			return nil, fmt.Errorf("structured_metadata %q has the name of a label: rename one", m.name)
		}
		if slices.Contains(reservedMetadata, m.name) {
			return nil, fmt.Errorf("structured_metadata %q is set by the sink itself: rename it", m.name)
		}
		usesStream = usesStream || m.tmpl.UsesStream()
	}
	if s.recordLabels, err = checkRecordLabels(o); err != nil {
		return nil, err
	}
	_, labelTaken := o.Labels[metaStream]
	labelTaken = labelTaken || slices.Contains(s.recordLabels, metaStream)
	_, metaTaken := o.StructuredMetadata[metaStream]
	s.addStream = !usesStream && !labelTaken && !metaTaken
	if s.tenant, err = template.Compile(o.Tenant, nil); err != nil {
		return nil, fmt.Errorf("tenant: %w", err)
	}
	if s.tenant.UsesTime() {
		return nil, fmt.Errorf("tenant %q depends on the time of a record", o.Tenant)
	}
	return s, nil
}

// compileAll compiles the templates of one option, sorted by name.
func compileAll(option string, texts map[string]string) ([]namedTemplate, error) {
	var all []namedTemplate
	for _, name := range slices.Sorted(maps.Keys(texts)) {
		if !validName(name) {
			return nil, fmt.Errorf("%s: %q is no valid name: use letters, digits and '_', and no digit first", option, name)
		}
		tmpl, err := template.Compile(texts[name], nil)
		if err != nil {
			return nil, fmt.Errorf("%s: %s: %w", option, name, err)
		}
		if tmpl.UsesTime() {
			return nil, fmt.Errorf("%s: %s: %q depends on the time of a record, which Loki keeps anyway", option, name, texts[name])
		}
		all = append(all, namedTemplate{name, tmpl})
	}
	return all, nil
}

// validName reports whether Loki takes s as a label's name. Names that begin
// with two underscores are Loki's own.
func validName(s string) bool {
	for i := range len(s) {
		c := s[i]
		letter := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c == '_'
		if !letter && (i == 0 || c < '0' || c > '9') {
			return false
		}
	}
	return s != "" && !strings.HasPrefix(s, "__")
}

// make returns the fixed parts for one stream of src.
func (s *shape) make(src *record.Source, stream record.Stream) *fixed {
	labels := render(s.labels, src, stream, maxLabelValueBytes)
	if src.FilePath != "" {
		labels = addLabels(labels, src.Labels)
	}
	if len(labels) == 0 {
		labels = fallbackLabels
	}
	var metadata []pair
	if !s.omitMetadata {
		metadata = render(s.metadata, src, stream, 0)
		if s.addStream {
			metadata = append(metadata, pair{metaStream, stream.String()})
		}
	}
	f := &fixed{
		tenant: cleanTenant(s.tenant.Append(nil, src, stream, 0)),
		stream: canonical(labels),
	}
	f.group = f.tenant + "\n" + f.stream
	if len(s.recordLabels) > 0 {
		f.group += "\n" + src.Key
		f.pairs = labels
	}
	f.labels = encodeLabels(s.encoding, labels, f.stream)
	if s.encoding == JSON {
		f.metadata = appendMembers(nil, metadata)
		return f
	}
	for _, m := range metadata {
		f.metadata = appendMetadata(f.metadata, m.name, m.value)
	}
	return f
}

// encodeLabels returns labels as a push has them, which are canonical in the
// canonical form.
func encodeLabels(encoding Encoding, labels []pair, canonical string) []byte {
	if encoding == JSON {
		return appendMembers(nil, labels)
	}
	return appendStringField(nil, fieldLabels, canonical)
}

// render returns the pairs whose values are not empty, valid UTF-8 and at most
// limit bytes long, any length when limit is 0.
func render(templates []namedTemplate, src *record.Source, stream record.Stream, limit int) []pair {
	var pairs []pair
	for _, t := range templates {
		value := strings.ToValidUTF8(string(t.tmpl.Append(nil, src, stream, 0)), string(utf8.RuneError))
		if limit > 0 && len(value) > limit {
			value = strings.ToValidUTF8(value[:limit], "")
		}
		if value != "" {
			pairs = append(pairs, pair{t.name, value})
		}
	}
	return pairs
}

// addLabels adds the labels that the configuration gives a file, where the sink's
// own have none of their name, and keeps the order of names.
func addLabels(labels []pair, extra map[string]string) []pair {
	for name, value := range extra {
		value = strings.ToValidUTF8(value, string(utf8.RuneError))
		if len(value) > maxLabelValueBytes {
			value = strings.ToValidUTF8(value[:maxLabelValueBytes], "")
		}
		if value != "" && validName(name) && !slices.ContainsFunc(labels, func(p pair) bool { return p.name == name }) {
			labels = append(labels, pair{name, value})
		}
	}
	slices.SortFunc(labels, func(a, b pair) int { return strings.Compare(a.name, b.name) })
	return labels
}

// canonical returns the labels as Loki writes them itself: {a="b", c="d"}.
func canonical(labels []pair) string {
	b := []byte{'{'}
	for i, l := range labels {
		if i > 0 {
			b = append(b, ", "...)
		}
		b = append(b, l.name...)
		b = append(b, '=')
		b = strconv.AppendQuote(b, l.value)
	}
	return string(append(b, '}'))
}

// maxTenantBytes is the longest tenant that Loki takes.
const maxTenantBytes = 150

// cleanTenant makes a rendered tenant one that Loki takes: letters, digits and
// some punctuation, and not the names of directories.
func cleanTenant(b []byte) string {
	for i, c := range b {
		alphanumeric := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9'
		if !alphanumeric && !strings.ContainsRune("!-_.*'()", rune(c)) {
			b[i] = '_'
		}
	}
	t := string(b[:min(len(b), maxTenantBytes)])
	if t == "." || t == ".." {
		return strings.Repeat("_", len(t))
	}
	return t
}
