package container

import (
	"slices"
	"time"

	"log_capturer/internal/framing"
	"log_capturer/internal/record"
)

// How a stream is resumed
//
// The engine can begin a log at a time or at a number of entries from its end,
// and neither is a place in it. So the place is searched: the log is opened
// with enough entries from its end to hold the anchor, lines are skipped up to
// the anchor, which is recognised by its time, its ordinal at that time and the
// hash of its line, and everything behind it is accepted, whatever its time
// says. Where the anchor does not show up, the log is read from further back,
// and at last whole, without following, so that "not there" is certain.
//
// Times only ever save work here. They decide nothing, except for an anchor
// that is in nothing that the engine still has: then a gap is suspected and
// counted, and reading goes on with the first line that is newer.

// search finds a cursor's place in a log. It sees the lines of one opened log,
// in order, and says which are new.
type search struct {
	want record.Cursor
	// need holds the streams whose anchor has to be found, and byTime those
	// whose new lines are known by their time.
	need, byTime record.StreamSet
	// open holds the streams whose lines are new from here on.
	open record.StreamSet
	// exact says that the anchor in need is the place of all streams.
	exact bool
	// whole says that the log was opened from its first entry.
	whole bool
	// ambiguous is set when the first line of a stream has its anchor's time,
	// in a log that was not opened from its first entry: lines of that time may
	// have been left out, so that the ordinals do not count.
	ambiguous bool
	// late is set when the first line seen is newer than every needed anchor.
	late bool

	seen record.StreamSet
	any  bool
}

// newSearch returns the search for a cursor in a log that was opened whole or
// in part.
func newSearch(want record.Cursor, whole bool) *search {
	s := &search{want: want, whole: whole}
	if exact, last := exactPlace(want); exact && last >= 0 {
		s.exact, s.need = true, record.Only(record.Stream(last))
		return s
	}
	for i, a := range want.Streams {
		stream := record.Only(record.Stream(i))
		switch {
		case a.Count > 0:
			s.need |= stream
		case a.Time != 0:
			s.byTime |= stream
		default:
			s.open |= stream
		}
	}
	return s
}

// exactPlace reports whether the anchors of a cursor describe one place of the
// log, and which of them is that place; -1 when nothing was read yet.
func exactPlace(c record.Cursor) (exact bool, last int) {
	last = -1
	for i, a := range c.Streams {
		if a.AsOf != c.Total() {
			return false, -1
		}
		if a.Last {
			last = i
		}
	}
	return true, last
}

// needsWhole reports whether nothing but the whole log is sure to hold the
// cursor's place.
func needsWhole(c record.Cursor) bool {
	if exact, last := exactPlace(c); exact {
		return last < 0
	}
	return slices.ContainsFunc(c.Streams[:], func(a record.Anchor) bool { return a.Count == 0 })
}

// missing returns the streams whose anchors were not found so far.
func (s *search) missing() record.StreamSet { return s.need &^ s.open }

// hopeless reports whether this log can't be trusted to hold the place.
func (s *search) hopeless() bool { return !s.whole && (s.ambiguous || s.late) }

// take reports whether the line is new.
func (s *search) take(l *framing.Line) bool {
	if s.open.Has(l.Stream) {
		return true
	}
	anchor := s.want.Streams[l.Stream]
	if !s.any {
		s.any = true
		s.late = s.need != 0 && l.Time > s.newest()
	}
	first := !s.seen.Has(l.Stream)
	s.seen |= record.Only(l.Stream)
	switch {
	case s.byTime.Has(l.Stream):
		if l.Time > anchor.Time {
			s.open |= record.Only(l.Stream)
			return true
		}
	case s.need.Has(l.Stream) && l.Time == anchor.Time:
		s.ambiguous = s.ambiguous || first
		if l.Ordinal == anchor.Count && record.LineHash(l.Bytes) == anchor.Hash && !s.hopeless() {
			s.open |= record.Only(l.Stream)
			if s.exact {
				s.open = record.AllStreams
			}
		}
	}
	return false
}

// newest returns the newest time among the needed anchors.
func (s *search) newest() int64 {
	var at int64
	for i, a := range s.want.Streams {
		if s.need.Has(record.Stream(i)) {
			at = max(at, a.Time)
		}
	}
	return at
}

// oldest returns the oldest time among the cursor's anchors, zero when nothing
// was read and no start was set.
func oldest(c record.Cursor) time.Time {
	var at int64
	for _, a := range c.Streams {
		if a.Time != 0 && (at == 0 || a.Time < at) {
			at = a.Time
		}
	}
	if at == 0 {
		return time.Time{}
	}
	return time.Unix(0, at)
}

// candidates are the places at which the sinks stand in one source.
type candidates struct {
	streams [record.NumStreams][]record.Anchor
	total   uint64
	// place is the oldest of the cursors' places, zero when one has none.
	place record.Place
}

// newCandidates joins cursors.
func newCandidates(cursors []record.Cursor) candidates {
	var c candidates
	for i, cursor := range cursors {
		c.total = max(c.total, cursor.Total())
		if i == 0 || cursor.Place.Before(c.place) {
			c.place = cursor.Place
		}
		for s, a := range cursor.Streams {
			c.streams[s] = append(c.streams[s], a)
		}
	}
	for s := range c.streams {
		slices.SortFunc(c.streams[s], func(a, b record.Anchor) int {
			if a.Seq != b.Seq {
				if a.Seq < b.Seq {
					return -1
				}
				return 1
			}
			// The same record: the one that knows less comes first.
			return int(min(max(int64(a.AsOf)-int64(b.AsOf), -1), 1))
		})
	}
	return c
}

// oldest returns the cursor that is behind all candidates in every stream.
func (c candidates) oldest() record.Cursor {
	cursor := record.Cursor{Place: c.place}
	for s, anchors := range c.streams {
		if len(anchors) > 0 {
			cursor.Streams[s] = anchors[0]
		}
	}
	return cursor
}

// giveUp drops the oldest anchors of the given streams, which are in nothing
// that is retained, and returns the cursor to look for instead: at the next
// later anchors, or, where there are none, at the first newer line.
func (c *candidates) giveUp(want record.Cursor, missing record.StreamSet) record.Cursor {
	if exact, last := exactPlace(want); exact && last >= 0 {
		missing = record.AllStreams
	}
	for s := range want.Streams {
		if !missing.Has(record.Stream(s)) {
			continue
		}
		lost := want.Streams[s]
		c.streams[s] = slices.DeleteFunc(c.streams[s], func(a record.Anchor) bool { return a.Seq <= lost.Seq })
		if len(c.streams[s]) > 0 {
			want.Streams[s] = c.streams[s][0]
			continue
		}
		want.Streams[s].Count, want.Streams[s].Last = 0, false
	}
	return want
}
