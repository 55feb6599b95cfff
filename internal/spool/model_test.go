package spool

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"

	"pgregory.net/rapid"

	"log_capturer/internal/record"
	"log_capturer/internal/record/recordtest"
	"log_capturer/internal/vfs"
	"log_capturer/internal/vfs/vfstest"
)

// fate is what must have become of an entry.
type fate int

const (
	// appended: it may be found by a later Open, if all before it are.
	appended fate = iota
	// held: it must come, or be counted as lost.
	held
	// gone: an Open has not found it. It must not come.
	gone
	// perhaps: it was removed or voided in this run, and comes again only if
	// the run ends before that is durable.
	perhaps
)

// known is an entry as the model knows it.
type known struct {
	*Entry
	line string
	fate fate
	// run is the run in which it was last known to be gone.
	run int
	// inMemory entries are passed over in this run, done ones are not missed.
	inMemory, done bool
}

// model is what a spool must hold after any sequence of operations, faults,
// kills, losses of power and damages: flipped bits and ends that are missing.
type model struct {
	disk *vfstest.Disk
	s    *Spool
	// entries are all that were appended, oldest first.
	entries []*known
	// pending are those that no Sync has covered; taken those that are in
	// memory and not done.
	pending, taken []*known
	// committed is what the caller's journal holds; durable, what it would hold
	// after a loss of power.
	committed, durable uint64
	line               int
	at                 int // index of the first entry that Next may return
	lost               uint64
	damages, run       int
}

// TestModel checks the spool against the model. LOG_CAPTURER_LONG=1 looks
// longer.
func TestModel(t *testing.T) {
	rounds := 4
	if os.Getenv("LOG_CAPTURER_LONG") == "1" {
		rounds = 100
	}
	for round := range rounds {
		t.Run(fmt.Sprint(round), func(t *testing.T) { rapid.Check(t, checkModel) })
	}
}

func checkModel(t *rapid.T) {
	m := &model{disk: vfstest.NewDisk()}
	if err := vfs.MakeDir(m.disk, "/data", 0o700); err != nil {
		t.Fatal(err)
	}
	m.open(t)
	t.Repeat(map[string]func(*rapid.T){
		"append":      m.append,
		"append more": m.append,
		"sync":        m.sync,
		"sync more":   m.sync,
		"next":        m.next,
		"next more":   m.next,
		"done":        m.finish,
		"reclaim":     m.reclaim,
		"drop":        m.drop,
		"fault":       m.fault,
		"heal":        func(*rapid.T) { m.heal() },
		"kill":        func(t *rapid.T) { m.restart(t, false) },
		"lose power":  func(t *rapid.T) { m.restart(t, true) },
		"flip a bit":  m.flip,
		"cut off":     m.cut,
	})
	m.heal()
	m.readAll(t)
	for len(m.taken) > 0 {
		m.finish(t)
	}
	if empty, err := m.s.Reclaim(noSync); err != nil || !empty && len(m.pending) == 0 {
		t.Fatalf("Reclaim = %v, %v, with %d segments", empty, err, len(m.s.segments))
	}
	if err := m.s.Close(); err != nil || m.disk.OpenFiles() != 0 {
		t.Fatalf("Close = %v, with %d files open", err, m.disk.OpenFiles())
	}
}

func (m *model) heal() {
	m.disk.Heal()
	m.disk.SetCapacity(1 << 40)
}

// open opens the spool on a disk without faults.
func (m *model) open(t *rapid.T) {
	m.heal()
	s, err := Open(dir, Options{FS: m.disk, MaxBytes: 20000, SegmentBytes: 1500, Committed: m.committed})
	if err != nil {
		t.Fatalf("Open: %v", err)
	}
	m.s = s
	m.run++
	before := m.s.next
	err = s.Uncommitted(m.committed, func(b *record.Batch) {
		e := m.find(t, wanted(b, [record.NumStreams]int{})[0])
		if e.End() <= m.committed {
			t.Fatalf("entry %d is told of, though it was committed", e.first)
		}
		if e.fate == appended || e.fate == perhaps {
			e.fate = held
		}
	})
	if err != nil {
		t.Fatalf("Uncommitted: %v", err)
	}
	m.committed = max(m.committed, before)
	m.durable = m.committed
	for _, e := range m.entries {
		e.inMemory = false
		if e.fate == appended {
			e.fate = gone
		}
	}
	m.pending, m.taken, m.at, m.lost = nil, nil, 0, 0
}

func (m *model) find(t *rapid.T, line string) *known {
	for _, e := range m.entries {
		if e.line == line {
			return e
		}
	}
	t.Fatalf("%q was never appended", line)
	return nil
}

