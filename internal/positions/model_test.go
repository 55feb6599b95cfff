package positions

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"syscall"
	"testing"

	"pgregory.net/rapid"

	"log_capturer/internal/vfs/vfstest"
)

// model is what a journal must hold after any sequence of commits, syncs,
// faults, kills and losses of power.
type model struct {
	disk *vfstest.Disk
	j    *Journal
	boot int

	// states are the contents after each commit; the last one is the present.
	states []map[string]string
	// synced is the state that the last successful Sync has made durable.
	synced int
	// covered is the last state that a hook has vouched for. No later one may
	// outlive a loss of power.
	covered int

	// What the hook does when it is next called.
	hookErr    error
	hookCommit []Change
}

// TestModel checks the journal against the model. Some faults show only in one
// of a thousand runs, more than rapid does by itself.
func TestModel(t *testing.T) {
	for round := range 10 {
		t.Run(fmt.Sprint(round), func(t *testing.T) { rapid.Check(t, checkModel) })
	}
}

func checkModel(t *rapid.T) {
	m := &model{disk: vfstest.NewDisk(), states: []map[string]string{{}}}
	m.reopen(t)
	t.Repeat(map[string]func(*rapid.T){
		"":              m.checkContent,
		"commit":        m.commit,
		"commit more":   m.commit,
		"sync":          m.sync,
		"compact":       m.compact,
		"fault":         m.fault,
		"fill":          m.fill,
		"close":         m.close,
		"kill":          m.kill,
		"lose power":    m.losePower,
		"die in Open":   m.dieInOpen,
		"heal and sync": m.healAndSync,
	})
	if err := m.heal().Close(); err != nil {
		t.Fatalf("Close: %v", err)
	}
	if n := m.disk.OpenFiles(); n != 0 {
		t.Fatalf("%d files left open", n)
	}
}

func (m *model) now() int { return len(m.states) - 1 }

func (m *model) heal() *Journal {
	m.disk.Heal()
	m.disk.SetCapacity(1 << 40)
	return m.j
}

func (m *model) checkContent(t *rapid.T) {
	if got := content(m.j); !maps.Equal(got, m.states[m.now()]) {
		t.Fatalf("journal holds %q, want %q", got, m.states[m.now()])
	}
}

var (
	keys   = rapid.SampledFrom([]string{"a", "b", "cursor/files/container/1", "cursor/loki/container/1"})
	values = rapid.OneOf(
		rapid.Just([]byte(nil)),
		rapid.SliceOfN(rapid.Byte(), 0, 10),
		// Longer than a sector, so that a loss of power can take one record and
		// leave the next.
		rapid.Map(rapid.IntRange(500, 1500), func(n int) []byte { return bytes.Repeat([]byte{byte(n)}, n) }),
	)
)

func drawChanges(t *rapid.T) []Change {
	return rapid.SliceOfN(rapid.Custom(func(t *rapid.T) Change {
		return Change{keys.Draw(t, "key"), values.Draw(t, "value")}
	}), 1, 4).Draw(t, "changes")
}

func (m *model) commit(t *rapid.T) { m.apply(drawChanges(t)) }

// apply commits and keeps the new state if the journal says it took it.
func (m *model) apply(changes []Change) {
	if m.j.Commit(changes...) != nil {
		return
	}
	next := maps.Clone(m.states[m.now()])
	for _, c := range changes {
		if c.Value == nil {
			delete(next, c.Key)
		} else {
			next[c.Key] = string(c.Value)
		}
	}
	m.states = append(m.states, next)
}

// hook stands for a sink that fsyncs its files.
func (m *model) hook() error {
	at := m.now()
	if m.hookCommit != nil {
		changes := m.hookCommit
		m.hookCommit = nil
		m.apply(changes)
	}
	if err := m.hookErr; err != nil {
		m.hookErr = nil
		return err
	}
	m.covered = at
	return nil
}

