package tail

import (
	"container/heap"
	"container/list"
	"context"
	"sync"
	"time"

	"log_capturer/internal/lifetime"
)

// Verdict is what a step of a member came to.
type Verdict int

// The verdicts.
const (
	// Again: there is more to read now.
	Again Verdict = iota
	// Rest: all there is now was read; the Set steps again when it hears of a
	// change, and from time to time.
	Rest
	// Leave: the member leaves the Set, which closes its reader.
	Leave
)

// SetOptions are a Set's options. Zero fields have defaults.
type SetOptions struct {
	// Workers is how many goroutines step members. Default 2.
	Workers int
	// MaxOpen is how many files stay open; at three quarters of it, those begin to
	// be closed that were not read for longest. Default 512. Each worker may have
	// three more open for a moment.
	MaxOpen int
	// BufferBytes is the size of each worker's buffer, at least MinBuffer.
	// Default 128 KiB.
	BufferBytes int
	// Poll is the least and MaxPoll the most time between two looks at a member
	// that rests. In between it is a quarter of the time since it had data.
	// WatchedPoll and MaxWatchedPoll are the same for one whose directory the
	// kernel watches. Defaults 50ms, 2s, 1s and 15s. Where there are many members,
	// the most is stretched to 500 looks a second, or 200 at those watched.
	Poll, MaxPoll, WatchedPoll, MaxWatchedPoll time.Duration
	// Gather is the least time between two sweeps. What has changed since one began
	// is read with the next one, so that many logs that are written to all the
	// time are read together, and what is read of them goes on together. Only one
	// of which a step has read much is stepped again at once. Default 110ms: what
	// was gathered for so long need not linger in a queue.
	Gather time.Duration
	// NoWatch turns the kernel's help off, as on file systems that have none.
	NoWatch bool
	// Appeared, which may be nil, is told of paths that were made in, or moved
	// to, watched directories, and that are no member's; an empty path means that
	// there may be any. It must not block.
	Appeared func(path string)
}

func (o *SetOptions) setDefaults() {
	set := func(d *time.Duration, value time.Duration) {
		if *d == 0 {
			*d = value
		}
	}
	set(&o.Poll, 50*time.Millisecond)
	set(&o.MaxPoll, 2*time.Second)
	set(&o.WatchedPoll, time.Second)
	set(&o.MaxWatchedPoll, 15*time.Second)
	set(&o.Gather, 110*time.Millisecond)
	if o.Workers == 0 {
		o.Workers = 2
	}
	if o.MaxOpen == 0 {
		o.MaxOpen = 512
	}
	o.BufferBytes = max(o.BufferBytes, MinBuffer)
	if o.BufferBytes == MinBuffer {
		o.BufferBytes = 128 << 10
	}
}

// Set steps members on a few goroutines. Make it with NewSet, start it with Run.
// Its methods may be called from several goroutines at once, also before Run.
type Set struct {
	opts  SetOptions
	watch *watcher
	// work has a token while ready is not empty, kick while the clock is to look
	// at the resting ones anew.
	work, kick chan struct{}

	mu      sync.Mutex
	members map[*Member]struct{}
	ready   []*Member
	resting restingHeap
	// open holds the members with an open file, the one stepped last at the end.
	open    *list.List
	closed  int64
	stopped bool
	// made is when the set was made, and sweep when the last sweep began.
	made, sweep time.Time
}

// Member is a log in a Set.
type Member struct {
	set    *Set
	reader *Reader
	step   func(ctx context.Context, buf []byte) Verdict
	// watch is the directory of the live file, and name its name there.
	watch *watchedDir
	name  string

	// The rest is guarded by set.mu.
	state memberState
	// woken is set when a change was heard of while the member was stepped, and
	// leaving when it is to leave the set then.
	woken, leaving bool
	// due is when it is stepped next while it rests, and index its place in the
	// heap.
	due   time.Time
	index int
	// stepped is when the last step ended, data when one had data last, and
	// little that it was not much.
	stepped, data time.Time
	little        bool
	// swept is set while it waits for the next sweep.
	swept bool
	// streak is of how many steps in a row each had data (see busy.go), and busy
	// says that it is read with every sweep, whatever the kernel tells.
	streak  int
	busy    bool
	element *list.Element
	gone    chan struct{}
}

