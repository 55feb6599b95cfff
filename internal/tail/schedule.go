package tail

import (
	"context"
	"math/bits"
	"math/rand/v2"
	"time"
)

// littleBytes is what a step reads at least to be worth its while.
const littleBytes = 32 << 10

// soonest returns when a member is stepped after a change: with the next sweep,
// which may be now.
func (s *Set) soonest(m *Member, now time.Time) time.Time {
	if !m.little {
		return now
	}
	return s.sweep.Add(s.opts.Gather)
}

// pause returns how long a member rests that nobody wakes. It is spread, so that
// members that were added together are not looked at together.
func (s *Set) pause(m *Member, now time.Time) time.Duration {
	least, most := s.opts.Poll, s.opts.MaxPoll
	if m.watch.working() {
		least, most = s.opts.WatchedPoll, max(s.opts.MaxWatchedPoll, time.Duration(len(s.members))*5*time.Millisecond)
	} else {
		most = max(most, time.Duration(len(s.members))*2*time.Millisecond)
	}
	pause := min(max(now.Sub(m.data)/4, least), most)
	return pause - pause/4 + rand.N(pause/2+1)
}

// together returns when a member is looked at that rests for so long: up to an
// eighth of that later, so that many are looked at together. To wake up costs more
// than to look.
func (s *Set) together(now time.Time, pause time.Duration) time.Time {
	step := max(1, pause/8)
	// The steps are powers of two, so that those of different pauses meet.
	step = 1 << (bits.Len64(uint64(step)) - 1)
	since := now.Add(pause).Sub(s.made)
	meeting := since.Truncate(step)
	if meeting < since {
		meeting += step
	}
	return s.made.Add(meeting)
}

// clock steps the resting members whose time has come. Run starts it, ctx ends
// it.
func (s *Set) clock(ctx context.Context) error {
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		timer.Reset(s.tick(time.Now()))
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-s.kick:
		case <-timer.C:
		}
	}
}

// tick enqueues what is due, and returns how long nothing else will be.
func (s *Set) tick(now time.Time) time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	for len(s.resting) > 0 {
		m := s.resting[0]
		if wait := m.due.Sub(now); wait > 0 {
			return wait + 2*time.Millisecond
		}
		if m.swept {
			s.sweep = now
		}
		s.enqueue(m)
	}
	return time.Hour
}

// restingHeap orders members by when they are due.
type restingHeap []*Member

func (h restingHeap) Len() int           { return len(h) }
func (h restingHeap) Less(i, j int) bool { return h[i].due.Before(h[j].due) }
func (h restingHeap) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].index, h[j].index = i, j
}

func (h *restingHeap) Push(x any) {
	m := x.(*Member)
	m.index = len(*h)
	*h = append(*h, m)
}

func (h *restingHeap) Pop() any {
	old := *h
	m := old[len(old)-1]
	old[len(old)-1] = nil
	*h = old[:len(old)-1]
	m.index = -1
	return m
}
