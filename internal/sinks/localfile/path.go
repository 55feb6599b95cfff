package localfile

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"log_capturer/internal/record"
	"log_capturer/internal/template"
)

// pathTemplate renders the paths of active files.
//
// The template's own text is the user's and taken as it is. The values that
// containers bring are not to be trusted: each becomes a part of one path
// component, whatever it holds (see appendSafe), so that no container writes
// outside the directory that the template's text names, nor into a file that
// another value was meant to have.
type pathTemplate struct {
	tmpl *template.Template
	// root is the directory before the first placeholder, absolute and clean.
	root string
	// period is how long a rendered path stays the same, in nanoseconds; zero
	// for ever.
	period int64
}

const (
	hourPeriod = int64(60 * 60 * 1e9)
	dayPeriod  = 24 * hourPeriod
)

// CheckPath reports what is wrong with text as the path template of a sink. It
// touches no file.
func CheckPath(text string) error {
	_, err := compilePath(text, ".")
	return err
}

// compilePath compiles text, in which {data_dir} stands for dir. A relative
// path begins at the working directory of the moment.
func compilePath(text, dir string) (*pathTemplate, error) {
	if text == "" {
		return nil, errors.New("the path template is empty; write for instance {data_dir}/logs/{container_name}.log")
	}
	constants := map[string]string{"data_dir": dir}
	tmpl, err := template.Compile(text, constants)
	if err != nil {
		return nil, err
	}
	sample := string(tmpl.AppendEscaped(nil, &record.Source{}, record.Stdout, 0, appendSafe))
	if !filepath.IsAbs(sample) {
		if constants["working_dir"], err = os.Getwd(); err != nil {
			return nil, fmt.Errorf("make path template %q absolute: %w", text, err)
		}
		if tmpl, err = template.Compile("{working_dir}/"+text, constants); err != nil {
			return nil, err
		}
		sample = constants["working_dir"] + "/" + sample
	}
	prefix := tmpl.Prefix()
	prefix = prefix[:strings.LastIndexByte(prefix, '/')+1]
	below := strings.Split(sample[len(prefix):], "/")
	switch last := below[len(below)-1]; {
	case strings.IndexByte(sample, 0) >= 0:
		return nil, fmt.Errorf("the path template %q has a NUL", text)
	case last == "" || last == "." || filepath.Clean(sample) == filepath.Clean(dir):
		return nil, fmt.Errorf("the path template %q names a directory, not a file", text)
	case slices.Contains(below, ".."):
		// It would be resolved against a value that a container brings.
		return nil, fmt.Errorf("the path template %q has a .. after a placeholder or at its end", text)
	}
	p := &pathTemplate{tmpl: tmpl, root: filepath.Clean(prefix)}
	switch names := tmpl.Names(); {
	case slices.Contains(names, "hour"):
		p.period = hourPeriod
	case slices.Contains(names, "date"):
		p.period = dayPeriod
	}
	return p, nil
}

// maxComponent is the longest path component, in bytes: what most file systems
// take is 255, and a closed file's name is up to 40 longer than an active one's.
const maxComponent = 200

// render returns the absolute path of the active file for a record of src.
func (p *pathTemplate) render(src *record.Source, stream record.Stream, unixNano int64) string {
	full := filepath.Clean(string(p.tmpl.AppendEscaped(nil, src, stream, unixNano, appendSafe)))
	below := strings.TrimPrefix(strings.TrimPrefix(full, p.root), "/")
	components := strings.Split(below, "/")
	for i, c := range components {
		if len(c) > maxComponent {
			components[i] = shorten(c, maxComponent)
		}
	}
	last := &components[len(components)-1]
	// An active file must never have the name of a closed one.
	if looksClosed(*last) {
		ext := extension(*last)
		*last = strings.TrimSuffix(*last, ext) + "~" + ext
	}
	return filepath.Join(p.root, strings.Join(components, "/"))
}

// bounds returns the span of record times, in Unix nanoseconds, whose paths
// are that of unixNano; both are zero when time does not matter.
func (p *pathTemplate) bounds(unixNano int64) (from, until int64) {
	if p.period == 0 {
		return 0, 0
	}
	offset := unixNano % p.period
	if offset < 0 {
		offset += p.period
	}
	return unixNano - offset, unixNano - offset + p.period
}

// maxValue is the longest text that one value becomes, in bytes.
const maxValue = 120

// appendSafe appends value as a part of a path component. Letters, digits and
// -_.:@+=, stand for themselves, except a dot in front; every other byte is
// written as % and two digits. An empty value is "_". A result that is too
// long ends with "~" and a hash of the value. Different values have different
// results: % and ~ are always escaped, and so is the value "_".
func appendSafe(dst []byte, value string) []byte {
	const digits = "0123456789ABCDEF"
	switch value {
	case "":
		return append(dst, '_')
	case "_":
		return append(dst, "%5F"...)
	}
	start := len(dst)
	for i := range len(value) {
		c := value[i]
		if isPlain(c) && (c != '.' || i > 0) {
			dst = append(dst, c)
		} else {
			dst = append(dst, '%', digits[c>>4], digits[c&15])
		}
		if len(dst)-start > maxValue {
			return appendHash(dst[:start+maxValue-hashLength], value)
		}
	}
	return dst
}

func isPlain(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' ||
		strings.IndexByte("-_.:@+=,", c) >= 0
}

// hashLength is the length of what appendHash appends, in bytes.
const hashLength = 17

// appendHash appends "~" and 16 digits that depend on text.
func appendHash(dst []byte, text string) []byte {
	sum := sha256.Sum256([]byte(text))
	return hex.AppendEncode(append(dst, '~'), sum[:(hashLength-1)/2])
}

// shorten returns text cut to limit bytes, the last of which depend on all of
// it.
func shorten(text string, limit int) string {
	return string(appendHash([]byte(text[:limit-hashLength]), text))
}
