package config

import (
	"os"
	"reflect"
	"slices"
	"strings"
)

// secretFiles are the ends of the keys that name files with a secret in them.
var secretFiles = []string{"password_file", "token_file", "secret_file", "key_file"}

// Secrets returns the texts of all secrets in the configuration, those in the
// files that it names included, longest first. It is for those who write down
// what may hold one, and have to take it out.
func (c *Config) Secrets() []string {
	found := map[string]bool{}
	collectSecrets(reflect.ValueOf(c), func(text string) {
		if text = strings.TrimSpace(text); text != "" {
			found[text] = true
		}
	})
	secrets := make([]string, 0, len(found))
	for text := range found {
		secrets = append(secrets, text)
	}
	slices.SortFunc(secrets, func(a, b string) int {
		if len(a) != len(b) {
			return len(b) - len(a)
		}
		return strings.Compare(a, b)
	})
	return secrets
}

// collectSecrets passes every secret below v to found.
func collectSecrets(v reflect.Value, found func(string)) {
	switch v.Kind() {
	case reflect.Pointer, reflect.Interface:
		if !v.IsNil() {
			collectSecrets(v.Elem(), found)
		}
	case reflect.Slice, reflect.Array:
		for i := range v.Len() {
			collectSecrets(v.Index(i), found)
		}
	case reflect.Map:
		for _, key := range v.MapKeys() {
			collectSecrets(v.MapIndex(key), found)
		}
	case reflect.Struct:
		if secret, ok := v.Interface().(Secret); ok {
			found(secret.Reveal())
			return
		}
		for field, value := range v.Fields() {
			if !field.IsExported() {
				continue
			}
			name, _, _ := strings.Cut(field.Tag.Get("yaml"), ",")
			isFile := func(end string) bool { return strings.HasSuffix(name, end) }
			if value.Kind() == reflect.String && slices.ContainsFunc(secretFiles, isFile) {
				// One that can't be read now holds nothing that was read now.
				if text, err := os.ReadFile(value.String()); err == nil {
					found(string(text))
				}
				continue
			}
			collectSecrets(value, found)
		}
	}
}
