package container

import (
	"context"
	"time"

	"log_capturer/internal/framing"
	"log_capturer/internal/record"
)

const (
	// minTail is the smallest number of entries that a log is opened with, for
	// lines that come while it is closed.
	minTail = 64
	// firstTail is the number where it is not known how long it was closed.
	firstTail = 1024
	// maxTail is the largest number that is tried before the whole log. To seek it
	// from the end costs the engine little; to decode what is before it does not.
	maxTail = 4 << 20
	// all stands for the whole log.
	all = -1
	// clockSlack is by how much the clock may have been set back for a time
	// limit to leave nothing out. The limit spares the engine the unpacking of
	// compressed files, and the sending of what was read.
	clockSlack = 10 * time.Minute
	// recent is the age of an entry up to which a stream is not far behind.
	recent = 2 * time.Second
	// stallAfter is how long the search for an anchor waits for a next entry.
	stallAfter = 2 * time.Second
)

// reach returns how much of the log is to be opened.
func (s *stream) reach() (tail int, since time.Time) {
	p := &s.position
	if from := oldest(p.cursor); !from.IsZero() && !p.distrustTime {
		since = from.Add(-clockSlack)
	}
	switch {
	case needsWhole(p.cursor):
		return all, since
	case p.closed.IsZero():
		return firstTail, since
	case !p.caughtUp:
		return all, since
	}
	tail = minTail + int(2*p.rate*time.Since(p.closed).Seconds())
	if tail > maxTail {
		tail = all
	}
	return tail, since
}

// settle recognises an anchor that is an unterminated line: the last one of a
// run of the container that was stopped in it. It stays open in the decoder
// until the next run writes something. In mid-stream a line that is complete
// looks the same when the entry with its newline has not been read yet.
func (s *stream) settle() {
	for i := range s.search.want.Streams {
		if stream := record.Stream(i); s.search.missing().Has(stream) {
			s.decoder.Settle(stream, func(l *framing.Line) bool {
				s.search.take(l)
				return s.search.open.Has(stream)
			})
		}
	}
}

// locate looks for the cursor's place in ever larger parts of the log, without
// following it, and returns how much of it to follow. What is not in the whole
// log is lost: then the position changes and a gap is counted.
func (s *stream) locate(ctx context.Context, tail int, since time.Time, places *candidates) (int, time.Time, error) {
	s.status.foundPlace.Store(0)
	for {
		if tail != all {
			if tail *= 8; tail > maxTail {
				tail = all
			}
		}
		var foundAt uint64
		discard := func(l *framing.Line) error {
			s.search.take(l)
			if foundAt == 0 && s.search.open&s.search.need != 0 {
				foundAt = s.decoder.Entries()
			}
			return nil
		}
		s.open(discard, tail == all, nil)
		err := s.each(ctx, LogsOptions{Tail: tail, Since: since}, func() error { return nil })
		if err != nil {
			return 0, since, err
		}
		before := s.search.missing()
		s.settle()
		s.settles = s.search.missing() != before
		if foundAt == 0 && s.search.open&s.search.need != 0 {
			foundAt = s.decoder.Entries()
		}
		entries := s.decoder.Entries()
		// Fewer entries than were asked for are the whole log.
		whole := tail == all || entries < uint64(tail)
		if s.search.missing() == 0 {
			if s.search.ambiguous || foundAt == 0 {
				return all, since, nil
			}
			// From before the anchor, and with room for what comes meanwhile, which
			// is less than what came since the anchor.
			return 2*int(entries-foundAt) + 2*minTail, since, nil
		}
		if whole && tail != all {
			tail = all
			continue
		}
		if !whole {
			continue
		}
		if !since.IsZero() {
			// Be sure that it is not the time limit that hides it.
			since = time.Time{}
			continue
		}
		s.gap(s.logger, "the last line read is in nothing that the engine still has")
		s.position.cursor = places.giveUp(s.position.cursor, s.search.missing())
	}
}
