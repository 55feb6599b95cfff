package framing

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"log_capturer/internal/record"
)

// jsonLine encodes an entry as the engine's json-file driver does.
func jsonLine(stream record.Stream, at time.Time, text string) string {
	quoted, err := json.Marshal(text)
	if err != nil {
		panic(err)
	}
	return fmt.Sprintf(`{"log":%s,"stream":%q,"time":%q}`, quoted, stream, at.Format(time.RFC3339Nano)) + "\n"
}

// feeder gives a decoder a file in chunks, as a reader of files does: what it
// did not use comes again.
type feeder struct {
	d     *JSONFile
	chunk int
	rest  []byte
	// at is the offset of rest in the file.
	at int64
}

func (f *feeder) feed(input string) error {
	for len(input) > 0 {
		n := min(f.chunk, len(input))
		f.rest = append(f.rest, input[:n]...)
		input = input[n:]
		used, err := f.d.Decode(f.rest)
		if err != nil {
			return err
		}
		f.rest = f.rest[used:]
		f.at += int64(used)
	}
	return nil
}

// newFeeder returns a feeder and what its decoder emits, described.
func newFeeder(maxLine, chunk int) (*feeder, *[]string) {
	f, lines := &feeder{chunk: chunk}, &[]string{}
	f.d = NewJSONFile(JSONFileOptions{
		MaxLine: maxLine,
		Place:   func(i int) record.Place { return record.Place{Offset: f.at + int64(i)} },
	}, func(l *Line) error {
		text := string(l.Bytes)
		if len(text) > 40 {
			text = fmt.Sprintf("%s...%d", text[:8], len(text))
		}
		*lines = append(*lines, fmt.Sprintf("%s +%d #%d %q %s", l.Stream, l.Time-start.UnixNano(), l.Ordinal, text, flagNames(l.Flags)))
		return nil
	})
	return f, lines
}

