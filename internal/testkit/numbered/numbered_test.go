package numbered

import (
	"bytes"
	"path/filepath"
	"testing"
	"unicode/utf8"

	"go.uber.org/goleak"

	"log_capturer/internal/record"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestLinesParseAsTheyWereWritten(t *testing.T) {
	for _, alphabet := range []Alphabet{ASCII, Mixed} {
		for n := uint64(1); n < 2000; n++ {
			size := int(n * 13 % 900)
			line := Append(nil, "run-1", record.Stderr, n, size, alphabet)
			if len(line) != max(size, len(Append(nil, "run-1", record.Stderr, n, 0, alphabet))) {
				t.Fatalf("line %d has %d bytes, want %d", n, len(line), size)
			}
			if bytes.ContainsAny(line, "\n\r") || !utf8.Valid(line) {
				t.Fatalf("line %d does not survive a container's log: %q", n, line)
			}
			l, err := Parse(line)
			if err != nil || string(l.Run) != "run-1" || l.Stream != record.Stderr || l.N != n || l.End {
				t.Fatalf("line %d: %+v, %v", n, l, err)
			}
		}
	}
	l, err := Parse(AppendEnd(nil, "r", record.Stdout, 12))
	if err != nil || !l.End || l.N != 12 || string(l.Run) != "r" {
		t.Errorf("end line: %+v, %v", l, err)
	}
}

func TestEveryChangedByteIsSeen(t *testing.T) {
	line := Append(nil, "r", record.Stdout, 7, 90, ASCII)
	for i := range line {
		bad := bytes.Clone(line)
		bad[i] ^= 1
		if l, err := Parse(bad); err == nil {
			t.Errorf("byte %d changed, and parsed as %+v", i, l)
		}
		if l, err := Parse(line[:i]); err == nil {
			t.Errorf("cut to %d bytes, and parsed as %+v", i, l)
		}
	}
	for _, other := range []string{"", "hello", "r out", "r out x y", "r out end x", "r log 1 00000000 "} {
		if _, err := Parse([]byte(other)); err != ErrForm {
			t.Errorf("%q: %v", other, err)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add(Append(nil, "r", record.Stdout, 7, 90, Mixed))
	f.Add(AppendEnd(nil, "r", record.Stderr, 7))
	f.Add([]byte("r out 1 zzzzzzzz "))
	f.Fuzz(func(t *testing.T, line []byte) {
		if l, err := Parse(line); err == nil && !bytes.HasPrefix(line, l.Run) {
			t.Errorf("run %q is not in %q", l.Run, line)
		}
	})
}

func TestCountFileKeepsEveryStart(t *testing.T) {
	path := filepath.Join(t.TempDir(), "counts")
	if err := CreateCounts(path); err != nil {
		t.Fatal(err)
	}
	for start := 1; start <= 3; start++ {
		c, err := OpenCounts(path)
		if err != nil {
			t.Fatal(err)
		}
		if c.Start() != start {
			t.Errorf("start %d, want %d", c.Start(), start)
		}
		c.Set(record.Stdout, uint64(10*start))
		c.Set(record.Stderr, uint64(10*start+1))
	}
	counts, err := ReadCounts(path)
	if err != nil || len(counts) != 3 || counts[2].Lines != [2]uint64{30, 31} || counts[0].Lines != [2]uint64{10, 11} {
		t.Errorf("counts %v, %v", counts, err)
	}
}
