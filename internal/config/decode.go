package config

import (
	"encoding"
	"fmt"
	"reflect"
	"strconv"
	"strings"
	"time"

	"log_capturer/internal/spelling"
)

// decoder puts the nodes of a file into the types of this package. It reports
// everything that is wrong and goes on, so that one run finds all.
//
// The rules: a struct takes a section, whose keys are the yaml tags of its
// fields; fields that no key names keep their value. A slice takes a list and a
// map a section, and either replaces what was there. Everything else takes a
// single value, whose type is that of the field and not what YAML would guess.
// A section or a list without content is as if it had not been given.
type decoder struct {
	file string
	env  func(string) (string, bool)
	read func(path string) ([]byte, error)
	// literal says that nothing of the environment is put in.
	literal bool

	errs Errors
	// set holds where each key of the file is, by its path.
	set map[string]position
	// failed holds the paths of keys that could not be decoded.
	failed map[string]bool
	nodes  int
}

// nodeDecoder is implemented by types whose keys depend on a value.
type nodeDecoder interface {
	decodeNode(d *decoder, n *node, path string)
}

var (
	secretType   = reflect.TypeFor[Secret]()
	stringsType  = reflect.TypeFor[string]()
	durationType = reflect.TypeFor[time.Duration]()
)

// fail reports an error of the key at path, whose value is not known then.
func (d *decoder) fail(pos position, path, format string, args ...any) {
	d.errs = append(d.errs, d.newError(pos, path, fmt.Sprintf(format, args...)))
	d.failed[path] = true
}

func (d *decoder) newError(pos position, path, message string) *Error {
	return &Error{File: d.file, Line: pos.line, Column: pos.column, Path: path, Message: message}
}

// decode puts n into v, which holds the default. The tag is that of v's field.
func (d *decoder) decode(n *node, v reflect.Value, path string, tag reflect.StructTag) {
	if !d.visit(n, path) {
		return
	}
	if custom, ok := v.Addr().Interface().(nodeDecoder); ok {
		custom.decodeNode(d, n, path)
		return
	}
	if text, ok := v.Addr().Interface().(encoding.TextUnmarshaler); ok {
		if s, ok := d.scalar(n, path, "a single value"); ok {
			d.decodeText(n, s, v, text, path, tag)
		}
		return
	}
	if v.Type() == durationType {
		if s, ok := d.scalar(n, path, "a duration"); ok {
			d.decodeDuration(n, s, v, path, tag)
		}
		return
	}
	switch v.Kind() {
	case reflect.Pointer:
		if n.kind == null {
			return
		}
		if v.IsNil() {
			v.Set(reflect.New(v.Type().Elem()))
		}
		d.decode(n, v.Elem(), path, tag)
	case reflect.Struct:
		d.decodeStruct(n, v, path)
	case reflect.Map:
		if !d.want(n, mapping, path) {
			return
		}
		v.Set(reflect.MakeMapWithSize(v.Type(), len(n.entries)))
		for _, e := range n.entries {
			value := reflect.New(v.Type().Elem()).Elem()
			d.decodeEntry(e, value, path+"."+shorten(e.key), "")
			v.SetMapIndex(reflect.ValueOf(e.key), value)
		}
	case reflect.Slice:
		if !d.want(n, sequence, path) {
			return
		}
		v.Set(reflect.MakeSlice(v.Type(), len(n.items), len(n.items)))
		for i, item := range n.items {
			itemPath := fmt.Sprintf("%s[%d]", path, i)
			d.set[itemPath] = item.pos
			d.decode(item, v.Index(i), itemPath, "")
		}
	case reflect.String:
		if s, ok := d.scalar(n, path, "a text"); ok {
			d.decodeString(n, s, v, path, tag)
		}
	case reflect.Bool:
		if s, ok := d.plain(n, path, "true or false"); ok {
			if s != "true" && s != "false" {
				d.fail(n.pos, path, "want true or false, not %q", shorten(s))
				return
			}
			v.SetBool(s == "true")
		}
	case reflect.Int:
		if s, ok := d.plain(n, path, "a whole number"); ok {
			d.decodeInt(n, s, v, path, tag)
		}
	default:
		panic(fmt.Sprintf("config: field %s has the type %s, which the decoder does not know", path, v.Type()))
	}
}

// visit counts a node, and reports whether it is to be decoded. Aliases and
// merge keys can name one node many times over.
func (d *decoder) visit(n *node, path string) bool {
	if n.kind == broken {
		d.failed[path] = true
		return false
	}
	if d.nodes++; d.nodes == maxNodes+1 {
		d.fail(n.pos, path, "the file has more than %d values, aliases counted each time", maxNodes)
	}
	return d.nodes <= maxNodes
}

// want reports whether n is of a kind that holds others. Nothing at all is as
// if the key had not been given.
func (d *decoder) want(n *node, k kind, path string) bool {
	if n.kind != k && n.kind != null {
		d.fail(n.pos, path, "want %s, not %s", k, n.kind)
	}
	return n.kind == k
}

