package container

import (
	"context"
	"sync/atomic"
	"time"
)

// streamStatus is shared between a stream and those who watch it.
type streamStatus struct {
	opened time.Time
	cancel context.CancelCauseFunc
	// blockedSince is when the stream began to wait for the engine, zero while
	// it works. lastEntry is the time of the last entry seen. foundPlace is
	// when the search for the place to begin at ended, zero while it goes on.
	// from is the oldest time of the position that it was opened at. All are in
	// Unix nanoseconds.
	blockedSince, lastEntry, foundPlace, from atomic.Int64
}

// searching reports whether the stream still looks for its place.
func (s *streamStatus) searching() bool { return s.foundPlace.Load() == 0 }

// readUntil returns up to when all was read, if before came before the stream.
// What a stream shows while it looks for its place was read already, and the
// first that is new may be old: it says nothing of when the reading stopped.
func (s *streamStatus) readUntil(before time.Time) time.Time {
	last := time.Unix(0, s.lastEntry.Load())
	if s.searching() || last.UnixNano() == 0 || last.Before(before) {
		return before
	}
	return last
}

// reading returns when the stream began to show new lines. One that has not
// found its place for long counts as if it had then.
func (s *streamStatus) reading(now time.Time) time.Time {
	if found := s.foundPlace.Load(); found != 0 {
		return time.Unix(0, found)
	}
	if now.Sub(s.opened) > maxSearch {
		return s.opened
	}
	return now
}

// current reports whether the stream has shown all but the last moments.
func (s *streamStatus) current(now time.Time) bool {
	return s.idle(now) || !s.searching() && now.Sub(time.Unix(0, s.lastEntry.Load())) < recent
}

// idle reports whether the stream has read all there is.
func (s *streamStatus) idle(now time.Time) bool {
	since := s.blockedSince.Load()
	return since != 0 && !s.searching() && now.Sub(time.Unix(0, since)) >= idleAfter
}
