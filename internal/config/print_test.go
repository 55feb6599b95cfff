package config

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func noVariables(string) (string, bool) { return "", false }

// anySecret is what every file of a secret holds.
func anySecret(string) ([]byte, error) { return []byte("hush"), nil }

// A printed configuration is the configuration when it is read again.
func TestYAMLIsReadAgain(t *testing.T) {
	f := func(name string, cfg *Config) {
		t.Helper()
		text, err := cfg.YAML()
		if err != nil {
			t.Fatal(err)
		}
		again, err := parse(name, text, noVariables, anySecret)
		if err != nil {
			t.Fatalf("%s: %v\n%s", name, err, text)
		}
		// Lists that are empty may be nil or not.
		twice, err := again.YAML()
		if err != nil {
			t.Fatal(err)
		}
		if string(twice) != string(text) {
			t.Errorf("%s: read again it differs:\n%s\nwant\n%s", name, twice, text)
		}
	}
	f("defaults", Default())
	for _, path := range []string{"../../examples/busy.yaml", "../../examples/files.yaml", "../../examples/minimal.yaml"} {
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		cfg, err := parse(path, data, noVariables, anySecret)
		if err != nil {
			t.Fatal(err)
		}
		f(path, cfg)
	}
	// Every key of a document may differ from its default.
	cfg, err := Parse("odd", []byte("host: 'a$$b: #c'\ncontainer_monitor: {include: {names: ['yes', '1', '*']}}\n"), noVariables)
	if err != nil {
		t.Fatal(err)
	}
	f("odd", cfg)
	if got := cfg.Host; got != "a$b: #c" {
		t.Errorf("host %q", got)
	}
}

// No secret is printed, wherever it stands.
func TestYAMLHasNoSecrets(t *testing.T) {
	secret := filepath.Join(t.TempDir(), "password")
	if err := os.WriteFile(secret, []byte("hush1"), 0o600); err != nil {
		t.Fatal(err)
	}
	cfg, err := Parse("secrets", []byte(`
container_monitor: {docker_host: "tcp://root:hush2@engine:2375"}
sinks:
  - type: loki
    url: http://loki:3100
    basic_auth: {username: me, password_file: `+secret+`}
    headers: {X-Key: hush3}
  - type: loki
    name: other
    url: http://loki:3100
    bearer_token: hush4
`), noVariables)
	if err != nil {
		t.Fatal(err)
	}
	text, err := cfg.YAML()
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(text), "hush") {
		t.Errorf("a secret is printed:\n%s", text)
	}
	for _, want := range []string{"username: me", "password_file: " + secret, "X-Key: <redacted>", "bearer_token: <redacted>", "tcp://<redacted>@engine:2375"} {
		if !strings.Contains(string(text), want) {
			t.Errorf("there is no %q in\n%s", want, text)
		}
	}
	if strings.Count(string(text), "<redacted>") != 3 {
		t.Errorf("want three secrets in\n%s", text)
	}
}