func (m *model) append(t *rapid.T) {
	m.line++
	line := fmt.Sprintf("%d-%s", m.line, strings.Repeat("x", rapid.SampledFrom([]int{1, 10, 400, 1500}).Draw(t, "size")))
	// S2 would make little of the line.
	noise := make([]byte, len(line))
	rng := rand.New(rand.NewPCG(uint64(m.line), 0))
	for i := range noise {
		noise[i] = byte('a' + rng.IntN(26))
	}
	line = fmt.Sprintf("%d-%s", m.line, noise)
	log := recordtest.NewLog("container/a")
	records := rapid.IntRange(1, 3).Draw(t, "records")
	for i := range records {
		log.Write(record.Stdout, int64(i), line)
	}
	b := log.Read().Next(records)
	defer b.Release()
	e, err := m.s.Append(b, [record.NumStreams]int{}, records)
	if err != nil {
		return
	}
	k := &known{Entry: e, line: line}
	m.entries = append(m.entries, k)
	m.pending = append(m.pending, k)
	if used := m.disk.Used(); m.s.Stats().Bytes > used {
		t.Fatalf("counts %d bytes, the disk holds %d", m.s.Stats().Bytes, used)
	}
}

// sync makes what is pending durable, and commits it.
func (m *model) sync(t *rapid.T) {
	err := m.s.Sync()
	for _, k := range m.pending {
		if m.s.Void(k.Entry) {
			k.fate, k.run = perhaps, m.run
			continue
		}
		if err != nil {
			t.Fatalf("Sync = %v, and entry %d is not void", err, k.first)
		}
		k.fate = held
		k.inMemory = rapid.IntRange(0, 3).Draw(t, "in memory") == 0
		m.s.Publish(k.Entry, k.inMemory)
		if k.inMemory {
			m.taken = append(m.taken, k)
		}
		m.committed = k.End()
	}
	m.pending = nil
	if rapid.Bool().Draw(t, "journal synced") {
		m.durable = m.committed
	}
}

func (m *model) next(t *rapid.T) { m.nextOne(t) }

// nextOne takes one step of reading, and reports whether there was something.
func (m *model) nextOne(t *rapid.T) bool {
	e, b, start, err := m.s.Next()
	if damage, ok := errors.AsType[*Damage](err); ok {
		m.lost += damage.Lost
		return true
	}
	if err != nil {
		return true
	}
	if e == nil {
		end := len(m.entries) - len(m.pending)
		m.checkLost(t, end)
		return false
	}
	defer b.Release()
	k := m.find(t, wanted(b, start)[0])
	index := slices.Index(m.entries, k)
	switch {
	case index < m.at:
		t.Fatalf("entry %d comes again, or too late", e.first)
	case k.fate == gone, k.fate == perhaps && k.run == m.run:
		t.Fatalf("entry %d comes, which is gone: %+v", e.first, k)
	case k.fate == appended:
		t.Fatalf("entry %d comes before it was published", e.first)
	case k.inMemory:
		t.Fatalf("entry %d comes, which is in memory", e.first)
	case e.records != uint64(len(b.Records)):
		t.Fatalf("entry %d has %d records for %d", e.first, len(b.Records), e.records)
	}
	for i := range b.Records {
		if got := string(b.Line(&b.Records[i])); got != k.line {
			t.Fatalf("entry %d has the line %q, want %q", e.first, got, k.line)
		}
	}
	m.checkLost(t, index)
	k.Entry, k.fate, k.done = e, held, false
	m.at = index + 1
	m.taken = append(m.taken, k)
	return true
}

// checkLost checks that what did not come before the entry of this index was
// counted.
func (m *model) checkLost(t *rapid.T, index int) {
	var must, may uint64
	for _, k := range m.entries[m.at:index] {
		switch {
		case k.inMemory:
		case k.fate == held:
			must += k.records
			// What is lost once does not come again.
			k.fate = perhaps
		case k.fate == perhaps:
			may += k.records
		}
	}
	m.at = index
	if m.lost < must || m.lost > must+may || m.lost > 0 && m.damages == 0 {
		t.Fatalf("%d records counted as lost, want %d to %d, after %d damages", m.lost, must, must+may, m.damages)
	}
	m.lost = 0
}

// settleLost reads on until it is known what was lost.
func (m *model) settleLost(t *rapid.T) {
	for m.lost > 0 && m.nextOne(t) {
	}
}

func (m *model) readAll(t *rapid.T) {
	for range 10000 {
		if !m.nextOne(t) {
			return
		}
	}
	t.Fatal("reading does not end")
}

func (m *model) finish(t *rapid.T) {
	if len(m.taken) == 0 {
		return
	}
	i := rapid.IntRange(0, len(m.taken)-1).Draw(t, "which")
	k := m.taken[i]
	m.taken = slices.Delete(m.taken, i, i+1)
	k.done = true
	m.s.Done(k.Entry)
}

