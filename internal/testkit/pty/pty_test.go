package pty

import (
	"testing"

	"go.uber.org/goleak"
	"golang.org/x/term"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestTerminal(t *testing.T) {
	p := Open(t)
	if !term.IsTerminal(int(p.File.Fd())) {
		t.Error("it is none")
	}
	if _, err := p.File.WriteString("one\n"); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if got := p.Close(); got != "one\r\n" {
			t.Errorf("shown %q", got)
		}
	}
}
