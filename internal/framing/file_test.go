package framing

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"log_capturer/internal/record"
)

// fileDecoder is what the decoders of plain and CRI files have in common.
type fileDecoder interface {
	Start(s record.Stream, seq uint64, time int64)
	Bound(here record.Place) record.Place
	Decode(p []byte, at int64) (int, error)
	End(p []byte, at int64) error
}

// fileText feeds a decoder the bytes of a file.
type fileText struct {
	decoder fileDecoder
	content []byte
	// at is where the decoder has come to, and chunk where what it is given
	// begins.
	at, chunk int
	lines     []string
}

func newFileText(content string, cri bool, maxLine int) *fileText {
	f := &fileText{content: []byte(content)}
	opts := PlainOptions{MaxLine: maxLine, Place: func(i int) record.Place { return f.place(f.chunk + i) }}
	emit := func(l *Line) error {
		f.lines = append(f.lines, describe(l))
		return nil
	}
	if cri {
		f.decoder = NewCRI(opts, emit)
	} else {
		f.decoder = NewPlain(opts, emit)
	}
	return f
}

func (f *fileText) place(at int) record.Place {
	return record.Place{File: record.FileID{Inode: 1}, Offset: int64(at)}
}

func describe(l *Line) string {
	text := string(l.Bytes)
	if len(text) > 60 {
		text = fmt.Sprintf("%s...%d", text[:20], len(text))
	}
	marks := ""
	for i, name := range []string{"cut", "continued", "unterminated"} {
		if l.Flags&(1<<i) != 0 {
			marks += " " + name
		}
	}
	return fmt.Sprintf("%s %d %q%s", l.Stream, l.Time, text, marks)
}

// feed gives the decoder what is unread up to end.
func (f *fileText) feed(end int, last bool) {
	f.chunk = f.at
	if last {
		must(f.decoder.End(f.content[f.at:end], 7))
		f.at = end
		return
	}
	n, err := f.decoder.Decode(f.content[f.at:end], 7)
	must(err)
	f.at += n
}

func must(err error) {
	if err != nil {
		panic(err)
	}
}

func TestPlain(t *testing.T) {
	f := func(content string, want ...string) {
		t.Helper()
		d := newFileText(content, false, 10)
		d.feed(len(content), true)
		if !slices.Equal(d.lines, want) {
			t.Errorf("%q:\n%s\nwant\n%s", content, strings.Join(d.lines, "\n"), strings.Join(want, "\n"))
		}
	}
	f("")
	f("a\n", `stdout 7 "a"`)
	f("a\nb", `stdout 7 "a"`, `stdout 8 "b" unterminated`)
	f("\n\n", `stdout 7 ""`, `stdout 8 ""`)
	f("a\r\n", `stdout 7 "a\r"`)
	f("\xff\xfe\x00a\n", `stdout 7 "\xff\xfe\x00a"`)
	f("0123456789\n", `stdout 7 "0123456789"`)
	f("0123456789a\n", `stdout 7 "0123456789" cut`, `stdout 8 "a" continued`)
	f("01234567890123456789\n", `stdout 7 "0123456789" cut`, `stdout 8 "0123456789" continued`)
	f("012345678901234567890", `stdout 7 "0123456789" cut`, `stdout 8 "0123456789" cut continued`, `stdout 9 "0" continued unterminated`)
}

func TestCRI(t *testing.T) {
	const t1, t2 = "2024-01-31T10:00:00.000000001Z", "2024-01-31T12:00:00.000000002+02:00"
	const n1, n2 = "1706695200000000001", "1706695200000000002"
	f := func(content string, want ...string) {
		t.Helper()
		d := newFileText(content, true, 10)
		d.feed(len(content), true)
		must(d.decoder.(*CRI).Flush())
		if !slices.Equal(d.lines, want) {
			t.Errorf("%q:\n%s\nwant\n%s", content, strings.Join(d.lines, "\n"), strings.Join(want, "\n"))
		}
	}
	f(t1+" stdout F hello\n"+t2+" stderr F world\n", `stdout `+n1+` "hello"`, `stderr `+n2+` "world"`)
	f(t1+" stdout F \n"+t1+" stdout F\n", `stdout `+n1+` ""`, `stdout `+n1+` ""`)
	f(t1+" stdout P ab\n"+t2+" stdout P cd\n"+t2+" stdout F ef\n", `stdout `+n1+` "abcdef"`)
	f(t1+" stdout P:x ab\n"+t2+" stderr F err\n"+t2+" stdout F:y ef\n", `stderr `+n2+` "err"`, `stdout `+n1+` "abef"`)
	f(t1+" stdout P 0123456\n"+t2+" stdout F 0123456\n", `stdout `+n1+` "0123456012" cut`, `stdout `+n1+` "3456" continued`)
	f(t1+" stdout P ab\n", `stdout `+n1+` "ab" unterminated`)
	f(t1+" stdout F ab", `stdout `+n1+` "ab" unterminated`)
	f(t1+" stdout F \xff\x00\n", `stdout `+n1+` "\xff\x00"`)
	f(t1+" stdout F x\nodd\n"+t2+" stdout F y\n", `stdout `+n1+` "x"`, `stdout `+n1+` "odd"`, `stdout `+n2+` "y"`)
	f("odd\n", `stdout 7 "odd"`)
	f(t1+" stdout P ab\nodd\n", `stdout `+n1+` "ab" unterminated`, `stdout `+n1+` "odd"`)
	f("torn", `stdout 7 "torn" unterminated`)
	long := strings.Repeat("x", maxCRIEntry) + "\n"
	d := newFileText(long, true, 1<<20)
	d.feed(len(long)-1, false)
	d.feed(len(long), false)
	if len(d.lines) != 1 || !strings.HasSuffix(d.lines[0], fmt.Sprintf(`...%d"`, maxCRIEntry)) {
		t.Errorf("long line that is no entry: %v", d.lines)
	}
}