// removed marks the entries whose segments are not there any more.
func (m *model) removed(t *rapid.T, dropped bool) (records uint64) {
	for _, k := range m.entries {
		if k.fate != held || slices.ContainsFunc(m.s.segments, func(seg *segment) bool {
			return seg.first <= k.first && k.first < max(seg.end, m.s.next*b2u(seg.open))
		}) {
			continue
		}
		if !dropped && !k.done {
			t.Fatalf("entry %d was removed before it was done", k.first)
		}
		if dropped && slices.Contains(m.taken, k) {
			t.Fatalf("entry %d was given up while in memory", k.first)
		}
		if slices.Index(m.entries, k) >= m.at && !k.inMemory {
			records += k.records
		}
		k.fate, k.run = perhaps, m.run
	}
	return records
}

func (m *model) reclaim(t *rapid.T) {
	m.settleLost(t)
	m.durable = m.committed
	m.s.Reclaim(noSync) // what the disk refuses is tried again
	m.removed(t, false)
}

func (m *model) drop(t *rapid.T) {
	m.settleLost(t)
	m.durable = m.committed
	unread := m.s.Unread()
	records, err := m.s.Drop(noSync)
	if err != nil {
		return
	}
	ok := records > 0
	if m.s.Unread() != unread-records {
		t.Fatalf("Drop = %d, with %d unread before and %d after", records, unread, m.s.Unread())
	}
	var back uint64 // a loss of power may have brought them back
	for _, k := range m.entries {
		if k.fate == perhaps && k.run < m.run {
			back += k.records
		}
	}
	if got := m.removed(t, true); ok && (got > records || got+back < records) && m.damages == 0 {
		t.Fatalf("Drop says %d records, and %d are gone", records, got)
	}
}

func (m *model) fault(t *rapid.T) {
	if rapid.IntRange(0, 3).Draw(t, "fill") == 0 {
		m.disk.SetCapacity(m.disk.Used() + int64(rapid.IntRange(0, 1000).Draw(t, "room")))
		return
	}
	ops := []vfstest.Op{
		vfstest.Open, vfstest.Read, vfstest.Write, vfstest.Write, vfstest.Truncate, vfstest.Sync,
		vfstest.Rename, vfstest.Remove, vfstest.Mkdir, vfstest.SyncDir,
	}
	m.disk.Inject(vfstest.Fault{
		Op: rapid.SampledFrom(ops).Draw(t, "op"), Err: rapid.SampledFrom([]error{syscall.EIO, syscall.ENOSPC}).Draw(t, "error"),
		After: rapid.IntRange(0, 3).Draw(t, "after"), Times: rapid.IntRange(1, 3).Draw(t, "times"),
		Short: rapid.IntRange(0, 40).Draw(t, "short"),
	})
}

// restart ends the run and begins another one.
func (m *model) restart(t *rapid.T, power bool) {
	if power {
		m.disk.PowerLoss(rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "power"), 0)))
		if rapid.Bool().Draw(t, "journal older") {
			m.committed = m.durable
		}
	} else {
		m.disk.Kill()
	}
	m.open(t)
}

// flip changes bits of a segment.
func (m *model) flip(t *rapid.T) {
	m.damage(t, func(data []byte) []byte {
		for range rapid.IntRange(1, 3).Draw(t, "bits") {
			i := rapid.IntRange(headerSize, len(data)-1).Draw(t, "at")
			data[i] ^= 1 << rapid.IntRange(0, 7).Draw(t, "bit")
		}
		return data
	})
}

// cut takes the end of a segment away.
func (m *model) cut(t *rapid.T) {
	m.damage(t, func(data []byte) []byte { return data[:rapid.IntRange(0, len(data)-1).Draw(t, "left")] })
}

// damage changes a segment that is closed and was durable, between two runs. A file
// that is written to is spared while it is: what was in its torn end nobody has had
// custody of.
func (m *model) damage(t *rapid.T, change func([]byte) []byte) {
	m.disk.Kill()
	m.open(t)
	names := slices.DeleteFunc(m.disk.Files(dir), func(n string) bool { return !strings.HasSuffix(n, sealedSuffix) })
	if len(names) == 0 {
		return
	}
	name := rapid.SampledFrom(names).Draw(t, "file")
	data, _ := m.disk.ReadFile(name)
	if len(data) <= headerSize {
		return // it was cut before
	}
	m.damages++
	m.disk.Kill()
	m.disk.WriteFile(name, change(data))
	m.open(t)
}

func b2u(b bool) uint64 {
	if b {
		return 1
	}
	return 0
}
