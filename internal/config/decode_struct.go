package config

import (
	"encoding"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"sync"

	"log_capturer/internal/spelling"
)

// field is a key of a section and where its value goes.
type field struct {
	key   string
	value reflect.Value
	tag   reflect.StructTag
}

// fields returns the keys of a struct in the order of its fields. The keys of
// an inline field are among them, unless it is a nil pointer.
func fields(v reflect.Value) []field {
	var list []field
	for i := range v.NumField() {
		if !v.Type().Field(i).IsExported() {
			continue
		}
		tag := v.Type().Field(i).Tag
		key, options, _ := strings.Cut(tag.Get("yaml"), ",")
		value := v.Field(i)
		if options != "inline" {
			list = append(list, field{key, value, tag})
			continue
		}
		if value.Kind() == reflect.Pointer {
			if value.IsNil() {
				continue
			}
			value = value.Elem()
		}
		list = append(list, fields(value)...)
	}
	return list
}

// decodeStruct puts the keys of a section into the fields of a struct.
func (d *decoder) decodeStruct(n *node, v reflect.Value, path string) {
	if !d.want(n, mapping, path) {
		return
	}
	d.decodeFields(n, fields(v), path)
}

// decodeFields puts the keys of a section into the fields that are known.
func (d *decoder) decodeFields(n *node, known []field, path string) {
	for _, e := range n.entries {
		i := slices.IndexFunc(known, func(f field) bool { return f.key == e.key })
		if i < 0 {
			if !d.visit(e.value, join(path, shorten(e.key))) {
				continue
			}
			d.fail(e.pos, join(path, shorten(e.key)), "%s", unknownKey(e.key, known))
			continue
		}
		d.decodeEntry(e, known[i].value, join(path, e.key), known[i].tag)
	}
	d.readSecrets(known, path)
}

func (d *decoder) decodeEntry(e entry, v reflect.Value, path string, tag reflect.StructTag) {
	d.set[path] = e.pos
	if e.value.kind == scalar {
		d.set[path] = e.value.pos
	}
	d.decode(e.value, v, path, tag)
}

// join returns the path of a key in the section at path.
func join(path, key string) string {
	if path == "" {
		return key
	}
	return path + "." + key
}

// unknownKey returns what to say of a key that a section does not have: the nearest that it has, the section that has it, or all that it has.
func unknownKey(key string, known []field) string {
	message := fmt.Sprintf("unknown key %q", shorten(key))
	keys := make([]string, len(known))
	for i, f := range known {
		keys[i] = f.key
	}
	if near, ok := spelling.Nearest(key, keys); ok {
		return message + fmt.Sprintf("; did you mean %q?", near)
	}
	// A key that many sections have says nothing of which one was meant.
	if homes := homesOf()[key]; 0 < len(homes) && len(homes) <= 2 {
		return message + fmt.Sprintf("; it belongs in %s", enumerate(homes))
	}
	return message + "; the keys here are " + strings.Join(keys, ", ")
}

// homesOf returns for each key the sections that have it.
var homesOf = sync.OnceValue(func() map[string][]string {
	homes := map[string][]string{}
	var walk func(v reflect.Value, section, name string)
	walk = func(v reflect.Value, section, name string) {
		for _, f := range fields(v) {
			if name != "" && !slices.Contains(homes[f.key], name) {
				homes[f.key] = append(homes[f.key], name)
			}
			if f.value.Kind() == reflect.Struct && f.value.Type() != secretType {
				path := join(section, f.key)
				walk(f.value, path, path)
			}
		}
	}
	walk(reflect.ValueOf(Default()).Elem(), "", "")
	walk(reflect.ValueOf(defaultFileSet()), "file_monitor.files[]", "file_monitor.files[]")
	walk(reflect.ValueOf(Delivery{}), "sinks[]", "sinks[]")
	for _, typ := range sinkTypes {
		walk(sectionOf(defaultSink(typ)), "sinks[]", "a sink of type "+typ)
	}
	return homes
})

// sectionOf returns the section that only sinks of s's type have.
func sectionOf(s Sink) reflect.Value {
	v := reflect.ValueOf(s)
	for i := range v.NumField() {
		if f := v.Field(i); f.Kind() == reflect.Pointer && !f.IsNil() {
			return f.Elem()
		}
	}
	return reflect.Value{} // never: every type has one
}

// fileSuffix is what the key of a file that holds a secret has after the
// secret's own.
const fileSuffix = "_file"

// readSecrets reads the secrets of a section that are given by a file.
func (d *decoder) readSecrets(known []field, path string) {
	for _, f := range known {
		if f.value.Type() != secretType {
			continue
		}
		i := slices.IndexFunc(known, func(o field) bool {
			return o.key == f.key+fileSuffix && o.value.Type() == stringsType
		})
		if i < 0 {
			continue
		}
		secret, name := f.value.Addr().Interface().(encoding.TextUnmarshaler), known[i].value.String()
		secretPath, filePath := join(path, f.key), join(path, known[i].key)
		if name == "" {
			continue
		}
		if _, both := d.set[secretPath]; both {
			d.fail(d.set[filePath], filePath, "%s is set as well; leave one of them out", f.key)
			continue
		}
		content, err := d.read(name)
		if err != nil {
			d.fail(d.set[filePath], filePath, "%s", err)
			continue
		}
		text := strings.TrimSuffix(strings.TrimSuffix(string(content), "\n"), "\r")
		if text == "" {
			d.fail(d.set[filePath], filePath, "%s is empty", name)
			continue
		}
		_ = secret.UnmarshalText([]byte(text)) // a secret takes any text
	}
}

// decodeNode decodes a sink, whose keys and defaults depend on its type.
func (s *Sink) decodeNode(d *decoder, n *node, path string) {
	if n.kind != mapping {
		d.fail(n.pos, path, "want a section, not %s", n.kind)
		return
	}
	e := n.get("type")
	if e == nil {
		d.fail(n.pos, path, "type is missing; it is %s", enumerate(sinkTypes))
		return
	}
	typePath := join(path, "type")
	typ, ok := d.scalar(e.value, typePath, "a text")
	if !ok {
		return
	}
	if message := notOneOf(typ, sinkTypes); message != "" {
		d.fail(e.value.pos, typePath, "%s", message)
		// The other keys are checked against the type that was meant.
		if typ, ok = spelling.Nearest(typ, sinkTypes); !ok {
			return
		}
		*s = defaultSink(typ)
		d.decodeStruct(without(n, e), reflect.ValueOf(s).Elem(), path)
		return
	}
	*s = defaultSink(typ)
	d.decodeStruct(n, reflect.ValueOf(s).Elem(), path)
}

// without returns the section n without one of its entries.
func without(n *node, e *entry) *node {
	rest := *n
	rest.entries = slices.DeleteFunc(slices.Clone(n.entries), func(o entry) bool { return o.key == e.key })
	return &rest
}
