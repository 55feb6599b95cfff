package tail

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"log_capturer/internal/lifetime"
)

// setRig runs a set.
type setRig struct {
	t     *testing.T
	dir   string
	set   *Set
	group *lifetime.Group

	mu       sync.Mutex
	lines    map[string][]string
	appeared []string
	// gathered is how long the last data of each log had gathered.
	gathered map[string]time.Duration
	// running counts the steps of each log that are under way.
	running map[string]int
	// idle, where it is set, is called in each step that finds nothing.
	idle func()
}

func newSetRig(t *testing.T, opts SetOptions) *setRig {
	r := &setRig{t: t, dir: t.TempDir(), lines: map[string][]string{}, gathered: map[string]time.Duration{}, running: map[string]int{}}
	opts.Appeared = func(path string) {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.appeared = append(r.appeared, path)
	}
	r.set = NewSet(opts)
	r.group = lifetime.NewGroup(context.Background())
	r.group.Go("tail", r.set.Run)
	t.Cleanup(r.stop)
	return r
}

func (r *setRig) stop() {
	r.group.Cancel()
	if err := r.group.Wait(); err != nil {
		r.t.Error(err)
	}
	if n := r.set.Open(); n != 0 {
		r.t.Errorf("%d files are open at the end", n)
	}
}

func (r *setRig) path(name string) string { return filepath.Join(r.dir, name) }

func (r *setRig) write(name, text string) {
	r.t.Helper()
	f, err := os.OpenFile(r.path(name), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	must(r.t, err)
	_, err = f.WriteString(text)
	must(r.t, err)
	must(r.t, f.Close())
}

// add follows a file, whose lines are counted.
func (r *setRig) add(name string) *Member {
	reader := NewReader(Log{Path: r.path(name), Rotated: new(Lister).Rotations(r.path(name))}, Start{}, Options{})
	return r.set.Add(reader, func(_ context.Context, buf []byte) Verdict {
		r.mu.Lock()
		if r.running[name]++; r.running[name] != 1 {
			r.t.Errorf("%s is stepped twice at once", name)
		}
		r.mu.Unlock()
		verdict := r.step(name, reader, buf)
		r.mu.Lock()
		r.running[name]--
		r.mu.Unlock()
		return verdict
	})
}

func (r *setRig) step(name string, reader *Reader, buf []byte) Verdict {
	c, err := reader.Next(buf)
	if err != nil {
		r.t.Error(err)
		return Leave
	}
	if c.Kind != Data {
		r.mu.Lock()
		idle := r.idle
		r.mu.Unlock()
		if idle != nil {
			idle()
		}
		return Rest
	}
	end := strings.LastIndexByte(string(c.Data), '\n') + 1
	r.mu.Lock()
	r.gathered[name] = reader.Gathered()
	for line := range strings.Lines(string(c.Data[:end])) {
		r.lines[name] = append(r.lines[name], strings.TrimSuffix(line, "\n"))
	}
	r.mu.Unlock()
	reader.Use(&c, end)
	if c.More || c.Last {
		return Again
	}
	return Rest
}

func (r *setRig) got(name string) string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return strings.Join(r.lines[name], " ")
}

func (r *setRig) eventually(what string, condition func() bool) {
	r.t.Helper()
	deadline := time.Now().Add(time.Minute)
	for !condition() {
		if time.Now().After(deadline) {
			r.t.Fatalf("not within a minute: %s", what)
		}
		time.Sleep(time.Millisecond)
	}
}

func (r *setRig) want(name, lines string) {
	r.t.Helper()
	r.eventually(name+" gives "+lines, func() bool { return r.got(name) == lines })
}

// hours makes a set that would not look by itself before the test is over.
func hours(o SetOptions) SetOptions {
	o.Poll, o.MaxPoll, o.WatchedPoll, o.MaxWatchedPoll = time.Hour, time.Hour, time.Hour, time.Hour
	return o
}

// The kernel tells of what is written, of rotations, and of files that appear.
func TestSetIsTold(t *testing.T) {
	r := newSetRig(t, hours(SetOptions{}))
	r.write("a", "1\n")
	m := r.add("a")
	r.eventually("the directory is watched", m.Watched)
	r.want("a", "1")
	r.write("a", "2\n")
	r.want("a", "1 2")
	must(t, os.Rename(r.path("a"), r.path("a.1")))
	r.write("a", "3\n")
	r.want("a", "1 2 3")
	r.write("b", "")
	r.eventually("it is told of b", func() bool {
		r.mu.Lock()
		defer r.mu.Unlock()
		return strings.Contains(strings.Join(r.appeared, " "), r.path("b"))
	})
	if err := r.set.WatchProblem(); err != nil {
		t.Error(err)
	}
}

// Without the kernel's help, looking finds everything.
func TestSetLooks(t *testing.T) {
	r := newSetRig(t, SetOptions{NoWatch: true, Poll: time.Millisecond, MaxPoll: 5 * time.Millisecond})
	r.write("a", "1\n")
	m := r.add("a")
	r.want("a", "1")
	r.write("a", "2\n")
	must(t, os.Rename(r.path("a"), r.path("a.1")))
	r.write("a", "3\n")
	r.want("a", "1 2 3")
	if m.Watched() {
		t.Error("it is watched")
	}
}

