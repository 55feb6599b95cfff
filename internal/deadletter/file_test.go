package deadletter

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"
	"unicode/utf8"

	"go.uber.org/goleak"

	"log_capturer/internal/record"
	"log_capturer/internal/vfs/vfstest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const path = "/dead-letters.jsonl"

var source = &record.Source{
	Key: "container/0123", Host: "h", ContainerID: "0123", ContainerName: "web", Image: "nginx:1",
	ComposeProject: "shop", ComposeService: "front", Labels: map[string]string{"a": "<b>"},
}

func entry(line string) Entry {
	return Entry{
		Time: time.Unix(1_700_000_000, 0).UTC(), Sink: "loki", Reason: "too_old", Detail: "entry is <too> old",
		Source: source, Stream: record.Stderr, RecordTime: time.Unix(1_600_000_000, 123456789).UTC(), Line: []byte(line),
	}
}

func TestFormat(t *testing.T) {
	f := func(line, want string) {
		t.Helper()
		got, err := encode([]Entry{entry(line)})
		check(t, err)
		want = `{"time":"2023-11-14T22:13:20Z","sink":"loki","reason":"too_old","detail":"entry is <too> old",` +
			`"source":"container/0123","host":"h","container_id":"0123","container_name":"web","image":"nginx:1",` +
			`"compose_project":"shop","compose_service":"front","labels":{"a":"<b>"},` +
			`"stream":"stderr","record_time":"2020-09-13T12:26:40.123456789Z",` + want + "}\n"
		if string(got) != want {
			t.Errorf("encoded:\n%swant:\n%s", got, want)
		}
	}
	f("", `"line":""`)
	f(`say "hi" <b>`, `"line":"say \"hi\" <b>"`)
	f("a\x00\n\x1b[1m", `"line":"a\u0000\n\u001b[1m"`)
	f("\xff\xfe", `"line_base64":"//4="`)
	f("half a rune: \xe2\x82", `"line_base64":"aGFsZiBhIHJ1bmU6IOKC"`)
}

// FuzzLine: whatever the bytes of a line are, they come back.
func FuzzLine(f *testing.F) {
	for _, line := range []string{"", "plain", "\x00", "\xff", "\ufffd", "\u2028", "a\nb", "\xed\xa0\x80"} {
		f.Add([]byte(line))
	}
	f.Fuzz(func(t *testing.T, line []byte) {
		e := entry("")
		e.Line = line
		encoded, err := encode([]Entry{e})
		check(t, err)
		if n := bytes.Count(encoded, []byte("\n")); n != 1 {
			t.Errorf("%d lines", n)
		}
		if !utf8.Valid(encoded) {
			t.Error("not valid UTF-8")
		}
		if got := decode(t, encoded); len(got) != 1 || got[0] != string(line) {
			t.Errorf("decoded %q, want %q", got, line)
		}
	})
}

// decode returns the log lines in a dead-letter file, and fails unless all of it
// is whole objects.
func decode(t testing.TB, file []byte) []string {
	t.Helper()
	var lines []string
	for text := range bytes.Lines(file) {
		var o object
		if err := json.Unmarshal(text, &o); err != nil || !bytes.HasSuffix(text, []byte("\n")) {
			t.Fatalf("not a whole object: %q (%v)", text, err)
		}
		if o.Line != nil {
			lines = append(lines, *o.Line)
		} else {
			lines = append(lines, string(o.LineBase64))
		}
	}
	return lines
}

func wantLines(t testing.TB, disk *vfstest.Disk, want ...string) {
	t.Helper()
	file, _ := disk.ReadFile(path)
	if got := decode(t, file); fmt.Sprintf("%q", got) != fmt.Sprintf("%q", want) {
		t.Errorf("file holds %q, want %q", got, want)
	}
}

func open(t testing.TB, disk *vfstest.Disk) *File {
	t.Helper()
	f, err := OpenFS(disk, path)
	check(t, err)
	return f
}

func TestAppendIsDurable(t *testing.T) {
	for seed := range uint64(30) {
		disk := vfstest.NewDisk()
		f := open(t, disk)
		check(t, f.Append([]Entry{entry("1"), entry("2\xff")}))
		check(t, f.Append(nil))
		check(t, f.Append([]Entry{entry("3")}))
		disk.PowerLoss(rand.New(rand.NewPCG(seed, 0)))
		wantLines(t, disk, "1", "2\xff", "3")
		f = open(t, disk)
		check(t, f.Append([]Entry{entry("4")}))
		check(t, f.Close())
		wantLines(t, disk, "1", "2\xff", "3", "4")
		if n := disk.OpenFiles(); n != 0 {
			t.Fatalf("%d files left open", n)
		}
	}
}