type memberState int

const (
	memberReady memberState = iota
	memberStepping
	memberResting
	memberGone
)

// NewSet returns an empty set. It starts nothing.
func NewSet(opts SetOptions) *Set {
	opts.setDefaults()
	s := &Set{
		opts: opts, made: time.Now(), open: list.New(), members: map[*Member]struct{}{},
		work: make(chan struct{}, 1), kick: make(chan struct{}, 1),
	}
	s.watch = newWatcher(s)
	return s
}

// Add enters a log, and has it stepped soon. Step is called by one goroutine at a
// time, with a buffer that is its own until it returns. It may block, for
// instance while a destination has no room, and ends when ctx is done; then the
// set is about to end.
func (s *Set) Add(r *Reader, step func(ctx context.Context, buf []byte) Verdict) *Member {
	m := &Member{
		set: s, reader: r, step: step, gone: make(chan struct{}), index: -1, data: time.Now(),
	}
	s.watch.add(m)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.members[m] = struct{}{}
	if s.stopped {
		s.drop(m)
		return m
	}
	s.enqueue(m)
	return m
}

// WatchDir has the set tell of what appears in a directory, as far as the kernel
// helps. It is undone by UnwatchDir.
func (s *Set) WatchDir(dir string) { s.watch.addDir(dir) }

// UnwatchDir undoes WatchDir.
func (s *Set) UnwatchDir(dir string) { s.watch.removeDir(dir) }

// Watched reports whether the kernel tells of changes in the member's directory.
func (m *Member) Watched() bool { return m.watch.working() }

// Wake has the member stepped soon.
func (m *Member) Wake() {
	m.set.mu.Lock()
	defer m.set.mu.Unlock()
	m.set.wake(m)
}

// Remove takes the member out of the set, waits until it is not being stepped,
// and closes its reader. It must not be called in a step, which returns Leave
// instead.
func (m *Member) Remove() {
	s := m.set
	s.mu.Lock()
	if m.state != memberStepping {
		s.drop(m)
	} else {
		m.leaving = true
	}
	s.mu.Unlock()
	<-m.gone
}

// Len returns the number of members.
func (s *Set) Len() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.members)
}

// Open returns how many members have an open file.
func (s *Set) Open() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.open.Len()
}

// Closed returns how many files were closed so far to keep to MaxOpen.
func (s *Set) Closed() int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.closed
}

// WatchProblem returns why the kernel does not tell of changes in some of the
// directories, nil when it does in all.
func (s *Set) WatchProblem() error { return s.watch.problem() }

// Run steps the members until ctx is done, and closes their readers.
func (s *Set) Run(ctx context.Context) error {
	group := lifetime.NewGroup(ctx)
	group.Go("tail", s.clock)
	group.Go("tail", s.watch.run)
	for range s.opts.Workers {
		group.Go("tail", s.worker)
	}
	err := group.Wait()
	s.mu.Lock()
	defer s.mu.Unlock()
	for m := range s.members {
		s.drop(m)
	}
	s.stopped = true
	return err
}