func TestJSONFile(t *testing.T) {
	piece := strings.Repeat("p", pieceSize)
	at := func(n int) time.Time { return start.Add(time.Duration(n)) }
	out, err := record.Stdout, record.Stderr
	good := jsonLine(out, at(9), "good\n")
	tests := []struct {
		name    string
		maxLine int
		input   string
		lost    int
		want    []string
	}{
		{"lines of two streams", 100, jsonLine(out, at(0), "a\n") + jsonLine(err, at(1), "b\n") + jsonLine(out, at(2), "\n"), 0,
			[]string{`stdout +0 #1 "a" `, `stderr +1 #1 "b" `, `stdout +2 #1 "" `}},
		{"ordinals within one time", 100, jsonLine(out, at(0), "a\n") + jsonLine(err, at(0), "b\n") + jsonLine(out, at(0), "a\n"), 0,
			[]string{`stdout +0 #1 "a" `, `stderr +0 #1 "b" `, `stdout +0 #2 "a" `}},
		{"times of every length", 100, jsonLine(out, at(1), "a\n") + jsonLine(out, at(100000001), "b\n") +
			jsonLine(out, at(121000001), "c\n") + jsonLine(out, at(86400e9), "d\n"), 0,
			[]string{`stdout +1 #1 "a" `, `stdout +100000001 #1 "b" `, `stdout +121000001 #1 "c" `, `stdout +86400000000000 #1 "d" `}},
		{"pieces, interleaved with the other stream", 1 << 20,
			jsonLine(out, at(0), piece) + jsonLine(err, at(1), "e\n") + jsonLine(out, at(0), piece) + jsonLine(out, at(0), "z\n"), 0,
			[]string{`stderr +1 #1 "e" `, `stdout +0 #1 "pppppppp...32769" `}},
		{"cut", 10, jsonLine(out, at(0), "0123456789abcdefghijKLM\n"), 0,
			[]string{`stdout +0 #1 "0123456789" cut`, `stdout +0 #2 "abcdefghij" cut,continued`, `stdout +0 #3 "KLM" continued`}},
		{"unterminated at the end", 100, jsonLine(out, at(0), "rest"), 0, []string{`stdout +0 #1 "rest" unterminated`}},
		{"unterminated before the next run", 100, jsonLine(out, at(0), "rest") + jsonLine(out, at(5), "next\n"), 0,
			[]string{`stdout +0 #1 "rest" unterminated`, `stdout +5 #1 "next" `}},
		{"escapes", 100, jsonLine(out, at(0), "\x00\x1b[1m<&>\t\"q\" \\ \u2028 \U0001f600 é\r\n"), 0,
			[]string{fmt.Sprintf("stdout +0 #1 %q ", "\x00\x1b[1m<&>\t\"q\" \\ \u2028 \U0001f600 é\r")}},
		{"surrogates", 100, `{"log":"\ud83d\ude00 \ud83d \udE00\/\b\f\n","stream":"stdout","time":"2026-03-01T00:00:00Z"}` + "\n", 0,
			[]string{fmt.Sprintf("stdout +1 #1 %q ", "\U0001f600 \ufffd \ufffd/\b\f")}},
		{"attrs", 100, strings.Repeat(`{"log":"a\n","stream":"stderr","attrs":{"log":"x","time":",\"time\":\""},"time":"2026-03-01T00:00:00.5Z"}`+"\n", 2), 0,
			[]string{`stderr +500000001 #1 "a" `, `stderr +500000001 #2 "a" `}},
		{"another writer's form", 100, `{ "time":"2026-03-01T01:00:00+01:00", "log":"a\n", "stream":"stdout", "more":1 }` + "\n", 0,
			[]string{`stdout +1 #1 "a" `}},
		{"torn, with the next entry behind it", 100, `{"log":"torn ` + good + good, len(`{"log":"torn `),
			[]string{`stdout +9 #1 "good" `, `stdout +9 #2 "good" `}},
		{"torn in an escape", 100, `{"log":"torn \u0` + good, len(`{"log":"torn \u0`), []string{`stdout +9 #1 "good" `}},
		{"torn in the attrs", 100, `{"log":"a\n","stream":"stdout","attrs":{"a":"b` + good, len(`{"log":"a\n","stream":"stdout","attrs":{"a":"b`),
			[]string{`stdout +9 #1 "good" `}},
		{"torn in the time", 100, `{"log":"a\n","stream":"stdout","time":"2026-` + good, len(`{"log":"a\n","stream":"stdout","time":"2026-`),
			[]string{`stdout +9 #1 "good" `}},
		{"torn, with its newline", 100, good[:20] + "\n" + good, 21, []string{`stdout +9 #1 "good" `}},
		{"NULs before an entry", 100, strings.Repeat("\x00", 500_000) + good, 500_000, []string{`stdout +9 #1 "good" `}},
		{"NULs behind a torn one", 100, `{"log":"torn` + strings.Repeat("\x00", 70) + good, 12 + 70, []string{`stdout +9 #1 "good" `}},
		{"NULs as a line", 100, good + "\x00\x00\n" + good, 3, []string{`stdout +9 #1 "good" `, `stdout +9 #2 "good" `}},
		{"no entry at all", 100, "oops\n{}\n[1]\n\n" + `{"log":"a\n","stream":"stdin","time":"2026-03-01T00:00:00Z"}` + "\n" + good,
			12 + 62, []string{`stdout +9 #1 "good" `}},
		{"bad dates", 100, strings.ReplaceAll(strings.ReplaceAll(jsonLine(out, at(1), "a\n"), "-03-", "-13-")+
			strings.ReplaceAll(jsonLine(out, at(1), "a\n"), "T00:", "T24:"), "x", "x") + good, 2 * len(jsonLine(out, at(1), "a\n")), []string{`stdout +9 #1 "good" `}},
		{"longer than any entry", 100, strings.Repeat("x", MaxJSONEntry*2) + good, MaxJSONEntry * 2, []string{`stdout +9 #1 "good" `}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			for _, chunk := range []int{1, 7, 1000, 1 << 20} {
				if chunk < 1000 && len(tt.input) > 100_000 {
					continue // the square of that
				}
				f, lines := newFeeder(tt.maxLine, chunk)
				if err := f.feed(tt.input); err != nil {
					t.Fatal(err)
				}
				if len(f.rest) > 0 {
					t.Fatalf("chunks of %d: %q is left", chunk, f.rest)
				}
				if err := f.d.Flush(); err != nil {
					t.Fatal(err)
				}
				if fmt.Sprint(*lines) != fmt.Sprint(tt.want) {
					t.Fatalf("chunks of %d:\n got %q\nwant %q", chunk, *lines, tt.want)
				}
				if f.d.Lost() != uint64(tt.lost) {
					t.Fatalf("chunks of %d: %d bytes lost, want %d", chunk, f.d.Lost(), tt.lost)
				}
			}
		})
	}
}

