package config

import (
	"fmt"
	"maps"
	"net/http"
	"regexp"
	"slices"
	"strings"

	"log_capturer/internal/template"
)

var labelName = regexp.MustCompile(`^[a-zA-Z_][a-zA-Z0-9_]*$`)

func (v validator) loki(l *Loki, path string) {
	v.url(l.URL, l.Connection, path, "Loki", "http://loki:3100", false)
	v.lokiLabels(l, path)
	if l.Tenant != "" {
		v.timeless(path+".tenant", l.Tenant)
	}
	v.httpAuth(l.Auth, path)
	v.headers(l.Auth, l.Connection, path)
	for name := range l.Connection.Headers {
		if l.Tenant != "" && http.CanonicalHeaderKey(name) == "X-Scope-Orgid" {
			v.wrong(path+".headers."+shorten(name), "tenant sets this header; leave one of them out")
		}
	}
	v.tls(&l.Connection.TLS, path+".tls")
}

// lokiLabels checks labels and structured metadata.
func (v validator) lokiLabels(l *Loki, path string) {
	labels, metadata := path+".labels", path+".structured_metadata"
	if len(l.Labels)+len(l.RecordLabels) == 0 {
		v.wrong(labels, "is empty; Loki wants at least one label")
	}
	for i, name := range l.RecordLabels {
		v.labelName(fmt.Sprintf("%s.record_labels[%d]", path, i), name)
	}
	isLabel := func(name string) bool {
		_, ok := l.Labels[name]
		return ok || slices.Contains(l.RecordLabels, name)
	}
	for _, name := range slices.Sorted(maps.Keys(l.Labels)) {
		key := labels + "." + shorten(name)
		v.labelName(key, name)
		t := v.timeless(key, l.Labels[name])
		if t == nil || l.AllowHighCardinality {
			continue
		}
		for _, placeholder := range t.Names() {
			if placeholder == "container_id" || placeholder == "container_short_id" {
				v.wrong(key, "a label with {%s} makes a new Loki stream of every container that is ever started; "+
					"move it to structured_metadata, or set allow_high_cardinality: true", placeholder)
			}
		}
	}
	if !v.isSet(metadata) {
		maps.DeleteFunc(l.StructuredMetadata, func(name, _ string) bool { return isLabel(name) })
	}
	for _, name := range slices.Sorted(maps.Keys(l.StructuredMetadata)) {
		key := metadata + "." + shorten(name)
		v.labelName(key, name)
		v.timeless(key, l.StructuredMetadata[name])
		if isLabel(name) {
			v.wrong(key, "%s is a label as well; leave one of them out", shorten(name))
		}
	}
}

func (v validator) labelName(path, name string) {
	if !labelName.MatchString(name) {
		v.wrong(path, "want a name of letters, digits and _ that does not begin with a digit, not %q", shorten(name))
	} else if strings.HasPrefix(name, "__") {
		v.wrong(path, "names that begin with __ are Loki's own")
	}
}

// timeless compiles a template that must not depend on the time of a record. It
// returns nil when it is none.
func (v validator) timeless(path, text string) *template.Template {
	t := v.template(path, text, nil)
	if t != nil && t.UsesTime() {
		v.wrong(path, "{date} and {hour} have no place here: Loki keeps the time of every record")
		return nil
	}
	return t
}
