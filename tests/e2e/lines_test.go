package e2e

import (
	"bytes"
	"fmt"
	"testing"
	"time"

	"log_capturer/internal/record"
	"log_capturer/internal/testkit/agent"
	"log_capturer/internal/testkit/enginetest"
	"log_capturer/internal/testkit/script"
)

// Lines of every awkward shape arrive byte for byte, with and without a TTY,
// followed live and read after the fact, from files and over the API.
func TestLineShapes(t *testing.T) {
	for _, transport := range []string{"file", "api"} {
		t.Run(transport, func(t *testing.T) { testLineShapes(t, transport) })
	}
}

func testLineShapes(t *testing.T, transport string) {
	engine := enginetest.New(t)
	id := label(t)
	const long = 3_000_000
	steps := func(stream record.Stream) script.Script {
		say := func(data string) script.Step { return script.Step{Stream: stream, Data: []byte(data)} }
		fill := func(n int) []script.Step {
			return []script.Step{script.Fill(stream, "x", n), say("\n")}
		}
		s := script.Script{say("\n"), say("a\n"), say("\n\n\n")}
		for _, n := range []int{16383, 16384, 16385, long} {
			s = append(s, fill(n)...)
		}
		return append(s,
			say("invalid \xff\xfe\xc3\x28 utf-8\n"), say("nul \x00 byte\n"),
			say("\x1b[31mred\x1b[0m\n"), say("tab\tand \"quotes\" \\ and \u2028\n"), say("trailing space \n"),
			say("two\nlines in one write\n"))
	}
	both := append(steps(record.Stdout), steps(record.Stderr)...)
	both = append(both, script.Out("no newline at the end of stdout"), script.Err("nor of stderr"))
	tty := append(steps(record.Stdout), script.Out("no newline at the end"))

	type source struct {
		container *enginetest.Container
		script    script.Script
		tty       bool
	}
	var sources []source
	run := func() {
		sources = append(sources,
			source{engine.Run(t, enginetest.Options{Labels: map[string]string{labelKey: id}, Script: both}), both, false},
			source{engine.Run(t, enginetest.Options{Labels: map[string]string{labelKey: id}, Script: tty, TTY: true}), tty, true})
	}
	run()
	for _, s := range sources {
		_, err := s.container.Wait(time.Minute)
		enginetest.Must(t, err)
	}
	a := agent.Start(t, agent.Options{Config: monitorConfig(id, "transport: "+transport, "max_line_bytes: 1MiB")})
	run()
	for _, s := range sources {
		_, err := s.container.Wait(time.Minute)
		enginetest.Must(t, err)
	}
	// One that is not known yet is not waited for by waitDrained.
	for _, s := range sources {
		waitRead(t, a, s.container)
	}
	waitDrained(t, a)
	checkAccounts(t, a)

	type key struct {
		id     string
		stream record.Stream
	}
	got := map[key]*bytes.Buffer{}
	var cut, unterminated int
	readFiles(t, a.DataDir+"/logs", func(l *fileLine) {
		k := key{l.ContainerID, l.stream()}
		if got[k] == nil {
			got[k] = &bytes.Buffer{}
		}
		got[k].Write(l.bytes())
		// What the marks say puts the lines together again.
		if !l.Cut && !l.Unterminated {
			got[k].WriteByte('\n')
		}
		if l.Cut {
			cut++
			if len(l.bytes()) != 1<<20 {
				t.Errorf("a line was cut at %d bytes", len(l.bytes()))
			}
		}
		if l.Unterminated {
			unterminated++
		}
	})
	for _, s := range sources {
		for _, stream := range []record.Stream{record.Stdout, record.Stderr} {
			want := s.script.Bytes(stream)
			if s.tty {
				// The terminal turns each newline into two bytes.
				want = bytes.ReplaceAll(want, []byte("\n"), []byte("\r\n"))
			}
			var have []byte
			if b := got[key{s.container.ID, stream}]; b != nil {
				have = b.Bytes()
			}
			want, have = engineBytes(want), engineBytes(have)
			if !bytes.Equal(want, have) {
				t.Errorf("%s of tty=%v: %s", stream, s.tty, difference(want, have))
			}
		}
	}
	// Two containers with two streams, two with one, each with one long line
	// that is cut twice, and one end without a newline.
	if cut != 6*2 || unterminated != 6 {
		t.Errorf("%d lines cut, %d unterminated", cut, unterminated)
	}
}

// engineBytes replaces what is no UTF-8, as the engine's json-file does: it
// keeps U+FFFD for each invalid byte, so that is all that anybody can read.
func engineBytes(b []byte) []byte { return bytes.ToValidUTF8(splitInvalid(b), []byte("\uFFFD")) }

// splitInvalid keeps ToValidUTF8 from replacing a run of invalid bytes at once.
func splitInvalid(b []byte) []byte {
	var out []byte
	for _, r := range string(b) {
		out = append(out, string(r)...)
	}
	return out
}

// difference says where two byte slices part.
func difference(want, have []byte) string {
	n := 0
	for n < len(want) && n < len(have) && want[n] == have[n] {
		n++
	}
	near := func(b []byte) []byte { return b[max(0, min(n-20, len(b))):min(len(b), n+40)] }
	return fmt.Sprintf("%d bytes, want %d; they part at %d: %q, want %q", len(have), len(want), n, near(have), near(want))
}