// perStream sorts described lines by their streams, which is the order that is
// promised.
func perStream(lines []string) []string {
	lines = slices.Clone(lines)
	slices.SortStableFunc(lines, func(a, b string) int { return strings.Compare(a[:6], b[:6]) })
	return lines
}

// TestJSONFileBound says that reading again from a bound gives what was not
// emitted, numbered as before.
func TestJSONFileBound(t *testing.T) {
	at := func(n int) time.Time { return start.Add(time.Duration(n)) }
	out, err := record.Stdout, record.Stderr
	entries := []string{
		jsonLine(out, at(0), "a\n"), jsonLine(out, at(1), "piece "), jsonLine(err, at(2), "b\n"), jsonLine(err, at(3), "piece "),
		jsonLine(err, at(4), "c\n"), jsonLine(out, at(1), "end\n"), jsonLine(out, at(5), strings.Repeat("cut", 30)),
		jsonLine(err, at(6), "open"), jsonLine(out, at(7), "open"), jsonLine(out, at(7), " end\n"), jsonLine(err, at(6), "\n"),
	}
	file := strings.Join(entries, "")
	whole, want := newFeeder(50, 1<<20)
	if err := whole.feed(file); err != nil {
		t.Fatal(err)
	}
	end := 0
	for i, e := range entries {
		end += len(e)
		first, had := newFeeder(50, 1<<20)
		if err := first.feed(file[:end]); err != nil {
			t.Fatal(err)
		}
		bound := first.d.Bound(record.Place{Offset: first.at})
		again, lines := newFeeder(50, 1<<20)
		again.at = bound.Offset
		var skip, skipped [record.NumStreams]uint64
		for s := range bound.Seqs {
			again.d.Start(record.Stream(s), bound.Seqs[s])
			skip[s] = first.d.Seq(record.Stream(s)) - bound.Seqs[s]
		}
		if err := again.feed(file[bound.Offset:]); err != nil {
			t.Fatal(err)
		}
		got := append([]string(nil), *had...)
		for _, l := range *lines {
			s := record.Stdout
			if strings.HasPrefix(l, "stderr") {
				s = record.Stderr
			}
			if skipped[s]++; skipped[s] > skip[s] {
				got = append(got, l)
			}
		}
		if fmt.Sprint(perStream(got)) != fmt.Sprint(perStream(*want)) {
			t.Fatalf("after entry %d, bound %+v:\n got %q\nwant %q", i, bound, got, *want)
		}
		for s := range bound.Seqs {
			if stream := record.Stream(s); again.d.Seq(stream) != whole.d.Seq(stream) {
				t.Fatalf("after entry %d: %v is numbered to %d, want %d", i, stream, again.d.Seq(stream), whole.d.Seq(stream))
			}
		}
	}
}

// mixed is a json-file of lines as applications write them.
func mixed(lines int) []byte {
	var b strings.Builder
	for i := range lines {
		at := start.Add(time.Duration(i) * 137 * time.Microsecond)
		switch i % 3 {
		case 0:
			b.WriteString(jsonLine(record.Stdout, at, fmt.Sprintf("10.1.2.%d - - [28/Feb/2026:23:59:59 +0000] \"GET /api/v1/items/%d?page=2 HTTP/1.1\" 200 %d \"https://shop.example.com/\" \"Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36\"\n", i%256, i, i*7%10000)))
		case 1:
			b.WriteString(jsonLine(record.Stderr, at, fmt.Sprintf("time=2026-02-28T23:59:59.999Z level=info msg=request_done request_id=%08x user=u%d path=/checkout/confirm status=200 took=%dms bytes=%d region=eu-central-1\n", i*2654435761, i%999, i%300, i*13%100000)))
		default:
			b.WriteString(jsonLine(record.Stdout, at, fmt.Sprintf(`{"level":"info","ts":%d.25,"logger":"orders","msg":"order placed","order":"o-%d","customer":"c-%d","total":%d.99,"currency":"EUR"}`+"\n", i, i*31, i%777, i%500)))
		}
	}
	return []byte(b.String())
}

