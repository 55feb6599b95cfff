package cli

import "fmt"

// Progress returns a function that shows what is being done on standard error,
// in place of what it showed before, where that is a terminal; else it shows
// nothing. An empty text takes away what is shown.
func (e Env) Progress() func(text string) {
	if !isTerminal(e.Stderr) {
		return func(string) {}
	}
	return func(text string) { fmt.Fprintf(e.Stderr, "\r%s\x1b[K", text) }
}
