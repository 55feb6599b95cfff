package kafka

import (
	"context"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"log_capturer/internal/record"
)

// safe returns the offset up to which every sink has custody.
func (m *Monitor) safe(r *reading) (int64, error) {
	cursors, err := m.opts.Dispatcher.Resume(r.key, record.Cursor{})
	if err != nil {
		return 0, err
	}
	safe := uint64(r.next)
	for _, c := range cursors {
		for s, read := range r.read {
			// A sink that is behind in a stream has not had any record of it from
			// its Seq on.
			if have := c.Streams[s].Seq; have < read {
				safe = min(safe, max(have, r.begin))
			}
		}
	}
	return int64(safe), nil
}

// commit moves the group's offsets of the given partitions, or of all, to what is
// safe.
func (m *Monitor) commit(ctx context.Context, client *kgo.Client, only map[string][]int32) {
	offsets := map[string]map[int32]kgo.EpochOffset{}
	moved := map[*reading]int64{}
	for at, r := range m.partitions {
		if only != nil && !contains(only, at) {
			continue
		}
		safe, err := m.safe(r)
		if err != nil {
			m.opts.Logger.Error("read_custody_failed", "source", r.key, "error", err)
			continue
		}
		if safe <= r.committed {
			continue
		}
		if offsets[at.topic] == nil {
			offsets[at.topic] = map[int32]kgo.EpochOffset{}
		}
		offsets[at.topic][at.number] = kgo.EpochOffset{Epoch: -1, Offset: safe}
		moved[r] = safe
	}
	if len(moved) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), m.opts.CustodyWait)
	defer cancel()
	client.CommitOffsetsSync(ctx, offsets, func(_ *kgo.Client, _ *kmsg.OffsetCommitRequest, res *kmsg.OffsetCommitResponse, err error) {
		if err == nil {
			err = commitError(res)
		}
		if err != nil {
			// The offsets stay where they were: what lies behind them may be read
			// again.
			m.stats.commitErrors.Inc()
			m.opts.Logger.Warn("commit_failed", "error", err)
			return
		}
		for r, offset := range moved {
			r.committed = offset
		}
	})
}

func contains(set map[string][]int32, at partition) bool {
	for _, n := range set[at.topic] {
		if n == at.number {
			return true
		}
	}
	return false
}

// onAssigned is called by the client between polls.
func (m *Monitor) onAssigned(_ context.Context, _ *kgo.Client, assigned map[string][]int32) {
	m.assigned.Add(count(assigned))
	m.opts.Logger.Info("partitions_assigned", "partitions", assigned)
}

// onRevoked is called by the client between polls, before the partitions become
// another's. It waits a moment for the custody of what was read of them.
func (m *Monitor) onRevoked(ctx context.Context, client *kgo.Client, revoked map[string][]int32) {
	m.assigned.Add(-count(revoked))
	deadline := time.NewTimer(m.opts.CustodyWait)
	defer deadline.Stop()
	ticker := time.NewTicker(10 * time.Millisecond)
	defer ticker.Stop()
	for waiting := true; waiting && !m.safeAll(revoked); {
		select {
		case <-deadline.C:
			waiting = false
			m.opts.Logger.Warn("partitions_revoked_undelivered", "partitions", revoked,
				"hint", "what is not delivered yet is read by another member as well")
		case <-ticker.C:
		}
	}
	m.commit(ctx, client, revoked)
	m.forget(revoked)
	m.opts.Logger.Info("partitions_revoked", "partitions", revoked)
}

// onLost is called by the client between polls, when the partitions are another's
// already.
func (m *Monitor) onLost(_ context.Context, _ *kgo.Client, lost map[string][]int32) {
	m.assigned.Add(-count(lost))
	m.forget(lost)
	if len(lost) > 0 {
		m.opts.Logger.Warn("partitions_lost", "partitions", lost)
	}
}

// safeAll reports whether all that was read of the partitions is safe.
func (m *Monitor) safeAll(of map[string][]int32) bool {
	for at, r := range m.partitions {
		if !contains(of, at) {
			continue
		}
		if safe, err := m.safe(r); err != nil || safe < r.next {
			return false
		}
	}
	return true
}

func (m *Monitor) forget(partitions map[string][]int32) {
	for topic, numbers := range partitions {
		for _, n := range numbers {
			delete(m.partitions, partition{topic, n})
		}
	}
}

func count(partitions map[string][]int32) int64 {
	n := 0
	for _, numbers := range partitions {
		n += len(numbers)
	}
	return int64(n)
}
