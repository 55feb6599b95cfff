package pipeline

import (
	"regexp"
	"time"

	"log_capturer/internal/record"
)

// MultilineField is the attribute of a joined record: the number of its lines.
const MultilineField = "lines"

// joiner says whether lines belong together, by the second of two or by the
// first.
type joiner struct {
	start, continuation *regexp.Regexp
	preset              *preset

	end, unfinished *regexp.Regexp
}

// byFirst reports whether it is the first of two lines that says.
func (j *joiner) byFirst() bool { return j.end != nil || j.unfinished != nil }

// goesOn reports whether line goes on in the next one, where the first says.
func (j *joiner) goesOn(line []byte) bool {
	if j.end != nil {
		return !j.end.Match(line)
	}
	return j.unfinished.Match(line)
}

// continues reports whether line goes on with what the lines before it have
// begun, where the second says.
func (j *joiner) continues(line []byte) bool {
	switch {
	case j.start != nil:
		return !j.start.Match(line)
	case j.continuation != nil:
		return j.continuation.Match(line)
	}
	return j.preset.continues(line)
}

type multilineStage struct {
	Multiline
	joiner joiner
}

func (o *Multiline) compile(*compiler) (stage, error) {
	s := &multilineStage{Multiline: *o}
	given := 0
	for _, text := range []string{o.Preset, o.Start, o.Continuation, o.End, o.Unfinished} {
		if text != "" {
			given++
		}
	}
	if given != 1 {
		return nil, wrong("", "give one of preset, start, continuation, end and unfinished")
	}
	var err error
	switch {
	case o.Preset != "":
		if s.joiner.preset = presetNamed(o.Preset); s.joiner.preset == nil {
			return nil, wrong("preset", "there is no preset %q; there are %s", shorten(o.Preset), presetNames())
		}
	case o.Start != "":
		s.joiner.start, err = pattern("start", o.Start)
	case o.Continuation != "":
		s.joiner.continuation, err = pattern("continuation", o.Continuation)
	case o.End != "":
		s.joiner.end, err = pattern("end", o.End)
	default:
		s.joiner.unfinished, err = pattern("unfinished", o.Unfinished)
	}
	return s, err
}

func (s *multilineStage) open(r *Run) instance { return &joining{multilineStage: s, now: r.now} }

// joining joins the lines of each stream of a source.
type joining struct {
	*multilineStage
	now  func() time.Time
	held [record.NumStreams]pending
}

// pending is a record that may grow.
type pending struct {
	event Event
	lines int
	since time.Time
	used  bool
}

func (j *joining) process(e *Event, next func(*Event)) error {
	p := &j.held[e.Stream]
	switch {
	case !p.used:
		p.hold(e, j.now())
	// The rest of a line that was cut belongs to it, whatever it looks like. Where
	// the first of two lines says, only what goes on is held.
	case e.Flags&record.Continued == 0 && !j.joiner.byFirst() && !j.joiner.continues(e.Line),
		p.lines >= j.MaxLines, len(p.event.Line)+1+len(e.Line) > j.MaxBytes:
		p.send(next)
		p.hold(e, j.now())
	default:
		p.add(e)
	}
	over := j.joiner.byFirst() && e.Flags&record.Cut == 0 && !j.joiner.goesOn(e.Line)
	if over || p.lines >= j.MaxLines {
		p.send(next)
	}
	return nil
}

func (p *pending) hold(e *Event, now time.Time) {
	p.event.copyFrom(e)
	p.lines, p.since, p.used = 1, now, true
}

func (p *pending) add(e *Event) {
	line := p.event.Line
	if e.Flags&record.Continued == 0 {
		line = append(line, '\n')
	}
	p.event.setLine(append(line, e.Line...))
	p.event.Count += e.Count
	p.event.After = e.After
	p.event.Flags |= e.Flags &^ record.Continued
	if e.Flags&record.Cut == 0 {
		p.event.Flags &^= record.Cut // its rest has come
	}
	p.lines++
}

// send sends the record on.
func (p *pending) send(next func(*Event)) {
	p.used = false
	if p.lines > 1 {
		// Beyond the bound the lines can still be counted.
		_ = p.event.Set(MultilineField, Value{Number, itoa(p.lines)})
	}
	next(&p.event)
}

func (j *joining) flush(now time.Time, all bool, next func(*Event)) {
	for s := range j.held {
		if p := &j.held[s]; p.used && (all || now.Sub(p.since) >= j.MaxWait) {
			p.send(next)
		}
	}
}

func (j *joining) release(stream record.Stream, next func(*Event)) {
	if p := &j.held[stream]; p.used {
		p.send(next)
	}
}

func (j *joining) oldest(stream record.Stream) *Event {
	if p := &j.held[stream]; p.used {
		return &p.event
	}
	return nil
}
