package lifetime

import (
	"sync"
	"time"
)

// Tally counts what has begun and not ended. Unlike a sync.WaitGroup it can be
// waited for with a deadline. The zero Tally is ready to use, and its methods
// may be called from several goroutines at once.
type Tally struct {
	mu   sync.Mutex
	n    int
	idle chan struct{} // closed when n becomes zero, nil while it is
}

// ended is a closed channel.
var ended = func() chan struct{} {
	c := make(chan struct{})
	close(c)
	return c
}()

// Add notes a beginning.
func (t *Tally) Add() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.n == 0 {
		t.idle = make(chan struct{})
	}
	t.n++
}

// Done notes an end.
func (t *Tally) Done() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.n--; t.n == 0 {
		close(t.idle)
		t.idle = nil
	}
}

// Idle returns a channel that is closed when all that has begun has ended. What
// begins after that does not open it again.
func (t *Tally) Idle() <-chan struct{} {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.idle == nil {
		return ended
	}
	return t.idle
}

// Wait waits until all that has begun has ended, for a bounded time, and reports
// whether it did.
func (t *Tally) Wait(limit time.Duration) bool {
	idle := t.Idle()
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case <-idle:
		return true
	case <-timer.C:
	}
	select {
	case <-idle: // at the last moment
		return true
	default:
		return false
	}
}
