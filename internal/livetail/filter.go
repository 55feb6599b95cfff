package livetail

import (
	"bytes"
	"fmt"
	"path"
	"regexp"
	"strings"

	"log_capturer/internal/pipeline"
	"log_capturer/internal/record"
)

// maxExpression bounds the length of an expression, in bytes.
const maxExpression = 4 << 10

// Stage is where on their way records are shown.
type Stage uint8

// The stages.
const (
	// Raw shows records as they were read.
	Raw Stage = iota
	// Processed shows what the pipelines have made of them.
	Processed
)

// Query is what a user asks for. Each part that is empty wants all, and a record
// has to be wanted by each.
type Query struct {
	// Sources are patterns of containers' names, of files' paths or of files'
	// names, or beginnings of containers' ids.
	Sources []string
	// Stream is stdout or stderr.
	Stream string
	// Level is the least level.
	Level string
	// Text and Regexp are what the line has to hold.
	Text, Regexp string
	// Where is an expression of the pipelines' language.
	Where string
	// Stage is raw, which it is when it is empty, or processed.
	Stage string
}

// Filter says which records are wanted. The zero value wants all raw ones. It is
// for one watcher.
type Filter struct {
	Stage Stage
	// Sources are patterns of containers' names, of files' paths or of files'
	// names, or beginnings of containers' ids. Empty means all.
	Sources []string
	// Streams are the streams; none means all.
	Streams record.StreamSet
	// Level is the least level.
	Level pipeline.Level
	// Text is what the line has to hold.
	Text []byte
	// Regexp is what the line has to match; nil means nothing.
	Regexp *regexp.Regexp
	// Where is what has to be true of the record; nil means nothing.
	Where *pipeline.Condition
}

// NewFilter returns the filter of a query, or says what is wrong with it.
func NewFilter(q Query) (Filter, error) {
	f := Filter{Sources: q.Sources}
	for _, pattern := range q.Sources {
		if _, err := path.Match(pattern, ""); err != nil || pattern == "" {
			return Filter{}, fmt.Errorf("%q is no pattern: * stands for any text, ? for one character, [a-z] for one of these", pattern)
		}
	}
	switch q.Stage {
	case "", "raw":
	case "processed":
		f.Stage = Processed
	default:
		return Filter{}, fmt.Errorf("there is no stage %q: want raw or processed", q.Stage)
	}
	switch q.Stream {
	case "":
	case record.Stdout.String():
		f.Streams = record.Only(record.Stdout)
	case record.Stderr.String():
		f.Streams = record.Only(record.Stderr)
	default:
		return Filter{}, fmt.Errorf("there is no stream %q: want stdout or stderr", q.Stream)
	}
	if q.Level != "" {
		var ok bool
		if f.Level, ok = pipeline.LevelNamed(q.Level); !ok {
			return Filter{}, fmt.Errorf("there is no level %q: want %s", q.Level, strings.Join(pipeline.LevelNames(), ", "))
		}
	}
	if q.Text != "" {
		f.Text = []byte(q.Text)
	}
	var err error
	if q.Regexp != "" {
		if len(q.Regexp) > maxExpression {
			return Filter{}, fmt.Errorf("the regular expression is longer than %d bytes", maxExpression)
		}
		if f.Regexp, err = regexp.Compile(q.Regexp); err != nil {
			return Filter{}, fmt.Errorf("the regular expression is not valid: %w", err)
		}
	}
	if q.Where != "" {
		if len(q.Where) > maxExpression {
			return Filter{}, fmt.Errorf("the expression is longer than %d bytes", maxExpression)
		}
		if f.Where, err = pipeline.NewCondition(q.Where); err != nil {
			return Filter{}, fmt.Errorf("the expression is not valid: %w", err)
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

// wants reports whether a record of a wanted source is wanted. An error says that
// the condition could not be held against it; it is not wanted then.
func (f *Filter) wants(b *record.Batch, r *record.Record) (bool, error) {
	if f.Streams != 0 && !f.Streams.Has(r.Stream) {
		return false, nil
	}
	line := b.Line(r)
	if f.Text != nil && !bytes.Contains(line, f.Text) || f.Regexp != nil && !f.Regexp.Match(line) {
		return false, nil
	}
	if f.Level == pipeline.NoLevel && f.Where == nil {
		return true, nil
	}
	e := pipeline.Seen(b, r)
	if e.Level < f.Level {
		return false, nil
	}
	if f.Where == nil {
		return true, nil
	}
	return f.Where.Holds(&e)
}
