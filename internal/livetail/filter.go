package livetail

import (
	"bytes"
	"fmt"
	"path"
	"regexp"
	"strings"

	"log_capturer/internal/record"
)

// maxExpression bounds the length of a regular expression, in bytes.
const maxExpression = 4 << 10

// Filter says which records are wanted. The zero value wants all.
type Filter struct {
	// Sources are patterns of containers' names, of files' paths or of files'
	// names, or beginnings of containers' ids. Empty means all.
	Sources []string
	// Streams are the streams; none means all.
	Streams record.StreamSet
	// Text is what the line has to hold.
	Text []byte
	// Expression is what the line has to match; nil means nothing.
	Expression *regexp.Regexp
}

// NewFilter returns a filter, or says what is wrong with it. An empty stream,
// text or expression wants everything.
func NewFilter(sources []string, stream, text, expression string) (Filter, error) {
	f := Filter{Sources: sources}
	for _, pattern := range sources {
		if _, err := path.Match(pattern, ""); err != nil || pattern == "" {
			return Filter{}, fmt.Errorf("%q is no pattern: * stands for any text, ? for one character, [a-z] for one of these", pattern)
		}
	}
	switch stream {
	case "":
	case record.Stdout.String():
		f.Streams = record.Only(record.Stdout)
	case record.Stderr.String():
		f.Streams = record.Only(record.Stderr)
	default:
		return Filter{}, fmt.Errorf("there is no stream %q: want stdout or stderr", stream)
	}
	if text != "" {
		f.Text = []byte(text)
	}
	if expression != "" {
		if len(expression) > maxExpression {
			return Filter{}, fmt.Errorf("the regular expression is longer than %d bytes", maxExpression)
		}
		var err error
		if f.Expression, err = regexp.Compile(expression); err != nil {
			return Filter{}, fmt.Errorf("the regular expression is not valid: %w", err)
		}
	}
	return f, nil
}

// wantsSource reports whether any record of the batch may be wanted.
func (f *Filter) wantsSource(b *record.Batch) bool {
	if f.Streams != 0 && f.Streams&b.Streams == 0 {
		return false
	}
	if len(f.Sources) == 0 {
		return true
	}
	for _, pattern := range f.Sources {
		for _, name := range []string{b.Source.ContainerName, b.Source.FilePath, path.Base(b.Source.FilePath)} {
			if ok, _ := path.Match(pattern, name); ok && name != "" {
				return true
			}
		}
		if len(pattern) >= 4 && strings.HasPrefix(b.Source.ContainerID, pattern) {
			return true
		}
	}
	return false
}

// wants reports whether a record of a wanted source is wanted.
func (f *Filter) wants(b *record.Batch, r *record.Record) bool {
	if f.Streams != 0 && !f.Streams.Has(r.Stream) {
		return false
	}
	line := b.Line(r)
	if f.Text != nil && !bytes.Contains(line, f.Text) {
		return false
	}
	return f.Expression == nil || f.Expression.Match(line)
}
