package sinktest

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"log_capturer/internal/record"
)

// Names are the names of a document's members. ID may be empty.
type Names struct{ Time, Line, Source, Stream, ID string }

// PlainNames are those of jsondoc.DefaultFields, with the time and the line as
// most sinks name them.
var PlainNames = Names{Time: "time", Line: "line", Source: "container_name", Stream: "stream"}

// Document reads a document strictly: one object of UTF-8 with the named
// members, a time of the last thousand years, and texts for all others but the
// marks.
func (n Names) Document(text []byte) (Line, error) {
	if !utf8.Valid(text) {
		return Line{}, fmt.Errorf("not UTF-8: %q", text)
	}
	var members map[string]any
	decoder := json.NewDecoder(bytes.NewReader(text))
	if err := decoder.Decode(&members); err != nil {
		return Line{}, fmt.Errorf("no object: %q: %w", text, err)
	}
	if decoder.More() {
		return Line{}, fmt.Errorf("more than one object: %q", text)
	}
	texts := map[string]string{}
	for name, value := range members {
		switch v := value.(type) {
		case string:
			texts[name] = v
		case bool:
			if name != "cut" && name != "continued" && name != "unterminated" {
				return Line{}, fmt.Errorf("member %q is %v", name, v)
			}
		default:
			return Line{}, fmt.Errorf("member %q is %v", name, v)
		}
	}
	for _, name := range []string{n.Time, n.Line, n.Source, n.Stream, n.ID} {
		if _, ok := texts[name]; name != "" && !ok {
			return Line{}, fmt.Errorf("no member %q: %s", name, text)
		}
	}
	if n.Time != "" {
		at, err := time.Parse(time.RFC3339Nano, texts[n.Time])
		if err != nil || at.Year() < 1000 {
			return Line{}, fmt.Errorf("time %q: %w", texts[n.Time], err)
		}
	}
	line := Line{Source: texts[n.Source], Text: texts[n.Line]}
	if n.ID != "" {
		line.ID = texts[n.ID]
	}
	if exact, ok := texts[n.Line+"_base64"]; ok {
		content, err := base64.StdEncoding.DecodeString(exact)
		if err != nil {
			return Line{}, fmt.Errorf("base64 of %s: %w", text, err)
		}
		line.Text = string(content)
	}
	switch texts[n.Stream] {
	case "stdout":
	case "stderr":
		line.Stream = record.Stderr
	default:
		return Line{}, fmt.Errorf("stream %q", texts[n.Stream])
	}
	return line, nil
}

// Documents reads lines of documents, the last with a newline as well.
func (n Names) Documents(body []byte) ([]Line, error) {
	if len(body) == 0 || body[len(body)-1] != '\n' {
		return nil, fmt.Errorf("a body of %d bytes that does not end with a newline", len(body))
	}
	var lines []Line
	for text := range strings.Lines(string(body)) {
		line, err := n.Document([]byte(strings.TrimSuffix(text, "\n")))
		if err != nil {
			return nil, err
		}
		lines = append(lines, line)
	}
	return lines, nil
}