func (m *model) sync(t *rapid.T) {
	if rapid.Bool().Draw(t, "commit while syncing") {
		m.hookCommit = drawChanges(t)
	}
	if rapid.IntRange(0, 5).Draw(t, "hook fails") == 0 {
		m.hookErr = errors.New("hook failed")
	}
	m.makeDurable(m.j.Sync)
}

func (m *model) compact(t *rapid.T) {
	if rapid.Bool().Draw(t, "commit while compacting") {
		m.hookCommit = drawChanges(t)
	}
	m.makeDurable(m.j.compact)
}

func (m *model) makeDurable(sync func() error) {
	at := m.now()
	if sync() == nil {
		m.synced = at
	}
	m.hookCommit, m.hookErr = nil, nil
}

func (m *model) healAndSync(t *rapid.T) {
	m.heal()
	m.makeDurable(func() error {
		err := m.j.Sync()
		if err != nil {
			t.Fatalf("Sync on a healthy disk: %v", err)
		}
		return err
	})
}

func (m *model) fault(t *rapid.T) { m.disk.Inject(drawFault(t)) }

func drawFault(t *rapid.T) vfstest.Fault {
	return vfstest.Fault{
		Op: rapid.SampledFrom([]vfstest.Op{vfstest.Write, vfstest.Write, vfstest.Sync, vfstest.Sync,
			vfstest.Truncate, vfstest.Open, vfstest.Rename, vfstest.Remove, vfstest.SyncDir, vfstest.Read}).Draw(t, "op"),
		After: rapid.IntRange(0, 3).Draw(t, "after"),
		Times: rapid.IntRange(1, 3).Draw(t, "times"),
		Err:   syscall.EIO,
		Short: rapid.IntRange(0, 9).Draw(t, "short"), // less than any record
	}
}

func (m *model) fill(t *rapid.T) {
	m.disk.SetCapacity(m.disk.Used() + rapid.Int64Range(0, 200).Draw(t, "free"))
}

func (m *model) close(t *rapid.T) {
	m.heal()
	at := m.now()
	if err := m.j.Close(); err != nil {
		t.Fatalf("Close on a healthy disk: %v", err)
	}
	m.synced = at
	m.reopen(t)
}

func (m *model) kill(t *rapid.T) {
	m.disk.Kill()
	m.heal()
	m.reopen(t)
	m.checkContent(t)
}

func (m *model) losePower(t *rapid.T) {
	m.crash(t)
	m.heal()
	m.reopen(t)
	m.settle(t)
}

func (m *model) crash(t *rapid.T) {
	m.disk.PowerLoss(rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 0)))
	m.boot++
}

// dieInOpen loses power, lets a fault end the recovery, and loses power again.
func (m *model) dieInOpen(t *rapid.T) {
	m.crash(t)
	m.heal()
	m.fault(t)
	j, err := Open(dir, m.options())
	if err == nil {
		m.j = j
		m.settle(t)
		m.j.OnSync(m.hook)
	}
	m.losePower(t)
}

// settle finds the state that a loss of power has left.
func (m *model) settle(t *rapid.T) {
	got := content(m.j)
	for k := m.covered; k >= m.synced; k-- {
		if maps.Equal(got, m.states[k]) {
			m.states = []map[string]string{got}
			m.synced, m.covered = 0, 0
			return
		}
	}
	t.Fatalf("after a loss of power the journal holds %q, which is none of the states %d (synced) to %d (covered) of %q",
		got, m.synced, m.covered, m.states)
}

func (m *model) options() Options {
	return Options{FS: m.disk, BootID: fmt.Sprint(m.boot)}
}

func (m *model) reopen(t *rapid.T) {
	j, err := Open(dir, m.options())
	if err != nil {
		t.Fatalf("Open: %v", err)
	}
	if aside := j.Recovery().SetAside; len(aside) > 0 {
		t.Fatalf("a crash was taken for corruption: %v", aside)
	}
	m.j = j
	j.OnSync(m.hook)
}
