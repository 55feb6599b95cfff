package config

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// Error is one thing that is wrong with a configuration.
type Error struct {
	// File is the name of the file.
	File string
	// Line and Column are where it is, both from 1; the column counts
	// characters. Both are zero for an error of the file as a whole.
	Line, Column int
	// Path is the key that it is about ("sinks[1].url"), empty for an error of
	// the file's syntax.
	Path string
	// Message says what is wrong and, where it can, what would be right.
	Message string
}

// Error returns the error as one line: file:line:column: path: message.
func (e *Error) Error() string {
	var b strings.Builder
	b.WriteString(e.File)
	if e.Line > 0 {
		fmt.Fprintf(&b, ":%d:%d", e.Line, e.Column)
	}
	if e.Path != "" {
		b.WriteString(": ")
		b.WriteString(e.Path)
	}
	b.WriteString(": ")
	b.WriteString(e.Message)
	return b.String()
}

// Errors is all that is wrong with a configuration, in the order of the file.
// It is never empty when it is returned as an error.
type Errors []*Error

// Error returns the errors one a line.
func (errs Errors) Error() string {
	lines := make([]string, len(errs))
	for i, e := range errs {
		lines[i] = e.Error()
	}
	return strings.Join(lines, "\n")
}

// Unwrap returns the single errors.
func (errs Errors) Unwrap() []error {
	list := make([]error, len(errs))
	for i, e := range errs {
		list[i] = e
	}
	return list
}

// sort orders the errors by where they are.
func (errs Errors) sort() {
	slices.SortStableFunc(errs, func(a, b *Error) int {
		return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column))
	})
}
