package framing

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"log_capturer/internal/record"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// start is the time of the first entries of the tests.
var start = time.Date(2026, 2, 28, 23, 59, 59, 999999999, time.UTC)

func stamp(at time.Time) string { return at.Format("2006-01-02T15:04:05.000000000Z") + " " }

// frame encodes an entry as the engine does.
func frame(stream record.Stream, at time.Time, text string) string {
	payload := stamp(at) + text
	header := make([]byte, headerSize)
	header[0] = byte(stream) + 1
	binary.BigEndian.PutUint32(header[4:], uint32(len(payload)))
	return string(header) + payload
}

// decode feeds input in chunks of the given size and describes the lines.
func decode(t *testing.T, opts DockerOptions, input string, chunk int) ([]string, error) {
	t.Helper()
	var lines []string
	d := NewDocker(opts, func(l *Line) error {
		text := string(l.Bytes)
		if len(text) > 40 {
			text = fmt.Sprintf("%s...%d", text[:8], len(text))
		}
		lines = append(lines, fmt.Sprintf("%s +%d #%d %q %s", l.Stream, l.Time-start.UnixNano(), l.Ordinal, text, flagNames(l.Flags)))
		return nil
	})
	for len(input) > 0 {
		n := min(chunk, len(input))
		if err := d.Feed([]byte(input[:n])); err != nil {
			return lines, err
		}
		input = input[n:]
	}
	return lines, d.Flush()
}

func flagNames(f record.Flags) string {
	var names []string
	for flag, name := range map[record.Flags]string{record.Cut: "cut", record.Unterminated: "unterminated"} {
		if f&flag != 0 {
			names = append(names, name)
		}
	}
	if f&record.Continued != 0 {
		names = append(names, "continued")
	}
	return strings.Join(names, ",")
}

