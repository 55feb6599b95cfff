package localfile

import (
	"context"
	"encoding/binary"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"log_capturer/internal/positions"
	"log_capturer/internal/record"
)

// history is a run of numbered lines of two containers, delivered in small
// requests, with maintenance in between. Its cursor is in the journal, so that
// it goes on where a process ended.
type history struct {
	*world
	sources []*record.Source
	total   int
}

const cursorKey = "cursor"

func newHistory(t *testing.T, change func(*Options)) *history {
	return &history{
		world: newWorld(t, func(o *Options) {
			o.Rotate.MaxBytes = 2000 // two requests
			o.Compress = Zstd
			change(o)
		}),
		sources: []*record.Source{container("a"), container("b")},
		total:   15,
	}
}

func (h *history) cursor() int {
	value, ok := h.journal.Get(cursorKey)
	if !ok {
		return 0
	}
	return int(binary.LittleEndian.Uint64(value))
}

// run delivers what is left until all is done, or for ever fails. A request
// that failed is made again, as the delivery would.
func (h *history) run(f *fault) (done bool) {
	h.start(f)
	for failures := 0; h.cursor() < h.total; {
		h.clock = h.clock.Add(time.Second)
		if err := h.step(); err != nil {
			if failures++; failures == 3 {
				return false
			}
		}
		h.sink.maintain(context.Background())
	}
	h.clock = h.clock.Add(2 * compressPause)
	h.sink.maintain(context.Background())
	h.clock = h.clock.Add(2 * compressPause)
	h.sink.maintain(context.Background())
	return f == nil || !f.crash || f.hit == ""
}

// step delivers the next three lines of both containers.
func (h *history) step() error {
	n := h.cursor()
	at := h.clock
	var batches []*record.Batch
	for _, src := range h.sources {
		b := record.NewBatch(src, 100)
		for i := range 3 {
			b.Append(record.Record{Time: at.UnixNano(), Stream: record.Stream(i % 2)}, fmt.Appendf(nil, "%d", n+i))
		}
		batches = append(batches, b)
	}
	req := request(batches...)
	if err := h.sink.Send(context.Background(), req); err != nil {
		return err
	}
	cursor := binary.LittleEndian.AppendUint64(nil, uint64(n+3))
	return h.journal.Commit(append(req.Changes, positions.Change{Key: cursorKey, Value: cursor})...)
}

// check fails unless the files of each container hold every delivered line
// once, in order, over closed files and then the active one. With retention,
// the oldest lines may be missing; when it has had its time (retained), not
// more files may be there than it keeps.
func (h *history) check(what string, retained bool) {
	h.t.Helper()
	files := h.contents()
	for _, src := range h.sources {
		var got []string
		var names []string
		for _, name := range slices.Sorted(maps.Keys(files)) {
			if strings.HasPrefix(filepath.Base(name), src.ContainerName+"-") {
				names = append(names, name)
			}
		}
		for _, name := range append(names, src.ContainerName+".log") {
			got = append(got, textOf(h.t, files[name])...)
		}
		var want []string
		for i := range h.cursor() {
			want = append(want, fmt.Sprint(i))
		}
		if keep := h.opts.Retention.MaxFiles; keep > 0 {
			if retained && len(names) > keep {
				h.t.Fatalf("%s: %d closed files of %s, want at most %d: %q", what, len(names), src.ContainerName, keep, names)
			}
			if len(got) == 0 && len(want) > 0 {
				h.t.Fatalf("%s: no lines of %s are left", what, src.ContainerName)
			}
			want = want[len(want)-min(len(got), len(want)):]
		}
		if !slices.Equal(got, want) {
			h.t.Fatalf("%s: lines of %s in %q: %q, want %q", what, src.ContainerName, names, got, want)
		}
	}
	// The journal and the directory speak of the same files.
	known := map[string]bool{}
	for path := range h.sink.active {
		known[path] = true
	}
	for path := range h.sink.closed {
		known[path] = true
	}
	for name, content := range files {
		// A file may be made, but not written to, before it is known.
		if path := filepath.Join(h.dir, name); !known[path] && content != "" {
			h.t.Fatalf("%s: file %q is not known; known are %q", what, path, slices.Sorted(maps.Keys(known)))
		}
		delete(known, filepath.Join(h.dir, name))
	}
	if len(known) > 0 {
		h.t.Fatalf("%s: missing files %q", what, slices.Sorted(maps.Keys(known)))
	}
}

var crashSettings = map[string]func(*Options){
	"zstd":               func(o *Options) {},
	"gzip and retention": func(o *Options) { o.Compress, o.Retention.MaxFiles = Gzip, 1 },
}

// The process ends at every step of writing, rotation, compression and
// retention, and once more soon after it has started again.
func TestEveryRecordOnceAfterACrashAtAnyStep(t *testing.T) {
	for name, change := range crashSettings {
		for _, applied := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, applied %v", name, applied), func(t *testing.T) {
				t.Parallel()
				crashes := 0
				for at := 1; ; at++ {
					h := newHistory(t, change)
					first := &fault{at: at, applied: applied, crash: true}
					if h.run(first) {
						if crashes < 50 {
							t.Fatalf("only %d steps", crashes)
						}
						h.check("no crash", true)
						h.stop()
						return
					}
					crashes++
					second := &fault{at: 1 + at%11, applied: applied, crash: true}
					h.run(second)
					what := fmt.Sprintf("crash at %d (%s), then at %d (%s)", at, first.hit, second.at, second.hit)
					h.start(nil)
					h.check(what+", started", false)
					h.run(nil)
					if h.cursor() != h.total {
						t.Fatalf("%s: could not go on", what)
					}
					h.check(what, true)
					h.stop()
				}
			})
		}
	}
}

// One operation fails at every step, with its effect, half of it, or none. The
// process goes on.
func TestEveryRecordOnceAfterAnErrorAtAnyStep(t *testing.T) {
	for name, change := range crashSettings {
		for _, applied := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, applied %v", name, applied), func(t *testing.T) {
				t.Parallel()
				for at := 1; ; at++ {
					h := newHistory(t, change)
					f := &fault{at: at, applied: applied}
					if !h.run(f) {
						t.Fatalf("error at %d (%s): could not go on", at, f.hit)
					}
					h.check(fmt.Sprintf("error at %d (%s)", at, f.hit), true)
					h.stop()
					if f.hit == "" {
						return
					}
				}
			})
		}
	}
}
