package pipeline

import (
	"errors"
	"fmt"
)

// Failure is why a stage could not do its work on an event.
type Failure struct {
	// Reason is a short label of bounded variety, for metrics ("not_json").
	Reason string
	// Detail says more, for people.
	Detail string
}

func (f *Failure) Error() string { return f.Reason + ": " + f.Detail }

func fail(reason, format string, args ...any) error {
	return &Failure{reason, fmt.Sprintf(format, args...)}
}

// reasonOf returns the reason of an error of a stage.
func reasonOf(err error) string {
	if f, ok := errors.AsType[*Failure](err); ok {
		return f.Reason
	}
	return "failed"
}

// OptionError says what is wrong with an option of a stage.
type OptionError struct {
	// Key is the option, as in "layouts[1]"; empty for the stage as a whole.
	Key     string
	Message string
}

func (e *OptionError) Error() string {
	if e.Key == "" {
		return e.Message
	}
	return e.Key + ": " + e.Message
}

func wrong(key, format string, args ...any) error {
	return &OptionError{key, fmt.Sprintf(format, args...)}
}

// shorten returns text as it may stand in a message: cut when it is long.
func shorten(text string) string {
	const most = 60
	if runes := []rune(text[:min(len(text), 4*most+4)]); len(runes) > most {
		return string(runes[:most]) + "..."
	}
	return validText(text)
}
