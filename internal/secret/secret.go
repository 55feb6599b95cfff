// Package secret is a text that is not to be shown, by whatever it is printed.
//
// It owns how such a text is kept and what it shows of itself. Where it comes
// from, and what is done with it, is for others.
package secret

import (
	"fmt"
	"io"
	"log/slog"
)

// Redacted is what a secret shows of itself.
const Redacted = "<redacted>"

// Text is a text that must not appear in any output: printed with any verb,
// logged or marshalled, it shows "<redacted>", or nothing where it is empty.
// Reveal returns the text.
type Text struct {
	// A pointer, since fmt calls no methods on what it prints by a wrong verb
	// or finds in an unexported field. What it shows then is an address.
	text *string
}

// New returns the secret of a text.
func New(text string) Text {
	if text == "" {
		return Text{}
	}
	return Text{&text}
}

// Reveal returns the text itself.
func (s Text) Reveal() string {
	if s.text == nil {
		return ""
	}
	return *s.text
}

// IsZero reports whether the secret is empty.
func (s Text) IsZero() bool { return s.text == nil }

// String returns "<redacted>".
func (s Text) String() string {
	if s.IsZero() {
		return ""
	}
	return Redacted
}

// GoString returns "<redacted>".
func (s Text) GoString() string { return s.String() }

// Format writes "<redacted>" whatever the verb is, so that not even a wrong one
// shows the text.
func (s Text) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, s.String()) }

// LogValue returns "<redacted>".
func (s Text) LogValue() slog.Value { return slog.StringValue(s.String()) }

// MarshalText returns "<redacted>".
func (s Text) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText makes the text the secret.
func (s *Text) UnmarshalText(text []byte) error {
	*s = New(string(text))
	return nil
}
