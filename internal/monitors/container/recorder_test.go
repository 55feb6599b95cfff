package container

import (
	"context"
	"fmt"
	"slices"
	"sync"

	"log_capturer/internal/record"
)

// recorder is a Dispatcher that keeps every line, for each of its sinks. Like
// the real one it leaves out what a sink has already, and resumes from what the
// sinks have committed.
type recorder struct {
	mu    sync.Mutex
	sinks []*recordingSink
	// blocked, where it is not nil, is closed to let Accept through again.
	blocked chan struct{}
	// waiting is the number of calls of Accept that are blocked.
	waiting int
	faults  []string
	forgot  []string
	// ends are the sources that have ended, with how many lines of them the
	// first sink had by then.
	ends []string
}

// recordingSink is what one sink has of every source.
type recordingSink struct {
	accepted, committed map[string]record.Cursor
	lines               map[string]*[record.NumStreams][]line
	// names are the container's names that came with a source's lines.
	names map[string][]string
	// described are the descriptions of a source, one after the other.
	described map[string][]*record.Source
	// hold keeps the cursors from being committed.
	hold bool
	// refuse keeps the sink from accepting, as a full window does.
	refuse bool
}

type line struct {
	text  string
	time  int64
	flags record.Flags
}

func (l line) String() string {
	text := l.text
	if len(text) > 40 {
		text = fmt.Sprintf("%s... (%d bytes)", text[:40], len(text))
	}
	return fmt.Sprintf("%q at %d flags %d", text, l.time, l.flags)
}

func newRecorder(sinks int) *recorder {
	r := &recorder{}
	for range sinks {
		r.sinks = append(r.sinks, &recordingSink{
			accepted: map[string]record.Cursor{}, committed: map[string]record.Cursor{},
			lines: map[string]*[record.NumStreams][]line{}, names: map[string][]string{}, described: map[string][]*record.Source{},
		})
	}
	return r
}

// Accept implements Dispatcher.
func (r *recorder) Accept(ctx context.Context, b *record.Batch) error {
	defer b.Release()
	r.mu.Lock()
	blocked := r.blocked
	if blocked != nil {
		r.waiting++
	}
	r.mu.Unlock()
	if blocked != nil {
		var err error
		select {
		case <-blocked:
		case <-ctx.Done():
			err = ctx.Err()
		}
		r.mu.Lock()
		r.waiting--
		r.mu.Unlock()
		if err != nil {
			return err
		}
	}
	r.mu.Lock()
	refused := false
	for i, s := range r.sinks {
		if s.refuse {
			refused = true
			continue
		}
		r.take(i, s, b)
	}
	r.mu.Unlock()
	if refused {
		<-ctx.Done()
		return ctx.Err()
	}
	return nil
}

// take gives a batch to a sink. The caller holds r.mu.
func (r *recorder) take(i int, s *recordingSink, b *record.Batch) {
	key := b.Source.Key
	have := s.accepted[key]
	lines := s.lines[key]
	if lines == nil {
		lines = &[record.NumStreams][]line{}
		s.lines[key] = lines
	}
	if n := len(s.names[key]); n == 0 || s.names[key][n-1] != b.Source.ContainerName {
		s.names[key] = append(s.names[key], b.Source.ContainerName)
	}
	if n := len(s.described[key]); n == 0 || s.described[key][n-1] != b.Source {
		s.described[key] = append(s.described[key], b.Source)
	}
	var seqs [record.NumStreams]uint64
	for st := range seqs {
		seqs[st] = b.From.Streams[st].Seq
		if seqs[st] > have.Streams[st].Seq {
			r.faults = append(r.faults, fmt.Sprintf("sink %d: a batch begins at record %d of %v, %d were accepted",
				i, seqs[st], record.Stream(st), have.Streams[st].Seq))
		}
	}
	for n := range b.Records {
		rec := &b.Records[n]
		seqs[rec.Stream]++
		if seqs[rec.Stream] > have.Streams[rec.Stream].Seq {
			lines[rec.Stream] = append(lines[rec.Stream], line{string(b.Line(rec)), rec.Time, rec.Flags})
		}
	}
	for st := range seqs {
		if seqs[st] != b.To.Streams[st].Seq {
			r.faults = append(r.faults, fmt.Sprintf("sink %d: a batch of %v ends at record %d, its cursor says %d",
				i, record.Stream(st), seqs[st], b.To.Streams[st].Seq))
		}
	}
	have.Advance(b.To, record.AllStreams)
	s.accepted[key] = have
	if !s.hold {
		s.committed[key] = have
	}
}

// Ended implements Dispatcher.
func (r *recorder) Ended(source string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	n := 0
	if lines := r.sinks[0].lines[source]; lines != nil {
		n = len(lines[record.Stdout]) + len(lines[record.Stderr])
	}
	r.ends = append(r.ends, fmt.Sprintf("%s after %d", source, n))
}

// Resume implements Dispatcher.
func (r *recorder) Resume(source string, start record.Cursor) ([]record.Cursor, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	var known []record.Cursor
	for _, s := range r.sinks {
		if c := s.committed[source]; !c.IsZero() {
			known = append(known, c)
		}
	}
	oldest := start
	for i, c := range known {
		if i == 0 || c.Total() < oldest.Total() {
			oldest = c
		}
	}
	for _, s := range r.sinks {
		if s.committed[source].IsZero() {
			s.accepted[source], s.committed[source] = oldest, oldest
		}
	}
	if len(known) == 0 && !start.IsZero() {
		known = append(known, start)
	}
	return known, nil
}

// Forget implements Dispatcher.
func (r *recorder) Forget(source string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, s := range r.sinks {
		delete(s.accepted, source)
		delete(s.committed, source)
	}
	r.forgot = append(r.forgot, source)
	return nil
}

// crash takes back what is not committed, as the end of a process does.
func (r *recorder) crash() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, s := range r.sinks {
		for key, lines := range s.lines {
			for st := range lines {
				lines[st] = lines[st][:s.committed[key].Streams[st].Seq]
			}
			s.accepted[key] = s.committed[key]
		}
	}
}

// block makes Accept wait until it is called with false.
func (r *recorder) block(on bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case on && r.blocked == nil:
		r.blocked = make(chan struct{})
	case !on && r.blocked != nil:
		close(r.blocked)
		r.blocked = nil
	}
}

func (r *recorder) blockedCalls() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.waiting
}

// set changes a sink under the lock.
func (r *recorder) set(sink int, change func(*recordingSink)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	change(r.sinks[sink])
}

// got returns what a sink has of a stream.
func (r *recorder) got(sink int, id string, s record.Stream) []line {
	r.mu.Lock()
	defer r.mu.Unlock()
	lines := r.sinks[sink].lines[keyPrefix+id]
	if lines == nil {
		return nil
	}
	return slices.Clone(lines[s])
}
