package config

import (
	"crypto/sha256"
	"fmt"
	"reflect"
	"slices"
	"strings"
)

// Difference is what one configuration has otherwise than another one.
type Difference struct {
	// Parts are the parts that differ, by their keys, in the order of the
	// reference: "log", "pipelines", "sinks.main".
	Parts []string
	// Restart are the keys of those that a running agent cannot change.
	Restart []string
}

// restartKeys are the parts that can't change while an agent runs, each with why.
var restartKeys = map[string]string{
	"data_dir":     "all that is kept is in it",
	"host":         "every record has it",
	"memory_limit": "the Go runtime keeps to it from the start",
	"dead_letters": "the store is open",
	"selfwatch":    "what was counted before could not be compared",
	"server":       "its port is open",
	"metrics":      "its port is open",
	"pprof":        "its port is open",
}

// SinkPart is the part of the sink of a name, among Difference.Parts.
func SinkPart(name string) string { return "sinks." + name }

// Has reports whether a part differs.
func (d Difference) Has(part string) bool { return slices.Contains(d.Parts, part) }

// Err returns what of the difference takes a restart, nil for nothing.
func (d Difference) Err() error {
	if len(d.Restart) == 0 {
		return nil
	}
	why := make([]string, len(d.Restart))
	for i, key := range d.Restart {
		why[i] = fmt.Sprintf("%s (%s)", key, restartKeys[key])
	}
	return fmt.Errorf("a change of %s takes a restart of the agent; nothing was changed", strings.Join(why, ", "))
}

// Diff compares the configuration that runs with the one that is to follow, part by
// part. A sink is a part of its own, known by its name.
func Diff(running, next *Config) Difference {
	var d Difference
	from, to := reflect.ValueOf(running).Elem(), reflect.ValueOf(next).Elem()
	for i := range from.NumField() {
		key := from.Type().Field(i).Tag.Get("yaml")
		if key == "sinks" {
			d.Parts = append(d.Parts, diffSinks(running, next)...)
			continue
		}
		if !from.Type().Field(i).IsExported() || equal(running, next, from.Field(i), to.Field(i)) {
			continue
		}
		d.Parts = append(d.Parts, key)
		if restartKeys[key] != "" {
			d.Restart = append(d.Restart, key)
		}
	}
	return d
}

// diffSinks returns the parts of the sinks that differ, come or go.
func diffSinks(running, next *Config) (parts []string) {
	for i := range next.Sinks {
		s := &next.Sinks[i]
		before := sinkNamed(running, s.Name)
		if before == nil || !equal(running, next, reflect.ValueOf(before), reflect.ValueOf(s)) {
			parts = append(parts, SinkPart(s.Name))
		}
	}
	for i := range running.Sinks {
		if name := running.Sinks[i].Name; sinkNamed(next, name) == nil {
			parts = append(parts, SinkPart(name))
		}
	}
	return parts
}

func sinkNamed(c *Config, name string) *Sink {
	if i := slices.IndexFunc(c.Sinks, func(s Sink) bool { return s.Name == name }); i >= 0 {
		return &c.Sinks[i]
	}
	return nil
}

// equal reports whether a value of one configuration is that of another one, with
// the content of the files that they name.
func equal(running, next *Config, from, to reflect.Value) bool {
	if !reflect.DeepEqual(from.Interface(), to.Interface()) {
		return false
	}
	same := true
	namedFiles(to, func(path string) { same = same && running.files[path] == next.files[path] })
	return same
}

// digest stands for the content of a file.
type digest [sha256.Size]byte

// namedFiles passes the values of all keys that name a file to found.
func namedFiles(v reflect.Value, found func(path string)) {
	switch v.Kind() {
	case reflect.Pointer, reflect.Interface:
		if !v.IsNil() {
			namedFiles(v.Elem(), found)
		}
	case reflect.Slice, reflect.Array:
		for i := range v.Len() {
			namedFiles(v.Index(i), found)
		}
	case reflect.Struct:
		for field, value := range v.Fields() {
			name, _, _ := strings.Cut(field.Tag.Get("yaml"), ",")
			switch {
			case !field.IsExported():
			case value.Kind() == reflect.String && strings.HasSuffix(name, "_file"):
				found(value.String())
			default:
				namedFiles(value, found)
			}
		}
	}
}