// A directory that is made later, or made again, is watched when it is looked
// at; until then its log is looked at from time to time.
func TestSetDirectoryGone(t *testing.T) {
	r := newSetRig(t, SetOptions{Poll: time.Millisecond, MaxPoll: 5 * time.Millisecond, WatchedPoll: time.Hour, MaxWatchedPoll: time.Hour})
	dir := filepath.Join(r.dir, "sub")
	must(t, os.Mkdir(dir, 0o700))
	r.write("sub/a", "1\n")
	m := r.add("sub/a")
	r.eventually("it is watched", m.Watched)
	r.want("sub/a", "1")
	must(t, os.RemoveAll(dir))
	r.eventually("it is not watched", func() bool { return !m.Watched() })
	must(t, os.Mkdir(dir, 0o700))
	r.write("sub/a", "2\n")
	r.want("sub/a", "1 2")
}

// What can't be watched is looked at: here since no directory may be, as when the
// limits of the kernel are reached.
func TestSetWatchFails(t *testing.T) {
	r := newSetRig(t, SetOptions{Poll: time.Millisecond, MaxPoll: 5 * time.Millisecond})
	r.set.watch.mu.Lock()
	r.set.watch.refuse = func(path string) error { return fmt.Errorf("watch %q: no space left on device", path) }
	r.set.watch.mu.Unlock()
	r.write("a", "1\n")
	m := r.add("a")
	r.want("a", "1")
	r.write("a", "2\n")
	r.want("a", "1 2")
	if m.Watched() {
		t.Error("it is watched")
	}
	r.eventually("it says why", func() bool {
		err := r.set.WatchProblem()
		return err != nil && strings.Contains(err.Error(), "no space left")
	})
}

// Many logs are read with few open files, and a member that leaves has none.
func TestSetBoundsOpenFiles(t *testing.T) {
	r := newSetRig(t, SetOptions{MaxOpen: 20, Workers: 3})
	const many = 200
	var members []*Member
	for i := range many {
		name := fmt.Sprintf("%03d", i)
		r.write(name, "1\n")
		members = append(members, r.add(name))
	}
	for i := range many {
		r.want(fmt.Sprintf("%03d", i), "1")
	}
	for i := range many {
		r.write(fmt.Sprintf("%03d", i), "2\n")
	}
	for i := range many {
		r.want(fmt.Sprintf("%03d", i), "1 2")
	}
	if n := r.set.Open(); n > 20 {
		t.Errorf("%d files are open, want at most 20", n)
	}
	if r.set.Len() != many {
		t.Errorf("%d members, want %d", r.set.Len(), many)
	}
	for _, m := range members {
		m.Remove()
		m.Remove() // once more does nothing
	}
	if r.set.Len() != 0 || r.set.Open() != 0 {
		t.Errorf("%d members, %d open files after all have left", r.set.Len(), r.set.Open())
	}
}

// A member is removed while it is being stepped: when Remove returns, it is not
// any more.
func TestSetRemoveWhileStepping(t *testing.T) {
	r := newSetRig(t, hours(SetOptions{}))
	entered, leave := make(chan struct{}), make(chan struct{})
	reader := NewReader(Log{Path: r.path("a")}, Start{}, Options{})
	var over bool
	m := r.set.Add(reader, func(context.Context, []byte) Verdict {
		close(entered)
		<-leave
		over = true
		return Again
	})
	<-entered
	m.Wake()
	go func() {
		time.Sleep(10 * time.Millisecond)
		close(leave)
	}()
	m.Remove()
	if !over {
		t.Error("it was still being stepped")
	}
}

// What changes while a member is stepped, or soon after, is not passed over.
func TestSetWake(t *testing.T) {
	r := newSetRig(t, hours(SetOptions{NoWatch: true, Gather: time.Millisecond}))
	steps := make(chan struct{})
	reader := NewReader(Log{Path: r.path("a")}, Start{}, Options{})
	m := r.set.Add(reader, func(ctx context.Context, _ []byte) Verdict {
		select {
		case steps <- struct{}{}:
		case <-ctx.Done():
		}
		return Rest
	})
	<-steps
	for range 20 {
		m.Wake()
		<-steps
	}
}

// An unlinked file is spared, since nothing could open it again.
func TestSetSparesUnlinkedFiles(t *testing.T) {
	r := newSetRig(t, hours(SetOptions{MaxOpen: 4, NoWatch: true, Gather: time.Millisecond}))
	r.write("gone", "1\n")
	m := r.add("gone")
	r.want("gone", "1")
	keep, err := os.OpenFile(r.path("gone"), os.O_WRONLY|os.O_APPEND, 0)
	must(t, err)
	must(t, os.Remove(r.path("gone")))
	for i := range 20 {
		name := fmt.Sprint(i)
		r.write(name, "1\n")
		r.add(name)
		r.want(name, "1")
	}
	_, err = keep.WriteString("2\n")
	must(t, err)
	must(t, keep.Close())
	m.Wake()
	r.want("gone", "1 2")
}