func TestDocker(t *testing.T) {
	piece := strings.Repeat("p", pieceSize)
	at := func(n int) time.Time { return start.Add(time.Duration(n)) }
	out, err := record.Stdout, record.Stderr
	tests := []struct {
		name  string
		opts  DockerOptions
		input string
		want  []string
	}{
		{"lines of two streams", DockerOptions{MaxLine: 100},
			frame(out, at(0), "a\n") + frame(err, at(1), "b\n") + frame(out, at(2), "\n"),
			[]string{`stdout +0 #1 "a" `, `stderr +1 #1 "b" `, `stdout +2 #1 "" `}},
		{"ordinals within one time", DockerOptions{MaxLine: 100},
			frame(out, at(0), "a\n") + frame(err, at(0), "b\n") + frame(out, at(0), "a\n") + frame(out, at(1), "c\n") + frame(out, at(0), "d\n"),
			[]string{`stdout +0 #1 "a" `, `stderr +0 #1 "b" `, `stdout +0 #2 "a" `, `stdout +1 #1 "c" `, `stdout +0 #1 "d" `}},
		{"pieces, interleaved with the other stream", DockerOptions{MaxLine: 1 << 20},
			frame(out, at(0), piece) + frame(err, at(1), "e\n") + frame(out, at(0), piece) + frame(out, at(0), "z\n"),
			[]string{`stderr +1 #1 "e" `, `stdout +0 #1 "pppppppp...32769" `}},
		{"a piece that ends with an empty one", DockerOptions{MaxLine: 1 << 20},
			frame(out, at(0), piece) + frame(out, at(0), "\n"),
			[]string{`stdout +0 #1 "pppppppp...16384" `}},
		{"cut, at each multiple", DockerOptions{MaxLine: 10},
			frame(out, at(0), "0123456789abcdefghijKLM\n"),
			[]string{`stdout +0 #1 "0123456789" cut`, `stdout +0 #2 "abcdefghij" cut,continued`, `stdout +0 #3 "KLM" continued`}},
		{"exactly the longest", DockerOptions{MaxLine: 10}, frame(out, at(0), "0123456789\n"), []string{`stdout +0 #1 "0123456789" `}},
		{"unterminated at the end", DockerOptions{MaxLine: 100},
			frame(out, at(0), "a\n") + frame(out, at(1), "rest"),
			[]string{`stdout +0 #1 "a" `, `stdout +1 #1 "rest" unterminated`}},
		{"unterminated before the next run", DockerOptions{MaxLine: 100},
			frame(out, at(0), "rest") + frame(out, at(5), "next\n"),
			[]string{`stdout +0 #1 "rest" unterminated`, `stdout +5 #1 "next" `}},
		{"bytes are bytes", DockerOptions{MaxLine: 100},
			frame(out, at(0), "\x00\xff\x1b[1mx\r\n"), []string{`stdout +0 #1 "\x00\xff\x1b[1mx\r" `}},
		{"TTY", DockerOptions{TTY: true, MaxLine: 100},
			stamp(at(0)) + "a b\r\n" + stamp(at(1)) + "\r\n" + stamp(at(2)) + "prompt",
			[]string{`stdout +0 #1 "a b\r" `, `stdout +1 #1 "\r" `, `stdout +2 #1 "prompt" unterminated`}},
		{"TTY pieces", DockerOptions{TTY: true, MaxLine: 1 << 20},
			stamp(at(0)) + piece + stamp(at(0)) + piece + stamp(at(0)) + "z\n" + stamp(at(1)) + "b\n",
			[]string{`stdout +0 #1 "pppppppp...32769" `, `stdout +1 #1 "b" `}},
		{"TTY, two runs", DockerOptions{TTY: true, MaxLine: 100, RunStart: at(3)},
			stamp(at(0)) + "rest" + stamp(at(5)) + "next\n",
			[]string{`stdout +0 #1 "rest" unterminated`, `stdout +5 #1 "next" `}},
		{"TTY, a timestamp in the text", DockerOptions{TTY: true, MaxLine: 100, RunStart: at(0)},
			stamp(at(1)) + "x " + stamp(at(5)) + "y\n",
			[]string{fmt.Sprintf("stdout +1 #1 %q ", "x "+stamp(at(5))+"y")}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			for _, chunk := range []int{1, 7, 1000, 1 << 20} {
				got, err := decode(t, tt.opts, tt.input, chunk)
				if err != nil {
					t.Fatalf("chunks of %d: %v", chunk, err)
				}
				if fmt.Sprint(got) != fmt.Sprint(tt.want) {
					t.Fatalf("chunks of %d:\n got %q\nwant %q", chunk, got, tt.want)
				}
			}
		})
	}
}

func TestDockerCorrupt(t *testing.T) {
	good := frame(record.Stdout, start, "a\n")
	for name, input := range map[string]string{
		"stream type":  good + "\x07\x00\x00\x00\x00\x00\x00\x01x",
		"padding":      good + "\x01\x00\x01\x00\x00\x00\x00\x01x",
		"size":         good + "\x01\x00\x00\x00\xff\xff\xff\xff",
		"no timestamp": good + "\x01\x00\x00\x00\x00\x00\x00\x02x\n",
		"bad time":     good + frame(record.Stdout, start, "a\n")[:headerSize] + strings.Repeat("9", 31) + "a\n",
	} {
		t.Run(name, func(t *testing.T) {
			got, err := decode(t, DockerOptions{MaxLine: 100}, input, 1<<20)
			if err == nil {
				t.Fatal("no error")
			}
			if len(got) != 1 {
				t.Fatalf("the line before it is lost: %q", got)
			}
		})
	}
	_, err := decode(t, DockerOptions{MaxLine: 100}, "\x03\x00\x00\x00\x00\x00\x00\x04oops", 3)
	if err == nil || !strings.Contains(err.Error(), "oops") {
		t.Fatalf("engine error: %v", err)
	}
}