func TestJSONFileNoAllocationPerLine(t *testing.T) {
	input := mixed(300)
	input = append(input, strings.Repeat(`{"log":"a\n","stream":"stderr","attrs":{"a":"b"},"time":"2026-03-01T00:00:00.5Z"}`+"\n", 100)...)
	d := NewJSONFile(JSONFileOptions{MaxLine: 1 << 20}, func(*Line) error { return nil })
	allocs := testing.AllocsPerRun(100, func() {
		if n, err := d.Decode(input); err != nil || n != len(input) {
			t.Fatal(n, err)
		}
	})
	if allocs != 0 {
		t.Fatalf("%v allocations for 400 lines", allocs)
	}
	if d.Lost() != 0 {
		t.Fatalf("%d bytes lost", d.Lost())
	}
}

// FuzzJSONFileEntry: what encoding/json takes for an entry is taken for the same
// one, and nothing else is.
func FuzzJSONFileEntry(f *testing.F) {
	for _, line := range strings.Split(string(mixed(3)), "\n") {
		f.Add([]byte(line))
	}
	f.Add([]byte(`{"log":"\u0000\ud83d\ude00\n","stream":"stderr","attrs":{"a":"b"},"time":"2026-02-29T00:00:00.123Z"}`))
	f.Add([]byte(`{"log":"a","stream":"stdout","log":"b","time":"2024-02-29T24:00:00Z"} `))
	f.Fuzz(func(t *testing.T, line []byte) {
		if !utf8.Valid(line) {
			return // encoding/json replaces the bytes; a file's are kept
		}
		var want struct{ Log, Stream, Time string }
		err := json.Unmarshal(line, &want)
		at, timeErr := time.Parse(time.RFC3339Nano, want.Time)
		ok := err == nil && line[0] == '{' && timeErr == nil && len(want.Time) <= 64 && (want.Stream == "stdout" || want.Stream == "stderr")
		got, gotOK := NewJSONFile(JSONFileOptions{}, nil).parse(line)
		if gotOK != ok {
			t.Fatalf("%q: taken for an entry: %v, by encoding/json: %v (%v, %v)", line, gotOK, ok, err, timeErr)
		}
		if ok && (string(got.text) != want.Log || got.stream.String() != want.Stream || got.time != at.UnixNano()) {
			t.Fatalf("%q: got %q %v %d, want %+v %d", line, got.text, got.stream, got.time, want, at.UnixNano())
		}
	})
}

// FuzzJSONFile: how a file is cut into reads changes nothing, and every byte of
// it is in an entry or counted as lost.
func FuzzJSONFile(f *testing.F) {
	good := jsonLine(record.Stdout, start, "good\n")
	f.Add([]byte(good+"\x00\x00"+good+good[:20]+good+"x\n"+good), uint8(3))
	f.Add([]byte(jsonLine(record.Stdout, start, "piece")+jsonLine(record.Stderr, start, "b\n")), uint8(1))
	f.Fuzz(func(t *testing.T, input []byte, chunk uint8) {
		if len(input) > 4096 {
			return
		}
		run := func(chunk int) (string, uint64, string) {
			f, lines := newFeeder(64, chunk)
			if err := f.feed(string(input)); err != nil {
				t.Fatal(err)
			}
			if f.at+int64(len(f.rest)) != int64(len(input)) {
				t.Fatalf("%d bytes used and %d left of %d", f.at, len(f.rest), len(input))
			}
			return fmt.Sprint(*lines), f.d.Lost(), string(f.rest)
		}
		whole, lost, rest := run(len(input) + 1)
		cut, lostCut, restCut := run(int(chunk) + 1)
		if whole != cut || lost != lostCut || rest != restCut {
			t.Fatalf("whole: %s, %d lost, %q left\ncut:   %s, %d lost, %q left", whole, lost, rest, cut, lostCut, restCut)
		}
	})
}

func BenchmarkJSONFile(b *testing.B) {
	input := mixed(600)
	d := NewJSONFile(JSONFileOptions{MaxLine: 1 << 20}, func(*Line) error { return nil })
	b.SetBytes(int64(len(input)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := d.Decode(input); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/600, "ns/line")
}
