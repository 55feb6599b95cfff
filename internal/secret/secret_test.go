package secret

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestSecretIsNotShown(t *testing.T) {
	secret := New("hunter2")
	type login struct {
		Token   Text
		Deep    *struct{ Password Text }
		Headers map[string]Text
	}
	config := &login{Token: secret, Deep: &struct{ Password Text }{secret}, Headers: map[string]Text{"a": secret}}
	var shown bytes.Buffer
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d", "%t", "%10s"} {
		fmt.Fprintf(&shown, verb+"\n", secret)
		fmt.Fprintf(&shown, verb+"\n", &secret)
		fmt.Fprintf(&shown, verb+"\n", *config)
	}
	fmt.Fprintln(&shown, secret, config.Deep)
	fmt.Fprintf(&shown, "%v %+v\n", struct{ unexported Text }{secret}, struct{ unexported *Text }{&secret})
	slog.New(slog.NewTextHandler(&shown, nil)).Info("text", "secret", secret, "config", config)
	slog.New(slog.NewJSONHandler(&shown, nil)).Info("json", "secret", secret, "config", config)
	for _, marshal := range []func(any) ([]byte, error){json.Marshal, yaml.Marshal} {
		text, err := marshal(config)
		if err != nil {
			t.Fatal(err)
		}
		if n := bytes.Count(text, []byte("redacted")); n != 3 {
			t.Errorf("%d of 3 secrets are marked as redacted in\n%s", n, text)
		}
		shown.Write(text)
	}
	for _, form := range []string{"hunter2", fmt.Sprintf("%x", "hunter2")} {
		if strings.Contains(shown.String(), form) {
			t.Errorf("the secret is shown:\n%s", shown.String())
		}
	}
	if got := fmt.Sprint(secret); got != "<redacted>" {
		t.Errorf("got %q", got)
	}
	if got := fmt.Sprint(Text{}); got != "" {
		t.Errorf("a secret that is not set shows %q", got)
	}
	if secret.Reveal() != "hunter2" {
		t.Error("Reveal does not return the secret")
	}
}