func TestSettle(t *testing.T) {
	for _, tty := range []bool{false, true} {
		encode := frame
		if tty {
			encode = func(_ record.Stream, at time.Time, text string) string { return stamp(at) + text }
		}
		var lines []string
		d := NewDocker(DockerOptions{TTY: tty, MaxLine: 100}, func(l *Line) error {
			lines = append(lines, string(l.Bytes))
			return nil
		})
		must := func(err error) {
			if err != nil {
				t.Helper()
				t.Fatal(err)
			}
		}
		must(d.Feed([]byte(encode(record.Stdout, start, "rest"))))
		d.Settle(record.Stdout, func(l *Line) bool { return false })
		d.Settle(record.Stdout, func(l *Line) bool {
			return l.Ordinal == 1 && l.Time == start.UnixNano() && string(l.Bytes) == "rest"
		})
		must(d.Feed([]byte(encode(record.Stdout, start.Add(1), "next\n"))))
		if fmt.Sprint(lines) != "[next]" {
			t.Fatalf("tty %v: %q", tty, lines)
		}
	}
}

func TestParseTime(t *testing.T) {
	for day := time.Date(1970, 1, 1, 3, 4, 5, 678901234, time.UTC); day.Year() < 2110; day = day.AddDate(0, 0, 1) {
		got, err := parseTime([]byte(day.Format("2006-01-02T15:04:05.000000000Z")))
		if err != nil || got != day.UnixNano() {
			t.Fatalf("%v: got %d, %v", day, got, err)
		}
	}
	got, err := parseTime([]byte("2026-01-02T03:04:05+01:00"))
	if want := time.Date(2026, 1, 2, 2, 4, 5, 0, time.UTC).UnixNano(); err != nil || got != want {
		t.Fatalf("got %d, %v", got, err)
	}
}

func TestNoAllocationPerLine(t *testing.T) {
	input := []byte(strings.Repeat(frame(record.Stdout, start, strings.Repeat("x", 200)+"\n"), 100))
	d := NewDocker(DockerOptions{MaxLine: 1 << 20}, func(*Line) error { return nil })
	allocs := testing.AllocsPerRun(100, func() {
		if err := d.Feed(input); err != nil {
			t.Fatal(err)
		}
	})
	if allocs != 0 {
		t.Fatalf("%v allocations for 100 lines", allocs)
	}
}

// FuzzDocker: no input makes the decoder panic or hold more than an entry and a
// line, and how it is cut into reads changes nothing.
func FuzzDocker(f *testing.F) {
	f.Add([]byte(frame(record.Stdout, start, "a\n")+frame(record.Stderr, start, "rest")), uint8(3), false)
	f.Add([]byte(stamp(start)+"a\n"+stamp(start)+"b"), uint8(1), true)
	f.Add([]byte("\x01\x00\x00\x00\x00"), uint8(1), false)
	f.Fuzz(func(t *testing.T, input []byte, chunk uint8, tty bool) {
		if len(input) > 4096 {
			return // reading byte by byte takes the square of that
		}
		run := func(chunk int) (lines [][]byte, failed bool) {
			d := NewDocker(DockerOptions{TTY: tty, MaxLine: 64, RunStart: start.Add(1)}, func(l *Line) error {
				if len(l.Bytes) > 64 {
					t.Fatalf("line of %d bytes", len(l.Bytes))
				}
				lines = append(lines, bytes.Clone(l.Bytes))
				return nil
			})
			for rest := input; len(rest) > 0; {
				n := min(chunk, len(rest))
				if d.Feed(rest[:n]) != nil {
					return lines, true
				}
				rest = rest[n:]
			}
			return lines, d.Flush() != nil
		}
		whole, failedWhole := run(len(input) + 1)
		cut, failedCut := run(int(chunk) + 1)
		if failedWhole != failedCut || len(whole) != len(cut) {
			t.Fatalf("whole: %q %v, cut: %q %v", whole, failedWhole, cut, failedCut)
		}
		for i := range whole {
			if !bytes.Equal(whole[i], cut[i]) {
				t.Fatalf("line %d: %q, cut %q", i, whole[i], cut[i])
			}
		}
	})
}

func BenchmarkDocker(b *testing.B) {
	input := []byte(strings.Repeat(frame(record.Stdout, start, strings.Repeat("x", 200)+"\n"), 250))
	d := NewDocker(DockerOptions{MaxLine: 1 << 20}, func(*Line) error { return nil })
	b.SetBytes(int64(len(input)))
	b.ReportAllocs()
	for b.Loop() {
		if err := d.Feed(input); err != nil {
			b.Fatal(err)
		}
	}
}