func TestIsCRI(t *testing.T) {
	f := func(p string, is, known bool) {
		t.Helper()
		if gotIs, gotKnown := IsCRI([]byte(p)); gotIs != is || gotKnown != known {
			t.Errorf("IsCRI(%.40q) is %v, %v", p, gotIs, gotKnown)
		}
	}
	f("2024-01-31T10:00:00.000000001Z stdout F x\n", true, true)
	f("2024-01-31T10:00:00.000000001+01:00 stderr P x\nanything", true, true)
	f("2024-01-31T10:00:00.000000001Z stdout", false, false)
	f("2024-01-31T10:00:00.000000001Z info message\n", false, true)
	f("plain\n", false, true)
	f("", false, false)
	f(strings.Repeat("x", 200), false, true)
}

// However a file comes in parts, its lines are the same; and from every place
// that a decoder says, they come again with the same numbers.
func TestFileDecodersInParts(t *testing.T) {
	for _, cri := range []bool{false, true} {
		t.Run(fmt.Sprintf("cri=%v", cri), func(t *testing.T) {
			rapid.Check(t, func(t *rapid.T) {
				var b bytes.Buffer
				for i := range rapid.IntRange(0, 12).Draw(t, "lines") {
					size := rapid.SampledFrom([]int{0, 1, 5, 10, 11, 25, 20_000, 60_000}).Draw(t, "size")
					text := strings.Repeat(string(rune('a'+i)), size)
					if !cri || rapid.IntRange(0, 9).Draw(t, "odd") == 0 {
						fmt.Fprintf(&b, "%s\n", text)
						continue
					}
					fmt.Fprintf(&b, "2024-01-31T10:00:00.%09dZ %s %s %s\n", i, rapid.SampledFrom([]string{"stdout", "stderr"}).Draw(t, "stream"),
						rapid.SampledFrom([]string{"F", "F", "P"}).Draw(t, "tag"), text[:min(len(text), 16<<10)])
				}
				if !cri {
					b.WriteString(rapid.SampledFrom([]string{"", "rest"}).Draw(t, "rest"))
				}
				content := b.String()
				maxLine := rapid.SampledFrom([]int{10, 15_000, 1 << 20}).Draw(t, "max")
				whole := newFileText(content, cri, maxLine)
				whole.feed(len(content), true)

				parts := newFileText(content, cri, maxLine)
				var bounds []record.Place
				for end := 0; end < len(content); {
					end = min(len(content), end+rapid.SampledFrom([]int{1, 7, 50, 20_000, 64_000}).Draw(t, "part"))
					parts.feed(end, false)
					bounds = append(bounds, parts.decoder.Bound(parts.place(parts.at)))
				}
				parts.feed(len(content), true)
				if !slices.Equal(parts.lines, whole.lines) {
					t.Fatalf("in parts\n%s\nas a whole\n%s", strings.Join(parts.lines, "\n"), strings.Join(whole.lines, "\n"))
				}
				for _, p := range bounds {
					again := newFileText(content, cri, maxLine)
					again.at = int(p.Offset)
					for s, n := range p.Seqs {
						again.decoder.Start(record.Stream(s), n, lastTime(whole.lines, record.Stream(s), n))
					}
					again.feed(len(content), true)
					if len(again.lines) > len(whole.lines) || !sameStreams(again.lines, whole.lines, p.Seqs) {
						t.Fatalf("from %+v\n%s\nof\n%s", p, strings.Join(again.lines, "\n"), strings.Join(whole.lines, "\n"))
					}
				}
			})
		})
	}
}

// lastTime returns the time of the n-th line of a stream.
func lastTime(lines []string, stream record.Stream, n uint64) (time int64) {
	for _, l := range lines {
		if strings.HasPrefix(l, stream.String()) && n > 0 {
			n--
			var name string
			_, err := fmt.Sscanf(l, "%s %d", &name, &time)
			must(err)
		}
	}
	return time
}

// sameStreams reports whether each stream's lines of got are those of all behind
// the first seqs of them. Between the streams, the order may differ, and so may
// the time of what has none of its own.
func sameStreams(got, all []string, seqs [record.NumStreams]uint64) bool {
	for s := range seqs {
		prefix := record.Stream(s).String()
		of := func(lines []string) (texts []string) {
			for _, l := range lines {
				if strings.HasPrefix(l, prefix) {
					texts = append(texts, l[strings.Index(l, `"`):])
				}
			}
			return texts
		}
		if want := of(all); seqs[s] > uint64(len(want)) || !slices.Equal(of(got), want[seqs[s]:]) {
			return false
		}
	}
	return true
}
