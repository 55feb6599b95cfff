package container

import (
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"log_capturer/internal/framing"
	"log_capturer/internal/record"
)

// What the engine sends twice
//
// When an engine (seen on 20.10, drivers json-file and local) begins a new file
// of a log that is followed, it may begin it twice: it has sent the entries A B C
// of the new file, and sends A B C again before D. A log that is not followed is
// right. So an entry of a followed log is doubtful that is older than the last one
// of its stream, or as old and the same. It is held, and what comes behind it,
// until the engine was asked what the log holds: whether the entry is there behind
// the last one that was had. If it is not, it and what is sent again with it is left
// out before it is decoded, so that lines, their numbers and their ordinals are
// those of the log.
//
// An engine stamps each line on its own, so nothing is doubtful but repeats, and
// what comes after the clock was set back. An entry of which the engine can't say
// whether it is a repeat is taken: a repeat is better than a loss.

const (
	// firstAsk is the number of entries from the log's end that are asked for
	// first, enough for what is written in the moment after a rotation.
	firstAsk = 256
	// mostAsk bounds what is asked for then, and held to be looked through.
	mostAsk = 64 << 10
	// askTimeout bounds the asking about one entry.
	askTimeout = 5 * time.Second
	// maxSame is how many entries of one time are remembered. A line of 16 MiB
	// has as many pieces.
	maxSame = 1024

	// asksAtOnce is for how many entries of a container the engine is asked
	// without a pause, and askEvery the pause for each further one. One that was
	// no repeat counts for many: a log of a kind that has such holds more.
	asksAtOnce   = 64
	askEvery     = 200 * time.Millisecond
	noRepeatCost = 8
)

// repeatStats count what was sent twice, for all containers.
type repeatStats struct {
	leftOut  prometheus.Counter
	verdicts *prometheus.CounterVec
}

// verdict is what an entry that may be a repeat was found to be.
type verdict string

const (
	// verdictRepeated: the log does not hold it as often as it was sent.
	verdictRepeated verdict = "repeated"
	// verdictWritten: the log holds it.
	verdictWritten verdict = "written"
	// verdictUnknown: the engine can't say, or was not asked, since it was asked
	// too often.
	verdictUnknown verdict = "unknown"
)

func newRepeatStats() repeatStats {
	verdicts := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "log_capturer_engine_repeat_checks_total",
		Help: "Entries of followed logs that looked as if the engine had sent them before, by what they were: repeated, written (twice in truth) or unknown.",
	}, []string{"verdict"})
	for _, v := range []verdict{verdictRepeated, verdictWritten, verdictUnknown} {
		verdicts.WithLabelValues(string(v))
	}
	return repeatStats{
		leftOut: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "log_capturer_engine_repeats_total",
			Help: "Entries that the engine sent a second time when it rotated a log's file, which were left out.",
		}),
		verdicts: verdicts,
	}
}

// rotates reports whether the engine rotates the container's log.
func (i *Info) rotates() bool { return i.Driver != "json-file" || i.MaxSize > 0 }

// logged is an entry of a log, as far as entries are told apart.
type logged struct {
	stream record.Stream
	time   int64
	hash   uint64
}

var hashSeed = maphash.MakeSeed()

func newLogged(s record.Stream, at int64, text []byte) logged {
	return logged{s, at, maphash.Bytes(hashSeed, text)}
}

// endsLine reports whether an entry's text is a line or the last piece of one.
func endsLine(text []byte) bool { return len(text) > 0 && text[len(text)-1] == '\n' }

// heard is what a followed log has given, as far as it tells repeats.
type heard struct {
	last    logged
	streams [record.NumStreams]moment
	// shared says that lines of this log share a time, which they do with none of
	// the engines that are known to send anything twice.
	shared bool
	// replay is what is still to come of what is being sent again.
	replay []logged
}

// moment is the last time of a stream.
type moment struct {
	any  bool
	time int64
	// same are the hashes of the entries of that time.
	same []uint64
	// open says that the last entry was no line's end.
	open bool
	// proven is how many entries like it the log is known to hold.
	proven logged
	holds  int
}

// had returns how many entries of the moment are like e.
func (m *moment) had(e logged) int {
	n := 0
	for _, hash := range m.same {
		if hash == e.hash {
			n++
		}
	}
	return n
}

// replayed reports whether e goes on with what is being sent again.
func (h *heard) replayed(e logged) bool {
	if len(h.replay) > 0 && h.replay[0] == e {
		h.replay = h.replay[1:]
		return true
	}
	h.replay = nil
	return false
}

// doubtful reports whether e may have been sent before.
func (h *heard) doubtful(e logged) bool {
	m := &h.streams[e.stream]
	if !m.any || e.time > m.time {
		return false
	}
	if e.time < m.time {
		return true
	}
	n := m.had(e)
	return n > 0 && (m.proven != e || n >= m.holds)
}

// take takes in an entry that is none sent again.
func (h *heard) take(e logged, line bool) {
	m := &h.streams[e.stream]
	if !m.any || m.time != e.time {
		m.any, m.time, m.same = true, e.time, m.same[:0]
	} else if !m.open {
		h.shared = true
	}
	if len(m.same) < maxSame {
		m.same = append(m.same, e.hash)
	}
	m.open = !line
	h.last = e
}

