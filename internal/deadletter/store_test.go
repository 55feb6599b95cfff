package deadletter

import (
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
	"pgregory.net/rapid"

	"log_capturer/internal/health"
	"log_capturer/internal/vfs/vfstest"
)

const storeDir = "/data/dead-letters"

func openStore(t interface{ Fatal(...any) }, disk *vfstest.Disk, opts Options) *Store {
	opts.FS, opts.Logger = disk, slog.New(slog.DiscardHandler)
	s, err := OpenStore(storeDir, opts)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func letter(sink, reason, line string) Entry {
	e := entry(line)
	e.Sink, e.Reason = sink, reason
	return e
}

// linesOf returns the lines of the selected letters.
func linesOf(t interface{ Fatal(...any) }, s *Store, sel Selection) (lines []string) {
	letters, err := s.Read(s.IDs(sel))
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range letters {
		e, err := l.Entry()
		if err != nil {
			t.Fatal(err)
		}
		lines = append(lines, fmt.Sprintf("%d %s %s %s", l.ID, e.Sink, e.Reason, e.Line))
	}
	return lines
}

func TestStore(t *testing.T) {
	disk := vfstest.NewDisk()
	s := openStore(t, disk, Options{})
	check(t, s.Append([]Entry{letter("loki", "too_old", "a"), letter("loki", "bad", "b\xff")}))
	check(t, s.Append([]Entry{letter("kafka", "bad", "c")}))
	want := func(s *Store, sel Selection, want ...string) {
		t.Helper()
		if got := linesOf(t, s, sel); !slices.Equal(got, want) {
			t.Errorf("%+v selects %q, want %q", sel, got, want)
		}
	}
	want(s, Selection{}, "0 loki too_old a", "1 loki bad b\xff", "2 kafka bad c")
	want(s, Selection{Reason: "bad"}, "1 loki bad b\xff", "2 kafka bad c")
	want(s, Selection{Sink: "loki", IDs: []uint64{1, 2, 77}}, "1 loki bad b\xff")
	if n, err := s.Remove([]uint64{1, 1, 99}); n != 1 || err != nil {
		t.Errorf("Remove = %d, %v", n, err)
	}
	check(t, testutil.CollectAndCompare(s, strings.NewReader(`
# HELP log_capturer_dead_letters Dead letters that are kept, by the sink that they were for and why it refused them.
# TYPE log_capturer_dead_letters gauge
log_capturer_dead_letters{reason="bad",sink="kafka"} 1
log_capturer_dead_letters{reason="bad",sink="loki"} 0
log_capturer_dead_letters{reason="too_old",sink="loki"} 1
`), "log_capturer_dead_letters"))
	disk.PowerLoss(rand.New(rand.NewPCG(1, 2)))
	s = openStore(t, disk, Options{})
	want(s, Selection{}, "0 loki too_old a", "2 kafka bad c")
	// The numbers go on when nothing is left.
	if n, err := s.Remove([]uint64{0, 2}); n != 2 || err != nil {
		t.Errorf("Remove = %d, %v", n, err)
	}
	check(t, s.Close())
	s = openStore(t, disk, Options{})
	check(t, s.Append([]Entry{letter("loki", "bad", "d")}))
	want(s, Selection{}, "3 loki bad d")
	check(t, s.Close())
	if disk.OpenFiles() != 0 {
		t.Errorf("%d files open", disk.OpenFiles())
	}
}

// A letter comes back with all that is known of its record.
func TestEntryComesBack(t *testing.T) {
	s := openStore(t, vfstest.NewDisk(), Options{})
	in := letter("loki", "bad", "line")
	in.Ordinal, in.Flags = 7, 5
	check(t, s.Append([]Entry{in}))
	letters, err := s.Read([]uint64{0})
	check(t, err)
	out, err := letters[0].Entry()
	check(t, err)
	if fmt.Sprintf("%+v %+v", out, *out.Source) != fmt.Sprintf("%+v %+v", in, *in.Source) &&
		(out.Ordinal != 7 || out.Flags != 5 || out.Source.Labels["a"] != "<b>") {
		t.Errorf("got %+v, want %+v", out, in)
	}
}

// At its cap the store gives up its oldest letters, and counts them.
func TestStoreIsBounded(t *testing.T) {
	disk := vfstest.NewDisk()
	const most = 40000
	s := openStore(t, disk, Options{MaxBytes: most})
	const n = 1000
	for i := range n {
		check(t, s.Append([]Entry{letter("loki", "bad", fmt.Sprint(i))}))
		if disk.Used() > most {
			t.Fatalf("takes %d bytes", disk.Used())
		}
	}
	ids := s.IDs(Selection{})
	if len(ids) < 20 || ids[len(ids)-1] != n-1 || int(ids[0]) != n-len(ids) {
		t.Errorf("%d letters are left, %d to %d", len(ids), ids[0], ids[len(ids)-1])
	}
	check(t, testutil.CollectAndCompare(s, strings.NewReader(fmt.Sprintf(`
# HELP log_capturer_dead_letters_given_up_total Dead letters that were deleted because they were too old (expired) or for want of room (full).
# TYPE log_capturer_dead_letters_given_up_total counter
log_capturer_dead_letters_given_up_total{reason="full",sink="loki"} %d
`, n-len(ids))), "log_capturer_dead_letters_given_up_total"))
}

func TestExpire(t *testing.T) {
	disk := vfstest.NewDisk()
	s := openStore(t, disk, Options{MaxAge: time.Hour})
	check(t, s.Append([]Entry{letter("loki", "bad", "a")}))
	at := entry("").Time
	check(t, s.expire(at.Add(time.Hour)))
	if n := len(s.IDs(Selection{})); n != 1 {
		t.Errorf("%d letters", n)
	}
	check(t, s.expire(at.Add(time.Hour+1)))
	if n := len(s.IDs(Selection{})); n != 0 {
		t.Errorf("%d letters", n)
	}
	check(t, s.Append([]Entry{letter("loki", "bad", "b")}))
	if ids := s.IDs(Selection{}); !slices.Equal(ids, []uint64{1}) {
		t.Errorf("letters %v", ids)
	}
}

func TestStoreHealth(t *testing.T) {
	disk := vfstest.NewDisk()
	s := openStore(t, disk, Options{})
	check(t, s.Append([]Entry{entry("1")}))
	disk.Inject(vfstest.Fault{Op: vfstest.Write, Err: syscall.EIO})
	if err := s.Append([]Entry{entry("2")}); !errors.Is(err, syscall.EIO) {
		t.Errorf("Append = %v", err)
	}
	if h := s.Health()[0]; h.Name != "dead_letters" || h.Status != health.Unhealthy || !strings.Contains(h.Reason, storeDir) {
		t.Errorf("health %+v", h)
	}
	disk.Heal()
	check(t, s.Append([]Entry{entry("2")}))
	if h := s.Health()[0]; h.Status != health.Healthy {
		t.Errorf("health %+v", h)
	}
}

// Whatever happens to the disk and the power, what was appended and not removed
// is there, and what was removed does not come back.
func TestStoreModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		disk := vfstest.NewDisk()
		s := openStore(t, disk, Options{})
		s.fileBytes = 1000
		held, unsure := map[string]bool{}, map[string]bool{}
		n := 0
		t.Repeat(map[string]func(*rapid.T){
			"append": func(t *rapid.T) {
				line := fmt.Sprint(n, strings.Repeat("x", rapid.SampledFrom([]int{1, 400}).Draw(t, "size")))
				n++
				if s.Append([]Entry{letter("loki", "bad", line)}) == nil {
					held[line] = true
				} else {
					unsure[line] = true
				}
			},
			"remove": func(t *rapid.T) {
				ids := s.IDs(Selection{})
				if len(ids) == 0 {
					return
				}
				letters, err := s.Read([]uint64{rapid.SampledFrom(ids).Draw(t, "which")})
				if err != nil || len(letters) != 1 {
					return // the disk fails
				}
				e, err := letters[0].Entry()
				if err != nil {
					t.Fatal(err)
				}
				removed, err := s.Remove([]uint64{letters[0].ID})
				delete(held, string(e.Line))
				if removed == 0 && err != nil {
					unsure[string(e.Line)] = true
				}
			},
			"fault": func(t *rapid.T) {
				disk.Inject(vfstest.Fault{
					Op:  rapid.SampledFrom([]vfstest.Op{vfstest.Write, vfstest.Sync, vfstest.Remove, vfstest.SyncDir, vfstest.Open}).Draw(t, "op"),
					Err: syscall.EIO, Times: 1, Short: rapid.IntRange(0, 100).Draw(t, "short"),
				})
			},
			"restart": func(t *rapid.T) {
				disk.Heal()
				if rapid.Bool().Draw(t, "power") {
					disk.PowerLoss(rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 0)))
				} else {
					disk.Kill()
				}
				s = openStore(t, disk, Options{})
				s.fileBytes = 1000
				got := map[string]bool{}
				letters, err := s.Read(s.IDs(Selection{}))
				if err != nil {
					t.Fatal(err)
				}
				for _, l := range letters {
					e, err := l.Entry()
					if err != nil {
						t.Fatal(err)
					}
					line := string(e.Line)
					if got[line] || !held[line] && !unsure[line] {
						t.Fatalf("%.20q comes back", line)
					}
					got[line] = true
				}
				for line := range held {
					if !got[line] {
						t.Fatalf("%.20q is gone", line)
					}
				}
			},
		})
	})
}
