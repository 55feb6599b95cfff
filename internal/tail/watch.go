package tail

import (
	"context"
	"errors"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"
)

// watcher has the kernel tell of changes in the directories of a set's members.
// It is only a help: what the kernel does not tell, polling finds.
type watcher struct {
	set *Set

	mu   sync.Mutex
	dirs map[string]*watchedDir
	// byNumber holds the directories by the kernel's number of their watch.
	byNumber map[int32]*watchedDir
	// kernel is nil while there is none.
	kernel  *inotify
	failure error
	// refuse, where it is set, is why no directory can be watched: tests bring
	// about with it what the limits of the kernel do.
	refuse func(path string) error
}

// watchedDir is a directory with members, or whose new files are of interest.
type watchedDir struct {
	path string
	// uses counts members and calls of addDir.
	uses    int
	members map[string]*Member
	number  int32
	works   atomic.Bool
	failure error
	// logs is the number of members, busy how many of them are read with every
	// sweep, and mute says that the kernel does not tell of changes of files.
	logs, busy int
	mute       bool
}

// working reports whether the kernel tells of changes in the directory.
func (d *watchedDir) working() bool { return d.works.Load() }

func newWatcher(s *Set) *watcher {
	return &watcher{set: s, dirs: map[string]*watchedDir{}, byNumber: map[int32]*watchedDir{}}
}

// add watches for a member, whose directory it sets.
func (w *watcher) add(m *Member) {
	path := m.reader.Path()
	// What is written to the target of a link is told of in the target's
	// directory.
	if target, err := filepath.EvalSymlinks(path); err == nil {
		path = target
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	m.watch, m.name = w.use(filepath.Dir(path)), filepath.Base(path)
	m.watch.members[m.name] = m
	m.watch.logs++
	w.adjust(m.watch)
}

// remove undoes add.
func (w *watcher) remove(m *Member) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if m.watch.members[m.name] == m {
		delete(m.watch.members, m.name)
	}
	m.watch.logs--
	if m.busy {
		m.watch.busy--
	}
	w.adjust(m.watch)
	w.unuse(m.watch)
}

func (w *watcher) addDir(path string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.use(filepath.Clean(path))
}

func (w *watcher) removeDir(path string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if d := w.dirs[filepath.Clean(path)]; d != nil {
		w.unuse(d)
	}
}

// use counts a use of a directory. The caller holds w.mu.
func (w *watcher) use(path string) *watchedDir {
	d := w.dirs[path]
	if d == nil {
		d = &watchedDir{path: path, members: map[string]*Member{}}
		w.dirs[path] = d
		w.begin(d)
	}
	d.uses++
	return d
}

// unuse undoes use. The caller holds w.mu.
func (w *watcher) unuse(d *watchedDir) {
	if d.uses--; d.uses > 0 {
		return
	}
	delete(w.dirs, d.path)
	w.abandon(d)
}

// begin has the kernel watch d. The caller holds w.mu.
func (w *watcher) begin(d *watchedDir) {
	if w.kernel == nil || d.works.Load() {
		return
	}
	if w.refuse != nil {
		d.failure = w.refuse(d.path)
		return
	}
	d.mute = d.allBusy()
	if d.number, d.failure = w.kernel.add(d.path, d.mute); d.failure == nil {
		if other := w.byNumber[d.number]; other != nil {
			// Two paths of one directory share a watch; the other one is polled.
			other.works.Store(false)
		}
		w.byNumber[d.number] = d
		d.works.Store(true)
	}
}

const (
	// watchRetry is how often it is tried again to watch what could not be.
	watchRetry = 30 * time.Second
	// breather is how long events are left to gather in the kernel, so that a
	// thousand writes are one system call to hear of.
	breather = 10 * time.Millisecond
)

// run hears of changes until ctx is done. The set's Run starts it and waits.
func (w *watcher) run(ctx context.Context) error {
	for !w.set.opts.NoWatch {
		err := w.hear(ctx)
		if ctx.Err() != nil {
			break
		}
		w.mu.Lock()
		w.failure = err
		w.mu.Unlock()
		if err := pause(ctx, watchRetry); err != nil {
			return err
		}
	}
	<-ctx.Done()
	return ctx.Err()
}

// pause waits, unless ctx ends first.
func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}

// hear makes a connection to the kernel and uses it until that fails.
func (w *watcher) hear(ctx context.Context) error {
	kernel, err := openInotify()
	if err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, kernel.close)
	defer func() {
		stop()
		w.mu.Lock()
		defer w.mu.Unlock()
		w.kernel = nil
		clear(w.byNumber)
		for _, d := range w.dirs {
			d.works.Store(false)
		}
		kernel.close()
	}()
	w.mu.Lock()
	w.kernel, w.failure = kernel, nil
	w.mu.Unlock()
	w.beginAll()
	retried := time.Now()
	var changed []*Member
	for {
		// A directory that could not be watched is tried again when something
		// happens in another one, or when this has waited for long.
		kernel.deadline(retried.Add(watchRetry))
		events, err := kernel.read()
		if err != nil {
			return err
		}
		changed = changed[:0]
		appeared := events.each(func(number int32, mask uint32, name []byte) string {
			return w.take(number, mask, name, &changed)
		}, w.set.opts.Appeared)
		w.set.wakeAll(changed, appeared)
		if time.Since(retried) >= watchRetry {
			w.beginAll()
			retried = time.Now()
		}
		if err := pause(ctx, breather); err != nil {
			return err
		}
	}
}

// beginAll has the kernel watch the directories that it does not watch yet.
func (w *watcher) beginAll() {
	w.mu.Lock()
	var begun []*Member
	for _, d := range w.dirs {
		if d.works.Load() {
			continue
		}
		if w.begin(d); d.works.Load() {
			for _, m := range d.members {
				begun = append(begun, m)
			}
		}
	}
	w.mu.Unlock()
	// What changed before the watch was there was not told.
	w.set.wakeAll(begun, false)
}

// problem returns why some directories are not watched.
func (w *watcher) problem() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.failure != nil {
		return w.failure
	}
	for _, d := range w.dirs {
		if d.failure != nil && !errors.Is(d.failure, errNoSuchDir) {
			return d.failure
		}
	}
	return nil
}
