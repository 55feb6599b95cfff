package loki

import (
	"iter"
	"slices"

	"log_capturer/internal/record"
)

// metaLevel is the name of the structured metadata that holds a record's level.
const metaLevel = "level"

// maxDerived is the largest number of items of a record that come from a pipeline.
// Loki's default for all items is 128, and it refuses a record with more.
const maxDerived = 100

// derivedMetadata yields the structured metadata of what a pipeline made of a
// record: its level, labels and attributes. Loki takes letters, digits and _ in
// names; the other characters become _. A name that comes twice then, or is one
// that the sink sets itself, is left out the second time: Loki would refuse the
// record. So is one of recordLabels that the record has as a label.
func derivedMetadata(d *record.Derivation, recordLabels []string) iter.Seq2[string, string] {
	return func(yield func(string, string) bool) {
		seen := make([]string, 0, 16)
		for i := range d.Labels {
			if slices.Contains(recordLabels, d.Labels[i].Name) {
				seen = append(seen, d.Labels[i].Name)
			}
		}
		first := len(seen)
		if d.Level != "" && !slices.Contains(seen, metaLevel) {
			seen = append(seen, metaLevel)
			if !yield(metaLevel, d.Level) {
				return
			}
		}
		for _, list := range [...][]record.Attribute{d.Labels, d.Attributes} {
			for i := range list {
				name := metadataName(list[i].Name)
				if len(seen)-first == maxDerived {
					return
				}
				if slices.Contains(seen, name) || slices.Contains(reservedMetadata, name) || name == metaStream {
					continue
				}
				seen = append(seen, name)
				if !yield(name, list[i].Value) {
					return
				}
			}
		}
	}
}

// metadataName returns a name that Loki takes.
func metadataName(name string) string {
	valid := func(i int, c byte) bool {
		return c == '_' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || i > 0 && '0' <= c && c <= '9'
	}
	for i := range len(name) {
		if valid(i, name[i]) {
			continue
		}
		b := []byte(name)
		for j, c := range b {
			if !valid(j, c) {
				b[j] = '_'
			}
		}
		return string(b)
	}
	if name == "" {
		return "_"
	}
	return name
}
