package config

import (
	"fmt"
	"io"
	"log/slog"
)

// redacted is what a secret shows of itself.
const redacted = "<redacted>"

// Secret is a text that must not appear in any output: printed with any verb,
// logged or marshalled, it shows "<redacted>", or nothing where it is empty.
// Reveal returns the text.
type Secret struct {
	// A pointer, since fmt calls no methods on what it prints by a wrong verb
	// or finds in an unexported field. What it shows then is an address.
	text *string
}

// NewSecret returns the secret of a text.
func NewSecret(text string) Secret {
	if text == "" {
		return Secret{}
	}
	return Secret{&text}
}

// Reveal returns the text itself.
func (s Secret) Reveal() string {
	if s.text == nil {
		return ""
	}
	return *s.text
}

// IsZero reports whether the secret is empty.
func (s Secret) IsZero() bool { return s.text == nil }

// String returns "<redacted>".
func (s Secret) String() string {
	if s.IsZero() {
		return ""
	}
	return redacted
}

// GoString returns "<redacted>".
func (s Secret) GoString() string { return s.String() }

// Format writes "<redacted>" whatever the verb is, so that not even a wrong one
// shows the text.
func (s Secret) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, s.String()) }

// LogValue returns "<redacted>".
func (s Secret) LogValue() slog.Value { return slog.StringValue(s.String()) }

// MarshalText returns "<redacted>".
func (s Secret) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText makes the text the secret.
func (s *Secret) UnmarshalText(text []byte) error {
	*s = NewSecret(string(text))
	return nil
}
