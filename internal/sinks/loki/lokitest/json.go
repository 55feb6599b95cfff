package lokitest

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// decodeJSON reads the JSON form of a push.
func (d *decoder) decodeJSON(raw []byte) error {
	if !utf8.Valid(raw) {
		return errors.New("json: not UTF-8")
	}
	var push struct {
		Streams []struct {
			Stream json.RawMessage     `json:"stream"`
			Values [][]json.RawMessage `json:"values"`
		} `json:"streams"`
	}
	j := json.NewDecoder(bytes.NewReader(raw))
	j.DisallowUnknownFields()
	if err := j.Decode(&push); err != nil {
		return fmt.Errorf("json: %w", err)
	}
	if _, err := j.Token(); err != io.EOF {
		return errors.New("json: something follows the push")
	}
	for i, s := range push.Streams {
		pairs, err := decodeMembers(s.Stream)
		if err != nil {
			return fmt.Errorf("stream %d: %w", i, err)
		}
		out := d.nextStream()
		if out.labels, err = d.internLabels([]byte(canonical(pairs))); err != nil {
			return fmt.Errorf("stream %d: %w", i, err)
		}
		for k, value := range s.Values {
			e, err := decodeValue(value)
			if err != nil {
				return fmt.Errorf("stream %s: entry %d: %w", out.labels, k, err)
			}
			out.entries = append(out.entries, e)
		}
	}
	return nil
}

// decodeValue reads an entry: time, line, and metadata where there is some.
func decodeValue(value []json.RawMessage) (e entry, err error) {
	if len(value) < 2 || len(value) > 3 {
		return e, fmt.Errorf("has %d elements, want 2 or 3", len(value))
	}
	var ts, line *string
	if err := json.Unmarshal(value[0], &ts); err != nil || ts == nil {
		return e, errors.New("the time is no string")
	}
	if e.time, err = strconv.ParseInt(*ts, 10, 64); err != nil || e.time == 0 {
		return e, fmt.Errorf("time %q is none", *ts)
	}
	if err := json.Unmarshal(value[1], &line); err != nil || line == nil {
		return e, errors.New("the line is no string")
	}
	e.line = []byte(*line)
	if len(value) == 3 {
		e.metadata, err = decodeMembers(value[2])
	}
	return e, err
}

// decodeMembers reads an object of strings, in the order of its members, none
// of which may stand twice.
func decodeMembers(raw json.RawMessage) ([]Pair, error) {
	var byName map[string]*string
	if err := json.Unmarshal(raw, &byName); err != nil {
		return nil, err
	}
	if byName == nil {
		return nil, errors.New("an object is missing")
	}
	var pairs []Pair
	j := json.NewDecoder(bytes.NewReader(raw))
	if _, err := j.Token(); err != nil {
		return nil, err
	}
	for j.More() {
		name, err := j.Token()
		if err != nil {
			return nil, err
		}
		value, err := j.Token()
		if err != nil {
			return nil, err
		}
		text, ok := value.(string)
		if !ok {
			return nil, fmt.Errorf("the value of %q is no string", name)
		}
		pairs = append(pairs, Pair{name.(string), text})
	}
	if len(pairs) != len(byName) {
		return nil, fmt.Errorf("a name stands twice among %q", slices.Sorted(maps.Keys(byName)))
	}
	return pairs, nil
}

// canonical returns labels as Loki writes them.
func canonical(pairs []Pair) string {
	var b strings.Builder
	b.WriteByte('{')
	for i, p := range pairs {
		if i > 0 {
			b.WriteString(", ")
		}
		b.WriteString(p.Name + "=" + strconv.Quote(p.Value))
	}
	b.WriteByte('}')
	return b.String()
}
