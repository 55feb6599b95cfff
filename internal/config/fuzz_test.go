package config

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// FuzzDecode feeds the decoder with any bytes. It must come to an end, and
// return either a configuration that is valid or errors that have a text.
func FuzzDecode(f *testing.F) {
	for _, pattern := range []string{"testdata/*.yaml", "../../examples/*.yaml"} {
		files, err := filepath.Glob(pattern)
		if err != nil || len(files) == 0 {
			f.Fatalf("no seeds in %s: %v", pattern, err)
		}
		for _, file := range files {
			text, err := os.ReadFile(file)
			if err != nil {
				f.Fatal(err)
			}
			f.Add(text)
		}
	}
	for _, text := range []string{
		"", "a", "- - - a", "[[[[", "{a: {b: c}}", "host: ${A:-{b}}", "host: ${", "&a *a", "<<: *a",
		"a: &a [*a]", "? a\n: b", "host: |\n  a\n", "host: >-\n a\n b", "!!str a", "%TAG !! x\n---\na: !!b c",
		"host: 'a", "\"\\u0000\": x", "sinks:\n- *x", "a: &x {<<: *x}", "{<<: [{a: b}, [c]]}", "---\n---\n", "? {a: b}\n",
	} {
		f.Add([]byte(text))
	}
	read := func(string) ([]byte, error) { return []byte("secret"), nil }
	f.Fuzz(func(t *testing.T, text []byte) {
		cfg, err := parse("fuzz.yaml", text, environment("A", "1"), read)
		if (cfg == nil) == (err == nil) {
			t.Fatalf("parse returned %v and %v", cfg, err)
		}
		if err == nil {
			return
		}
		list, ok := errors.AsType[Errors](err)
		if !ok || len(list) == 0 {
			t.Fatalf("parse returned %T: %v", err, err)
		}
		for _, e := range list {
			if e.Message == "" || e.Line < 0 || e.Column < 0 {
				t.Fatalf("a bad error: %+v", e)
			}
			if strings.Contains(e.Message, "the YAML parser cannot read this file") {
				t.Logf("the parser panicked: %s", e.Message)
			}
		}
	})
}