// scalar returns the text of n, with the variables of the environment put in.
func (d *decoder) scalar(n *node, path, want string) (string, bool) {
	switch n.kind {
	case scalar:
		if d.literal {
			return n.text, true
		}
		text, wrong := expand(n.text, d.env)
		for _, message := range wrong {
			d.fail(n.pos, path, "%s", message)
		}
		return text, len(wrong) == 0
	case null:
		d.fail(n.pos, path, "has no value; leave the key out for its default")
	default:
		d.fail(n.pos, path, "want %s, not %s", want, n.kind)
	}
	return "", false
}

// plain is scalar for values that are not texts.
func (d *decoder) plain(n *node, path, want string) (string, bool) {
	if n.kind == scalar && n.quoted {
		d.fail(n.pos, path, "want %s, not a text; remove the quotes", want)
		return "", false
	}
	return d.scalar(n, path, want)
}

func (d *decoder) decodeString(n *node, s string, v reflect.Value, path string, tag reflect.StructTag) {
	if list, ok := tag.Lookup("oneof"); ok {
		valid := strings.Fields(list)
		if message := notOneOf(s, valid); message != "" {
			d.fail(n.pos, path, "%s", message)
			return
		}
	}
	v.SetString(s)
}

// notOneOf returns what to say of s, which must be one of valid; nothing when
// it is.
func notOneOf(s string, valid []string) string {
	for _, name := range valid {
		if s == name {
			return ""
		}
	}
	message := fmt.Sprintf("want %s, not %q", enumerate(valid), shorten(s))
	if near, ok := spelling.Nearest(s, valid); ok {
		message += fmt.Sprintf("; did you mean %q?", near)
	}
	return message
}

// enumerate joins names as in "a, b or c".
func enumerate(names []string) string {
	last := len(names) - 1
	if last < 1 {
		return strings.Join(names, "")
	}
	return strings.Join(names[:last], ", ") + " or " + names[last]
}

// decodeDuration decodes a duration of a stage, whose package does not know ours.
func (d *decoder) decodeDuration(n *node, s string, v reflect.Value, path string, tag reflect.StructTag) {
	value, err := ParseDuration(s)
	if err != nil {
		d.fail(n.pos, path, "%s", err)
		return
	}
	if message := outOfRange(value, s, tag, func(limit string) Duration { return mustParse(ParseDuration(limit)) }); message != "" {
		d.fail(n.pos, path, "%s", message)
		return
	}
	v.SetInt(int64(value))
}

func (d *decoder) decodeInt(n *node, s string, v reflect.Value, path string, tag reflect.StructTag) {
	if tag.Get("unit") == "bytes" {
		value, err := ParseByteSize(s)
		if err != nil {
			d.fail(n.pos, path, "%s", err)
			return
		}
		message := outOfRange(value, s, tag, func(limit string) ByteSize { return mustParse(ParseByteSize(limit)) })
		if message != "" {
			d.fail(n.pos, path, "%s", message)
			return
		}
		v.SetInt(int64(value))
		return
	}
	number, err := strconv.Atoi(s)
	if err != nil {
		d.fail(n.pos, path, "want a whole number, not %q", shorten(s))
		return
	}
	parse := func(limit string) int64 { return mustParse(strconv.ParseInt(limit, 10, 64)) }
	if message := outOfRange(int64(number), s, tag, parse); message != "" {
		d.fail(n.pos, path, "%s", message)
		return
	}
	v.SetInt(int64(number))
}

func (d *decoder) decodeText(n *node, s string, v reflect.Value, text encoding.TextUnmarshaler,
	path string, tag reflect.StructTag) {
	if err := text.UnmarshalText([]byte(s)); err != nil {
		d.fail(n.pos, path, "%s", err)
		return
	}
	var message string
	switch value := v.Interface().(type) {
	case ByteSize:
		message = outOfRange(value, s, tag, func(limit string) ByteSize { return mustParse(ParseByteSize(limit)) })
	case Duration:
		message = outOfRange(value, s, tag, func(limit string) Duration { return mustParse(ParseDuration(limit)) })
	}
	if message != "" {
		d.fail(n.pos, path, "%s", message)
	}
}

// outOfRange returns what to say of a value that is not between the limits of
// its field's min and max tags; nothing when it is.
func outOfRange[T int64 | ByteSize | Duration](value T, text string, tag reflect.StructTag, parse func(string) T) string {
	if limit, ok := tag.Lookup("min"); ok && value < parse(limit) {
		return fmt.Sprintf("%s is too small: the least is %s", shorten(text), limit)
	}
	if limit, ok := tag.Lookup("max"); ok && value > parse(limit) {
		return fmt.Sprintf("%s is too large: the most is %s", shorten(text), limit)
	}
	return ""
}

// mustParse returns the value of a limit in a field's tag.
func mustParse[T any](value T, err error) T {
	if err != nil {
		panic(fmt.Sprintf("config: a field's tag has a limit that is none: %v", err))
	}
	return value
}
