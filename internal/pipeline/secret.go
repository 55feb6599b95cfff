package pipeline

import (
	"fmt"
	"io"
)

// Secret is a text that must not appear in output: printed or marshalled it
// shows "<redacted>".
type Secret struct {
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

// String returns "<redacted>", or nothing where the secret is empty.
func (s Secret) String() string {
	if s.IsZero() {
		return ""
	}
	return "<redacted>"
}

// Format writes String, whatever the verb is.
func (s Secret) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, s.String()) }

// MarshalText returns String.
func (s Secret) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText makes the text the secret.
func (s *Secret) UnmarshalText(text []byte) error {
	*s = NewSecret(string(text))
	return nil
}