// worker steps one member after the other. Run starts it, ctx ends it.
func (s *Set) worker(ctx context.Context) error {
	buf := make([]byte, s.opts.BufferBytes)
	for {
		m := s.take()
		if m == nil {
			select {
			case <-ctx.Done():
				return ctx.Err()
			case <-s.work:
			}
			continue
		}
		before := m.reader.Used()
		verdict := m.step(ctx, buf)
		s.stepped(m, verdict, m.reader.Used()-before)
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
}

// take returns a member that is to be stepped, nil when there is none.
func (s *Set) take() *Member {
	s.mu.Lock()
	defer s.mu.Unlock()
	for len(s.ready) > 0 {
		m := s.ready[0]
		s.ready[0] = nil
		s.ready = s.ready[1:]
		if m.state == memberGone {
			continue
		}
		if len(s.ready) > 0 {
			signal(s.work)
		}
		m.state, m.woken = memberStepping, false
		return m
	}
	return nil
}

// stepped takes in what a step came to.
func (s *Set) stepped(m *Member, verdict Verdict, used int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	m.stepped, m.little = now, used < littleBytes
	if used > 0 {
		m.data = now
	}
	m.state = memberResting
	s.account(m)
	switch {
	case verdict == Leave || m.leaving:
		s.drop(m)
	case verdict == Again:
		s.enqueue(m)
	case s.keepsBusy(m, used):
		m.swept = true
		s.rest(m, s.sweep.Add(s.opts.Gather))
	default:
		s.rest(m, s.together(now, s.pause(m, now)))
		if m.woken {
			s.wake(m)
		}
	}
}

// account enters whether m has a file open, and closes others when there are too
// many. The caller holds s.mu, and m is not being stepped.
func (s *Set) account(m *Member) {
	if !m.reader.IsOpen() {
		if m.element != nil {
			s.open.Remove(m.element)
			m.element = nil
		}
		return
	}
	if m.element == nil {
		m.element = s.open.PushBack(m)
	} else {
		s.open.MoveToBack(m.element)
	}
	s.trim()
}

// youth is how long an open file is spared while there is room: that of a
// container that lives for a moment may be gone before it is opened again.
const youth = 5 * time.Second

// trim closes files until there are no more than MaxOpen, those first that were
// not read for longest. It looks at a few candidates only, the next call at
// others. A file that no name leads to any more would be lost, and is closed only
// where there are twice as many as there should be. The caller holds s.mu.
func (s *Set) trim() {
	const looks = 16
	now := time.Now()
	element := s.open.Front()
	for range looks {
		open := s.open.Len()
		if element == nil || open <= s.opts.MaxOpen-s.opts.MaxOpen/4 {
			return
		}
		m, next := element.Value.(*Member), element.Next()
		young := now.Sub(m.reader.opened) < youth
		switch {
		case m.state == memberStepping, young && open <= s.opts.MaxOpen:
		case m.reader.mustStay() && open <= 2*s.opts.MaxOpen:
			s.open.MoveToBack(element)
		default:
			m.reader.Close()
			s.open.Remove(element)
			m.element = nil
			s.closed++
		}
		element = next
	}
}

// enqueue has m stepped as soon as there is a worker. The caller holds s.mu.
func (s *Set) enqueue(m *Member) {
	if m.index >= 0 {
		heap.Remove(&s.resting, m.index)
	}
	m.reader.gathered = 0
	if m.swept {
		m.reader.gathered = s.opts.Gather
	}
	m.state, m.swept = memberReady, false
	s.ready = append(s.ready, m)
	signal(s.work)
}

// rest has m stepped at a time. The caller holds s.mu.
func (s *Set) rest(m *Member, due time.Time) {
	m.state, m.due = memberResting, due
	if m.index >= 0 {
		heap.Fix(&s.resting, m.index)
	} else {
		heap.Push(&s.resting, m)
	}
	if m.index == 0 {
		signal(s.kick)
	}
}

// wake has m stepped because of a change. The caller holds s.mu.
func (s *Set) wake(m *Member) {
	switch m.state {
	case memberStepping:
		m.woken = true
	case memberResting:
		now := time.Now()
		switch due := s.soonest(m, now); {
		case due.After(now):
			if m.swept = true; due.Before(m.due) {
				s.rest(m, due)
			}
		default:
			if m.little {
				s.sweep = now
			}
			s.enqueue(m)
		}
	}
}

// drop takes m out. The caller holds s.mu, and m is not being stepped.
func (s *Set) drop(m *Member) {
	if m.state == memberGone {
		return
	}
	if m.index >= 0 {
		heap.Remove(&s.resting, m.index)
	}
	if m.element != nil {
		s.open.Remove(m.element)
		m.element = nil
	}
	m.state = memberGone
	delete(s.members, m)
	m.reader.Close()
	s.watch.remove(m)
	close(m.gone)
}

// signal puts a token into c, where there is none.
func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// wakeAll wakes members that have changed, or every one.
func (s *Set) wakeAll(changed []*Member, all bool) {
	if len(changed) == 0 && !all {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, m := range changed {
		s.wake(m)
	}
	if all {
		for m := range s.members {
			s.wake(m)
		}
	}
}
