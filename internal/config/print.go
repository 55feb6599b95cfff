package config

import (
	"encoding"
	"fmt"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/goccy/go-yaml"

	"log_capturer/internal/secret"
)

// YAML returns the whole configuration as a document: every key with the value
// that is in effect, in the order of the reference. Secrets are left out where a
// file holds them, and are "<redacted>" where not. Read again, it is the same
// configuration but for these.
func (c *Config) YAML() ([]byte, error) {
	text, err := yaml.MarshalWithOptions(plain(reflect.ValueOf(c).Elem(), escape), yaml.IndentSequence(true))
	if err != nil {
		return nil, fmt.Errorf("print the configuration: %w", err)
	}
	return text, nil
}

// plain returns a value of the configuration as YAML knows it, with its texts
// escaped.
func plain(v reflect.Value, escape func(string) string) any {
	if stage, ok := v.Interface().(Stage); ok {
		// A pattern that looks like a URL is no URL.
		return section(stage.fields(), escapeDollars)
	}
	if text, ok := v.Interface().(encoding.TextMarshaler); ok {
		b, _ := text.MarshalText() // no type of the configuration fails
		return string(b)
	}
	switch v.Kind() {
	case reflect.Pointer:
		return plain(v.Elem(), escape)
	case reflect.Struct:
		return section(fields(v), escape)
	case reflect.Slice:
		list := make([]any, v.Len())
		for i := range list {
			list[i] = plain(v.Index(i), escape)
		}
		return list
	case reflect.Map:
		list := yaml.MapSlice{}
		for _, key := range slices.SortedFunc(slices.Values(v.MapKeys()), func(a, b reflect.Value) int { return strings.Compare(a.String(), b.String()) }) {
			list = append(list, yaml.MapItem{Key: key.String(), Value: plain(v.MapIndex(key), escape)})
		}
		return list
	case reflect.String:
		return escape(v.String())
	}
	if d, ok := v.Interface().(time.Duration); ok {
		return Duration(d).String()
	}
	return v.Interface()
}

// section returns the keys of a section. Sections that were not given, empty
// secrets and secrets that are in a file are left out.
func section(known []field, escape func(string) string) yaml.MapSlice {
	inFile := map[string]bool{}
	for _, f := range known {
		if key, ok := strings.CutSuffix(f.key, "_file"); ok && !f.value.IsZero() {
			inFile[key] = true
		}
	}
	list := yaml.MapSlice{}
	for _, f := range known {
		secret, isSecret := f.value.Interface().(interface{ IsZero() bool })
		switch {
		case f.value.Kind() == reflect.Pointer && f.value.IsNil():
		case isSecret && (secret.IsZero() || inFile[f.key]):
		default:
			list = append(list, yaml.MapItem{Key: f.key, Value: plain(f.value, escape)})
		}
	}
	return list
}

// credentials are the user and the password in a URL.
var credentials = regexp.MustCompile(`(://)[^/?#\s@]+@`)

// escape returns a text in which a document's variables stay what they are, and
// without the credentials of a URL.
func escape(text string) string {
	text = escapeDollars(text)
	return credentials.ReplaceAllString(text, "$1"+strings.ReplaceAll(secret.Redacted, "$", "$$")+"@")
}

// escapeDollars returns a text in which a document's variables stay what they
// are.
func escapeDollars(text string) string { return strings.ReplaceAll(text, "$", "$$") }