// judge says what a doubtful entry is, from the last entries of the log. It is
// not sure when whether it is depends on older ones.
func (h *heard) judge(e logged, line bool, log []logged) (v verdict, sure bool) {
	m := &h.streams[e.stream]
	holds, before := 0, 0
	first, cut, reached := true, false, false
	for _, l := range log {
		if l.stream != e.stream {
			continue
		}
		if first {
			// Others of this time may be before what was asked for.
			first, cut = false, l.time == m.time
		}
		switch {
		case l == e && (reached || l.time == m.time):
			holds++
		case l == e:
			before++
		}
		reached = reached || l.time == m.time
	}
	had := 0
	if e.time == m.time {
		had = m.had(e)
	}
	switch {
	case holds > had:
		m.proven, m.holds = e, holds
		return verdictWritten, true
	case !reached, holds+before == 0:
		return verdictUnknown, false
	case e.time != m.time, !cut:
		return verdictRepeated, true
	case h.shared || m.open || !line:
		return verdictUnknown, false
	}
	// The log begins with it. It was written once, unless an engine that gave no
	// two lines one time gave it to these two, and rotated away the first of them.
	return verdictRepeated, false
}

// resend sets what is sent again, beginning with e: what the log holds from there
// to the last entry that was had. Where the log holds one of the two more than once
// its place is not clear: then it is e alone, and the engine is asked again about
// what follows.
func (h *heard) resend(e logged, log []logged) {
	begin, end := -1, -1
	for i, l := range log {
		if l == e {
			if begin >= 0 {
				return
			}
			begin = i
		}
		if l == h.last {
			if end >= 0 {
				return
			}
			end = i
		}
	}
	if begin >= 0 && end > begin {
		h.replay = log[begin+1 : end+1]
	}
}

// doubts bound how often the engine is asked for a container. The zero value is
// ready to use.
type doubts struct {
	// paid is until when the asking so far counts.
	paid time.Time
	// unasked is the entry at which the asking failed last. It is not asked about
	// again: what still comes behind a place that was searched is no repeat.
	unasked logged
}

// allow reports whether the engine may be asked now.
func (d *doubts) allow(now time.Time) bool {
	if d.paid.Before(now) {
		d.paid = now
	}
	if d.paid.Sub(now) >= asksAtOnce*askEvery {
		return false
	}
	d.paid = d.paid.Add(askEvery)
	return true
}

// noRepeat takes in that the asking was for nothing.
func (d *doubts) noRepeat() { d.paid = d.paid.Add((noRepeatCost - 1) * askEvery) }

// onlyOnce returns what leaves out the entries that the engine sends twice while
// a log is followed under ctx, nil for a log that is not rotated. The engine is
// asked by the stream's own goroutine, while what it sends waits.
func (s *stream) onlyOnce(ctx context.Context) admission {
	if !s.info.rotates() {
		return nil
	}
	var h heard
	return func(stream record.Stream, at int64, text []byte) (bool, error) {
		e, line := newLogged(stream, at, text), endsLine(text)
		if h.replayed(e) {
			s.repeats.leftOut.Inc()
			return false, nil
		}
		// What lies before the place where reading goes on is not followed yet.
		if s.search.open.Has(stream) && h.doubtful(e) {
			v, err := s.verdict(ctx, &h, e, line)
			if err != nil {
				return false, err
			}
			s.repeats.verdicts.WithLabelValues(string(v)).Inc()
			s.logger.Debug("repeat_checked", "container", s.info.Name, "stream", stream.String(),
				"time", time.Unix(0, at), "verdict", string(v), "more", len(h.replay))
			if v == verdictRepeated {
				s.repeats.leftOut.Inc()
				return false, nil
			}
		}
		h.take(e, line)
		return true, nil
	}
}

// verdict asks the engine about a doubtful entry.
func (s *stream) verdict(ctx context.Context, h *heard, e logged, line bool) (verdict, error) {
	d := &s.position.doubts
	if e == d.unasked || !d.allow(time.Now()) {
		return verdictUnknown, nil
	}
	// What came before it need not wait.
	if err := s.handOver(ctx, s.decoder, record.Place{}); err != nil {
		return "", whyStopped(ctx, err)
	}
	asking, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	tail, since := firstAsk, time.Unix(0, e.time).Add(-time.Second)
	for {
		log, all, err := s.held(asking, tail, since)
		switch {
		case err == nil:
		case ctx.Err() != nil:
			return "", whyStopped(ctx, err)
		case errors.Is(err, ErrGone), errors.Is(err, ErrBusy):
			// Nobody can be asked any more, and what is left of its log comes
			// on this stream or never.
			return verdictUnknown, nil
		case asking.Err() != nil:
			d.unasked = e
			return "", errStuck
		default:
			d.unasked = e
			return "", fmt.Errorf("ask for what is in the log: %w", err)
		}
		v, sure := h.judge(e, line, log)
		switch {
		case sure:
		case all && !since.IsZero():
			since = time.Time{} // it hides what is older
			continue
		case !all && tail < mostAsk:
			tail *= 8
			continue
		case !all:
			v = verdictUnknown
		}
		if v == verdictRepeated {
			h.resend(e, log)
		} else {
			d.noRepeat()
		}
		return v, nil
	}
}

// held returns the last entries of the log, without those that are older than
// since, and whether there are no more.
func (s *stream) held(ctx context.Context, tail int, since time.Time) (log []logged, all bool, err error) {
	decoder := framing.NewDocker(framing.DockerOptions{
		TTY: s.info.TTY, MaxLine: s.maxLine, RunStart: s.info.StartedAt,
		Admit: func(stream record.Stream, at int64, text []byte) (bool, error) {
			log = append(log, newLogged(stream, at, text))
			return false, nil
		},
	}, func(*framing.Line) error { return nil })
	err = decodeLog(ctx, s.engine, s.id, LogsOptions{Tail: tail, Since: since}, decoder)
	n := len(log)
	if decoder.Pending(record.Stdout) {
		n++ // without frames, the end of a last piece is not known
	}
	return log, n < tail, err
}
