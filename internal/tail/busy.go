package tail

// A log that is written to all the time is read with every sweep, and the kernel
// need not tell of each write: that would wake the agent, and cost the writer, for
// every line. While all members of a directory are that busy, changes of its files
// are not told of; what appears in it and goes from it is.

// busyAfter is how many steps in a row have data before a member is read with
// every sweep.
const busyAfter = 4

// keepsBusy takes in that a step has used so many bytes, and reports whether the
// member is stepped with the next sweep whether or not a change is heard of: while
// it is busy, and once more after that, since what was written before the kernel
// tells again was not told. The caller holds s.mu.
func (s *Set) keepsBusy(m *Member, used int64) bool {
	was := m.busy
	switch {
	case used == 0:
		m.streak = 0
	case m.streak < busyAfter:
		m.streak++
	}
	// One that has much to read is stepped as soon as it has more.
	busy := m.streak == busyAfter && m.little
	if busy != was {
		s.watch.setBusy(m, busy)
	}
	return busy || was
}

// setBusy enters that a member is read with every sweep, or is not any more. The
// caller holds the set's mu.
func (w *watcher) setBusy(m *Member, busy bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if m.busy = busy; busy {
		m.watch.busy++
	} else {
		m.watch.busy--
	}
	w.adjust(m.watch)
}

// allBusy reports whether all members of the directory are read with every sweep.
func (d *watchedDir) allBusy() bool { return d.busy > 0 && d.busy == d.logs }

// adjust has the kernel tell of changes of d's files, or not. The caller holds
// w.mu.
func (w *watcher) adjust(d *watchedDir) {
	mute := d.allBusy()
	if mute == d.mute || !d.works.Load() {
		return
	}
	number, err := w.kernel.add(d.path, mute)
	if err == nil && number == d.number {
		d.mute = mute
		return
	}
	// The path leads to another directory now, or to none. Polling does it until
	// the watching is begun anew.
	if err == nil {
		if other := w.byNumber[number]; other != nil {
			w.abandon(other)
		} else {
			w.kernel.remove(number)
		}
	}
	w.abandon(d)
}

// abandon ends the watching of a directory. The caller holds w.mu.
func (w *watcher) abandon(d *watchedDir) {
	if d.works.Swap(false) {
		delete(w.byNumber, d.number)
		w.kernel.remove(d.number)
	}
}
