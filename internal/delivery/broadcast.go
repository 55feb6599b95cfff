package delivery

import (
	"context"
	"sync"
	"time"
)

// broadcast wakes everybody who waits for something to change.
type broadcast struct {
	mu      sync.Mutex
	channel chan struct{}
}

// wait returns a channel that the next signal closes.
func (b *broadcast) wait() <-chan struct{} {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.channel
}

func (b *broadcast) signal() {
	b.mu.Lock()
	defer b.mu.Unlock()
	close(b.channel)
	b.channel = make(chan struct{})
}

// wait returns when one of the channels is closed, after the pause unless it is
// negative, or when ctx is done, with its error.
func wait(ctx context.Context, changed, closed <-chan struct{}, pause time.Duration) error {
	var expired <-chan time.Time
	if pause >= 0 {
		t := time.NewTimer(pause)
		defer t.Stop()
		expired = t.C
	}
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-changed:
	case <-closed:
	case <-expired:
	}
	return nil
}
