package elasticsearch

import (
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"strings"

	"log_capturer/internal/record"
	"log_capturer/internal/sourcecache"
	"log_capturer/internal/template"
)

// index writes the beginning of a document's action line, up to its _id.
type index struct {
	tmpl *template.Template
	// fixed holds the beginnings of sources, nil when they depend on the time.
	fixed *sourcecache.Cache[[]byte]
}

const actionStart, actionMiddle, actionEnd = `{"create":{"_index":"`, `","_id":"`, "\"}}\n"

// notAllowed are the characters that no index name may have.
const notAllowed = `\/*?"<>| ,#:`

func newIndex(text string) (*index, error) {
	tmpl, err := template.Compile(text, nil)
	if err != nil {
		return nil, fmt.Errorf("index: %w", err)
	}
	if err := CheckIndex(tmpl); err != nil {
		return nil, err
	}
	x := &index{tmpl: tmpl}
	if !tmpl.UsesTime() {
		x.fixed = sourcecache.New(func(src *record.Source, stream record.Stream) []byte {
			return x.render(nil, src, stream, 0)
		})
	}
	return x, nil
}

// CheckIndex returns an error when an index template's own text can never be in
// the name of an index.
func CheckIndex(tmpl *template.Template) error {
	// The sample has nothing to complain about in the places of values.
	sample := tmpl.AppendEscaped(nil, &record.Source{}, record.Stdout, 0, func(dst []byte, _ string) []byte { return append(dst, 'x') })
	name := string(sample)
	switch {
	case name == "":
		return errors.New("index is empty: write for instance logs-docker-default")
	case name != strings.ToLower(name):
		return fmt.Errorf("index %q has capital letters, which no index may have", tmpl)
	case strings.ContainsAny(name, notAllowed):
		return fmt.Errorf("index %q has one of %s, which no index may have", tmpl, notAllowed)
	case strings.ContainsAny(name[:1], "-_+."):
		return fmt.Errorf("index %q begins with %q, which no index may", tmpl, name[:1])
	}
	return nil
}

// append appends the beginning of the action line of a record.
func (x *index) append(dst []byte, src *record.Source, r *record.Record) []byte {
	if x.fixed != nil {
		return append(dst, x.fixed.Of(src, r.Stream)...)
	}
	return x.render(dst, src, r.Stream, r.Time)
}

func (x *index) render(dst []byte, src *record.Source, stream record.Stream, at int64) []byte {
	dst = append(dst, actionStart...)
	dst = x.tmpl.AppendEscaped(dst, src, stream, at, appendIndexValue)
	return append(dst, actionMiddle...)
}

// maxValueBytes bounds what a value adds to a name, which may have 255 bytes.
const maxValueBytes = 100

// appendIndexValue makes a value one that the name of an index may have.
func appendIndexValue(dst []byte, value string) []byte {
	if value == "" {
		return append(dst, "none"...)
	}
	for i := range min(len(value), maxValueBytes) {
		c := value[i]
		switch {
		case 'A' <= c && c <= 'Z':
			c += 'a' - 'A'
		case c < '!' || c > '~' || strings.IndexByte(notAllowed, c) >= 0:
			c = '_'
		}
		dst = append(dst, c)
	}
	return dst
}

// ParseCloudID returns the URL of the deployment that an Elastic Cloud ID names:
// a label, a colon, and in base64 the domain, the deployment's id and others
// with '$' between them.
func ParseCloudID(id string) (string, error) {
	const hint = "copy it from the deployment's page"
	_, encoded, ok := strings.Cut(id, ":")
	if !ok {
		return "", errors.New("cloud_id has no colon: " + hint)
	}
	decoded, err := base64.StdEncoding.DecodeString(encoded)
	if err != nil {
		return "", errors.New("cloud_id has no base64 after its colon: " + hint)
	}
	parts := strings.Split(string(decoded), "$")
	if len(parts) < 2 || parts[0] == "" || parts[1] == "" {
		return "", errors.New("cloud_id names no deployment: " + hint)
	}
	domain, port, err := net.SplitHostPort(parts[0])
	if err != nil {
		domain, port = parts[0], "443"
	}
	name, own, ok := strings.Cut(parts[1], ":")
	if ok {
		port = own
	}
	return "https://" + name + "." + net.JoinHostPort(domain, port), nil
}
