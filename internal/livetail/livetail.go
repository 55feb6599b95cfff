// Package livetail shows records to those who watch them, as they are accepted.
//
// It owns the list of watchers and what waits for each. It promises that
// watching costs delivery nothing but a look at that list and a hold of the
// batch: whoever is slow has records skipped, which are counted and told, and
// holds a bounded part of memory meanwhile. It promises no completeness: that is
// the sinks'.
package livetail

import (
	"context"
	"errors"
	"slices"
	"sync"
	"sync/atomic"

	"log_capturer/internal/record"
)

const (
	// maxWatchers bounds how many may watch at once.
	maxWatchers = 16
	// maxWaiting bounds the memory of the batches that wait for one watcher, in
	// bytes. A single batch may be larger.
	maxWaiting = 4 << 20
)

// ErrTooMany is returned when there are as many watchers as may be.
var ErrTooMany = errors.New("too many tails are running already: end one of them")

// Hub hands batches to watchers. Its methods may be called from several
// goroutines at once.
type Hub struct {
	mu       sync.Mutex
	watchers atomic.Pointer[[]*Watcher] // replaced, never changed
}

// New returns a hub that nobody watches.
func New() *Hub {
	h := &Hub{}
	h.watchers.Store(&[]*Watcher{})
	return h
}

// Watchers returns how many are watching.
func (h *Hub) Watchers() int { return len(*h.watchers.Load()) }

// At returns the hub for those who have the records of a stage.
func (h *Hub) At(s Stage) Place { return Place{h, s} }

// Place is where records of one stage are shown.
type Place struct {
	hub   *Hub
	stage Stage
}

// Watched reports whether anybody watches the stage.
func (p Place) Watched() bool {
	for _, w := range *p.hub.watchers.Load() {
		if w.filter.Stage == p.stage {
			return true
		}
	}
	return false
}

// Publish shows b to the stage's watchers that want its source. The caller holds
// b throughout the call, which never blocks.
func (p Place) Publish(b *record.Batch) {
	for _, w := range *p.hub.watchers.Load() {
		if w.filter.Stage == p.stage && w.filter.wantsSource(b) {
			w.offer(b)
		}
	}
}

// Watch adds a watcher. It is the caller's to close.
func (h *Hub) Watch(f Filter) (*Watcher, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	old := *h.watchers.Load()
	if len(old) >= maxWatchers {
		return nil, ErrTooMany
	}
	w := &Watcher{hub: h, filter: f, wake: make(chan struct{}, 1)}
	next := append(slices.Clone(old), w)
	h.watchers.Store(&next)
	return w, nil
}

// Watcher is one who watches. Next is for one goroutine.
type Watcher struct {
	hub    *Hub
	filter Filter
	wake   chan struct{}

	mu      sync.Mutex
	waiting []waiting
	memory  int    // of waiting
	skipped uint64 // records, since the last one that waits
	closed  bool
}

// waiting is a batch that waits, and how many records were skipped before it.
type waiting struct {
	batch   *record.Batch
	skipped uint64
}

// offer appends b to what waits, or counts it as skipped.
func (w *Watcher) offer(b *record.Batch) {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case w.closed:
		return
	case len(w.waiting) > 0 && w.memory+b.Memory() > maxWaiting:
		w.skipped += uint64(len(b.Records))
	default:
		b.Retain(1)
		w.waiting = append(w.waiting, waiting{b, w.skipped})
		w.memory += b.Memory()
		w.skipped = 0
	}
	select {
	case w.wake <- struct{}{}:
	default: // it is awake
	}
}

// Next returns the next batch, and how many records of wanted sources were
// skipped before it. It blocks until there is one, or until ctx is done. The
// caller releases the batch, which is nil when nothing has come behind what was
// skipped.
func (w *Watcher) Next(ctx context.Context) (b *record.Batch, skipped uint64, err error) {
	for {
		if b, skipped := w.take(); b != nil || skipped > 0 {
			return b, skipped, nil
		}
		select {
		case <-ctx.Done():
			return nil, 0, ctx.Err()
		case <-w.wake:
		}
	}
}

// take returns what Next does, or nothing.
func (w *Watcher) take() (*record.Batch, uint64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.waiting) == 0 {
		skipped := w.skipped
		w.skipped = 0
		return nil, skipped
	}
	first := w.waiting[0]
	w.waiting = w.waiting[1:]
	w.memory -= first.batch.Memory()
	return first.batch, first.skipped
}

// Wants reports whether r, a record of a batch from Next, is wanted. It is for
// the goroutine that calls Next. An error says why the watcher's expression could
// not be held against the record, which is not wanted then.
func (w *Watcher) Wants(b *record.Batch, r *record.Record) (bool, error) { return w.filter.wants(b, r) }

// Close ends the watching.
func (w *Watcher) Close() {
	h := w.hub
	h.mu.Lock()
	next := slices.DeleteFunc(slices.Clone(*h.watchers.Load()), func(other *Watcher) bool { return other == w })
	h.watchers.Store(&next)
	h.mu.Unlock()

	w.mu.Lock()
	defer w.mu.Unlock()
	w.closed = true
	for _, waiting := range w.waiting {
		waiting.batch.Release()
	}
	w.waiting = nil
}
