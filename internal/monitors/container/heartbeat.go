package container

import (
	"context"
	"io"
	"time"

	"log_capturer/internal/framing"
)

// heartbeat looks for streams that are silent although there is more to read,
// and closes them. It is one goroutine for all streams, not one for each.
func (m *Monitor) heartbeat(ctx context.Context) error {
	ticker := time.NewTicker(m.opts.HeartbeatInterval)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-ticker.C:
		}
		for _, s := range m.silent(time.Now()) {
			if m.stuck(ctx, s) {
				s.status.cancel(errStuck)
			}
		}
	}
}

// silent returns the streams that have waited for the engine for at least a
// heartbeat.
func (m *Monitor) silent(now time.Time) []*stream {
	m.mu.Lock()
	defer m.mu.Unlock()
	var silent []*stream
	for _, e := range m.table {
		if e.stream == nil || e.closing {
			continue
		}
		patience := m.opts.HeartbeatInterval
		if e.stream.status.searching() {
			// The engine may have to read much of a large log before it has
			// something to show.
			patience = max(patience, searchPatience)
		}
		since := e.stream.status.blockedSince.Load()
		if since != 0 && now.Sub(time.Unix(0, since)) >= patience {
			silent = append(silent, e.stream)
		}
	}
	return silent
}

// searchPatience is how long a stream that looks for its place may be silent.
const searchPatience = 5 * time.Minute

// probeTimeout bounds a probe.
const probeTimeout = 5 * time.Second

// stuck reports whether the newest entry of a container's log is one that its
// stream has not shown. A failing probe proves nothing.
func (m *Monitor) stuck(ctx context.Context, s *stream) bool {
	silentSince := s.status.blockedSince.Load()
	lastSeen := s.status.lastEntry.Load()
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	m.stats.probes.Inc()
	newest, ok := m.probe(ctx, s)
	if !ok || newest == lastSeen {
		return false
	}
	// A start by time, or a position whose entries are no longer there: the
	// stream has shown nothing, and has nothing to show but what is newer.
	if lastSeen == 0 && newest <= s.status.from.Load() {
		return false
	}
	// The entry may have come on the stream while it was probed.
	return s.status.blockedSince.Load() == silentSince
}

// probe returns the time of the newest entry of a container's log.
func (m *Monitor) probe(ctx context.Context, s *stream) (int64, bool) {
	decoder := framing.NewDocker(framing.DockerOptions{TTY: s.info.TTY, MaxLine: m.opts.MaxLineBytes},
		func(*framing.Line) error { return nil })
	err := decodeLog(ctx, s.engine, s.id, LogsOptions{Tail: 1}, decoder)
	return decoder.LastEntry(), err == nil && decoder.Entries() > 0
}

// decodeLog feeds a decoder with a log that is not followed, to its end.
func decodeLog(ctx context.Context, engine Engine, id string, opts LogsOptions, decoder *framing.Docker) error {
	body, err := engine.Logs(ctx, id, opts)
	if err != nil {
		return err
	}
	defer body.Close()
	buffer := readBuffers.Get().(*[]byte)
	defer readBuffers.Put(buffer)
	for {
		n, err := body.Read(*buffer)
		if err := decoder.Feed((*buffer)[:n]); err != nil {
			return err
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
}
