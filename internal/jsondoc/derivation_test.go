package jsondoc

import (
	"testing"

	"log_capturer/internal/record"
)

func TestAppendDerivation(t *testing.T) {
	f := func(d *record.Derivation, want string) {
		t.Helper()
		if got := string(AppendDerivation([]byte("x"), d)); got != "x"+want {
			t.Errorf("got %s, want x%s", got, want)
		}
	}
	f(nil, "")
	f(&record.Derivation{}, "")
	f(&record.Derivation{Level: "warn"}, `,"level":"warn"`)
	f(&record.Derivation{
		Level:      "error",
		Attributes: []record.Attribute{{Name: "n", Value: "12345678901234567890", JSON: true}, {Name: `q"`, Value: "a\n"}},
		Labels:     []record.Attribute{{Name: "app", Value: "shop"}},
	}, `,"level":"error","fields":{"n":12345678901234567890,"q\"":"a\n"},"labels":{"app":"shop"}`)
}
