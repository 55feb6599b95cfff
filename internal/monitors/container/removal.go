package container

import "time"

// remove takes a container out of the table. Its position is kept for a while.
// The caller holds m.mu.
func (m *Monitor) remove(e *entry, now time.Time) {
	if m.table[e.info.ID] != e {
		return
	}
	delete(m.table, e.info.ID)
	m.opts.Dispatcher.Ended(keyPrefix + e.info.ID)
	if reading := e.state == stateReading || e.state == stateWaiting || e.state == stateFailing; reading && !e.readToEnd && !e.drained {
		// Its log went with it, and nobody knows what was in it.
		e.counters.gaps.Add(1)
		m.logger.Warn("suspected_gap", "container", e.info.Name, "reason", "it was removed with its log before that was read to its end")
	}
	m.stats.retire(e.counters)
	m.orphans[keyPrefix+e.info.ID] = now
}

// forget removes positions of containers that are gone for long. The caller
// holds m.mu.
func (m *Monitor) forget(now time.Time) {
	for key, since := range m.orphans {
		if now.Sub(since) < m.opts.PositionRetention {
			continue
		}
		if err := m.opts.Dispatcher.Forget(key); err != nil {
			m.logger.Warn("forget_position", "source", key, "error", err)
			continue
		}
		delete(m.orphans, key)
	}
}