func TestTornTail(t *testing.T) {
	whole, err := encode([]Entry{entry("1"), entry("2")})
	check(t, err)
	for name, tail := range map[string][]byte{
		"none":                  nil,
		"half an object":        whole[:40],
		"all but the newline":   whole[:len(whole)/2-1],
		"zeros":                 make([]byte, 100),
		"longer than one read":  bytes.Repeat([]byte("x"), 200<<10),
		"exactly one read long": bytes.Repeat([]byte("x"), 64<<10),
	} {
		t.Run(name, func(t *testing.T) {
			disk := vfstest.NewDisk()
			disk.WriteFile(path, append(bytes.Clone(whole), tail...))
			f := open(t, disk)
			wantLines(t, disk, "1", "2")
			check(t, f.Append([]Entry{entry("3")}))
			wantLines(t, disk, "1", "2", "3")

			disk.WriteFile(path, bytes.ReplaceAll(tail, []byte("\n"), nil))
			f = open(t, disk)
			check(t, f.Append([]Entry{entry("3")}))
			wantLines(t, disk, "3")
		})
	}
}

func TestTornTailOfALongFile(t *testing.T) {
	disk := vfstest.NewDisk()
	f := open(t, disk)
	want := make([]string, 400)
	entries := make([]Entry, len(want))
	for i := range want {
		want[i] = fmt.Sprint(i)
		entries[i] = entry(want[i])
	}
	check(t, f.Append(entries))
	whole, _ := disk.ReadFile(path)
	disk.WriteFile(path, append(whole, "torn"...))
	open(t, disk)
	wantLines(t, disk, want...)
}

func TestFaults(t *testing.T) {
	for _, test := range []struct {
		name  string
		fault vfstest.Fault
	}{
		{"write", vfstest.Fault{Op: vfstest.Write, Err: syscall.EIO}},
		{"short write", vfstest.Fault{Op: vfstest.Write, Err: syscall.EIO, Short: 30}},
		{"sync", vfstest.Fault{Op: vfstest.Sync, Err: syscall.EIO}},
	} {
		for _, truncate := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s, then truncate works: %v", test.name, truncate), func(t *testing.T) {
				disk := vfstest.NewDisk()
				f := open(t, disk)
				check(t, f.Append([]Entry{entry("1")}))
				disk.Inject(test.fault)
				if !truncate {
					disk.Inject(vfstest.Fault{Op: vfstest.Truncate, Err: syscall.EIO})
				}
				for range 2 {
					if err := f.Append([]Entry{entry("a long line that is refused"), entry("another")}); !errors.Is(err, syscall.EIO) {
						t.Fatalf("Append = %v, want EIO", err)
					}
				}
				disk.Heal()
				check(t, f.Append([]Entry{entry("2")}))
				wantLines(t, disk, "1", "2")
				disk.PowerLoss(rand.New(rand.NewPCG(1, 0)))
				wantLines(t, disk, "1", "2")
			})
		}
	}
}

func TestFullDisk(t *testing.T) {
	disk := vfstest.NewDisk()
	f := open(t, disk)
	check(t, f.Append([]Entry{entry("1")}))
	used := disk.Used()
	disk.SetCapacity(used + 100)
	if err := f.Append([]Entry{entry("2")}); !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("Append = %v, want ENOSPC", err)
	}
	wantLines(t, disk, "1")
	disk.SetCapacity(2 * used)
	check(t, f.Append([]Entry{entry("2")}))
	wantLines(t, disk, "1", "2")
	disk.Kill()
	open(t, disk)
	wantLines(t, disk, "1", "2")
}

func TestOpenFails(t *testing.T) {
	for _, op := range []vfstest.Op{vfstest.Open, vfstest.Seek, vfstest.Read, vfstest.Truncate, vfstest.SyncDir} {
		disk := vfstest.NewDisk()
		disk.WriteFile(path, []byte("torn"))
		disk.Inject(vfstest.Fault{Op: op, Err: syscall.EIO})
		if _, err := OpenFS(disk, path); !errors.Is(err, syscall.EIO) {
			t.Errorf("%s: Open = %v, want EIO", op, err)
		}
		if n := disk.OpenFiles(); n != 0 {
			t.Errorf("%s: %d files left open", op, n)
		}
	}
}

func TestRealFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "dead-letters.jsonl")
	f, err := Open(path)
	check(t, err)
	var wg sync.WaitGroup
	for w := range 4 {
		wg.Go(func() {
			for i := range 5 {
				if err := f.Append([]Entry{entry(fmt.Sprint(w, i)), entry("\xff")}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	info, err := os.Stat(path)
	check(t, err)
	if info.Mode() != 0o600 {
		t.Errorf("mode %v, want 0600", info.Mode())
	}
	data, err := os.ReadFile(path)
	check(t, err)
	if n := len(decode(t, data)); n != 40 {
		t.Errorf("%d lines, want 40", n)
	}
	check(t, f.Close())
	if err := f.Append([]Entry{entry("late")}); !errors.Is(err, os.ErrClosed) {
		t.Errorf("Append to a closed file = %v", err)
	}
}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
