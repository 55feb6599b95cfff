package config

import (
	"os"
	"path/filepath"
	"slices"
	"testing"
)

// Every secret that a configuration can hold is found, wherever it is.
func TestSecrets(t *testing.T) {
	file := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(file, []byte("from-a-file\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	cfg, err := Parse("c.yaml", []byte(`
sinks:
  - {type: loki, name: a, url: "http://h", bearer_token_file: `+file+`, headers: {X-Key: in-a-header}}
  - {type: loki, name: b, url: "http://h", basic_auth: {username: u, password: a-password}}
  - {type: loki, name: c, url: "http://h", bearer_token: "${TOKEN}"}
`), func(name string) (string, bool) { return "of-the-environment", name == "TOKEN" })
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"of-the-environment", "from-a-file", "in-a-header", "a-password"}
	if got := cfg.Secrets(); !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
	if got := Default().Secrets(); len(got) != 0 {
		t.Errorf("the default has %q", got)
	}
}
