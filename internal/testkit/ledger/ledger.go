// Package ledger counts numbered lines: what containers wrote against what
// arrived.
//
// It owns the verdict on which lines are missing, repeated, out of order or
// damaged. The form of the lines is package numbered's. It keeps one bit for a
// line, so millions of them are cheap.
package ledger

import (
	"errors"
	"fmt"
	"math/bits"
	"sync"

	"log_capturer/internal/record"
	"log_capturer/internal/testkit/numbered"
)

// maxLines bounds the numbers that are believed, so that a damaged number does
// not take all memory.
const maxLines = 1 << 31

// Ledger counts lines. Its methods may be called from several goroutines at
// once; order is judged by the order of the calls.
type Ledger struct {
	mu         sync.Mutex
	containers map[string]map[string]*run
	foreign    finding
	observed   uint64
}

// run is one run of one container.
type run struct{ streams [record.NumStreams]track }

// track is what is known of one stream of a run.
type track struct {
	expected bool
	// Lines 1 to min have to arrive, those up to max may.
	min, max uint64
	wantEnd  bool

	seen      []uint64 // bit n says that line n arrived
	last      uint64   // the highest number that arrived
	observed  uint64
	end       bool
	endN      uint64
	repeated  finding
	disorder  finding
	corrupt   finding
	misplaced finding
}

// New returns an empty ledger.
func New() *Ledger { return &Ledger{containers: map[string]map[string]*run{}} }

// track returns the state of a stream. mu is held.
func (l *Ledger) track(container string, runName []byte, stream record.Stream) *track {
	runs := l.containers[container]
	if runs == nil {
		runs = map[string]*run{}
		l.containers[container] = runs
	}
	r := runs[string(runName)]
	if r == nil {
		r = &run{}
		runs[string(runName)] = r
	}
	return &r.streams[stream]
}

// Expect says that a container wrote the lines 1 to n of a run to a stream.
// Lines of streams that nothing is expected of are reported as unexpected.
func (l *Ledger) Expect(container, run string, stream record.Stream, n uint64) {
	l.ExpectBetween(container, run, stream, n, n)
}

// ExpectBetween says that a container wrote the lines 1 to some number from min
// to max, as is known of a writer that was killed.
func (l *Ledger) ExpectBetween(container, run string, stream record.Stream, min, max uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	t := l.track(container, []byte(run), stream)
	t.expected, t.min, t.max = true, min, max
}

// ExpectCounts expects what a count file holds of a writer with that run-id: a
// run for each of its starts. A start may have written one line more on each
// stream than was counted, when it was killed between the two.
func (l *Ledger) ExpectCounts(container, runID string, counts []numbered.Count) {
	for k, c := range counts {
		for s, n := range c.Lines {
			l.ExpectBetween(container, numbered.RunOf(runID, k+1), record.Stream(s), n, n+1)
		}
	}
}

// ExpectEnd says that the run's stream has an end line as well, as that of a
// writer has that was told to stop.
func (l *Ledger) ExpectEnd(container, run string, stream record.Stream) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.track(container, []byte(run), stream).wantEnd = true
}

// Observe enters a line, without its newline, that arrived as one of a
// container. The stream is the one that the line itself names. It keeps nothing
// of the line's bytes.
func (l *Ledger) Observe(container string, line []byte) {
	parsed, err := numbered.Parse(line)
	l.enter(container, parsed.Stream, line, parsed, err)
}

// ObserveStream is an Observe of a line that arrived as one of a stream, which
// has to be the one that the line names.
func (l *Ledger) ObserveStream(container string, stream record.Stream, line []byte) {
	parsed, err := numbered.Parse(line)
	l.enter(container, stream, line, parsed, err)
}

func (l *Ledger) enter(container string, stream record.Stream, line []byte, parsed numbered.Line, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.observed++
	if errors.Is(err, numbered.ErrForm) || parsed.N >= maxLines {
		l.foreign.add(func() string { return fmt.Sprintf("%s: %.100q (%d bytes)", container, line, len(line)) })
		return
	}
	t := l.track(container, parsed.Run, parsed.Stream)
	t.observed++
	switch {
	case err != nil:
		t.corrupt.add(func() string { return fmt.Sprintf("%d (%d bytes)", parsed.N, len(line)) })
	case parsed.Stream != stream:
		t.misplaced.add(func() string { return fmt.Sprintf("%d on %v", parsed.N, stream) })
	case parsed.End:
		t.enterEnd(parsed.N)
	default:
		t.enter(parsed.N)
	}
}

// enter notes that line n arrived whole.
func (t *track) enter(n uint64) {
	word, bit := n/64, uint64(1)<<(n%64)
	for uint64(len(t.seen)) <= word {
		t.seen = append(t.seen, 0)
	}
	name := func() string { return fmt.Sprint(n) }
	switch {
	case t.seen[word]&bit != 0:
		t.repeated.add(name)
		return
	case n < t.last:
		t.disorder.add(func() string { return fmt.Sprintf("%d after %d", n, t.last) })
	case t.end:
		t.disorder.add(func() string { return fmt.Sprintf("%d after the end", n) })
	}
	t.seen[word] |= bit
	t.last = max(t.last, n)
}

// enterEnd notes that the end line arrived.
func (t *track) enterEnd(n uint64) {
	if t.end {
		t.repeated.add(func() string { return "end" })
		return
	}
	t.end, t.endN = true, n
}

// distinct returns how many different lines arrived.
func (t *track) distinct() uint64 {
	n := 0
	for _, word := range t.seen {
		n += bits.OnesCount64(word)
	}
	return uint64(n)
}

// missing returns the lines that have to be there and are not, up to the end
// line's number where there is one, or the last that arrived.
func (t *track) missing() finding {
	until := max(t.min, t.last)
	if t.end {
		until = max(until, t.endN)
	}
	var missing finding
	for n := uint64(1); n <= until; n++ {
		if n/64 < uint64(len(t.seen)) && t.seen[n/64] == ^uint64(0) && n%64 == 0 {
			n += 63
			continue
		}
		if n/64 >= uint64(len(t.seen)) || t.seen[n/64]&(1<<(n%64)) == 0 {
			missing.add(func() string { return fmt.Sprint(n) })
		}
	}
	if t.wantEnd && !t.end {
		missing.add(func() string { return "end" })
	}
	return missing
}
