package pipeline

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// namedLayouts are the layouts that have a name.
var namedLayouts = map[string]string{
	"rfc3339":    time.RFC3339Nano,
	"rfc1123":    time.RFC1123, // and RFC1123Z
	"rfc850":     time.RFC850,
	"ansic":      time.ANSIC,
	"access_log": "02/Jan/2006:15:04:05 -0700",
	"iso8601":    "2006-01-02T15:04:05.999999999Z0700",
	"syslog":     "Jan _2 15:04:05",
}

// unixUnits are the layouts of numbers since 1970, and their nanoseconds.
var unixUnits = map[string]int64{"unix": 1e9, "unix_ms": 1e6, "unix_us": 1e3, "unix_ns": 1}

// OriginalTimeField is the attribute for the time of a record that was beyond
// its limits.
const OriginalTimeField = "original_time"

type timeStage struct {
	Time
	zone *time.Location
}

func (o *Time) compile(*compiler) (stage, error) {
	if o.From == "" {
		return nil, wrong("from", "is missing; give the attribute that holds the time")
	}
	if len(o.Layouts) == 0 {
		return nil, wrong("layouts", "is empty; give a layout such as rfc3339")
	}
	for i, layout := range o.Layouts {
		if _, named := namedLayouts[layout]; named || unixUnits[layout] != 0 {
			continue
		}
		// A layout that tells nothing of a time gives itself back.
		if time.Unix(1e9, 0).UTC().Format(layout) == layout {
			return nil, wrong(fmt.Sprintf("layouts[%d]", i),
				"%q is no layout: want a name such as rfc3339 or unix_ms, or Go's reference time as in 2006-01-02 15:04:05", shorten(layout))
		}
	}
	zone, err := location("zone", o.Zone)
	if err != nil {
		return nil, err
	}
	return &timeStage{*o, zone}, nil
}

func (s *timeStage) open(*Run) instance { return s }

func (s *timeStage) process(e *Event, next func(*Event)) error {
	v, ok := e.Get(s.From)
	if !ok {
		next(e)
		return nil
	}
	if len(v.Text) > 128 {
		return fail("not_a_time", "%s has %d bytes", s.From, len(v.Text))
	}
	t, ok := s.parse(strings.TrimSpace(v.Text), e.Captured)
	if !ok {
		return fail("not_a_time", "%s is %q, which fits no layout", s.From, shorten(v.Text))
	}
	if err := s.limit(e, t); err != nil {
		return err
	}
	next(e)
	return nil
}

// limit sets the record's time.
func (s *timeStage) limit(e *Event, t time.Time) error {
	captured := time.Unix(0, e.Captured)
	limit := t
	switch {
	case s.MaxPast > 0 && t.Before(captured.Add(-s.MaxPast)):
		limit = captured.Add(-s.MaxPast)
	case s.MaxFuture > 0 && t.After(captured.Add(s.MaxFuture)):
		limit = captured.Add(s.MaxFuture)
	}
	if !limit.Equal(t) && s.Beyond != "keep" {
		if err := e.Set(OriginalTimeField, Value{Text, t.UTC().Format(time.RFC3339Nano)}); err != nil {
			return err
		}
		if t = limit; s.Beyond == "capture" {
			t = captured
		}
	}
	if !representable(t) {
		return fail("not_a_time", "the year %d is out of range", t.Year())
	}
	e.Time = t.UnixNano()
	return nil
}

func (s *timeStage) parse(text string, captured int64) (time.Time, bool) {
	for _, layout := range s.Layouts {
		if unit := unixUnits[layout]; unit != 0 {
			if t, ok := unixTime(text, unit); ok {
				return t, true
			}
			continue
		}
		if layout == "syslog" {
			if t, ok := syslogTime(text, s.zone, time.Unix(0, captured)); ok {
				return t, true
			}
			continue
		}
		if named, ok := namedLayouts[layout]; ok {
			layout = named
		}
		t, err := time.ParseInLocation(layout, text, s.zone)
		if err != nil && layout == time.RFC1123 {
			t, err = time.ParseInLocation(time.RFC1123Z, text, s.zone)
		}
		if err == nil && t.Year() == 0 && !strings.Contains(layout, "06") {
			t = withYear(t, time.Unix(0, captured))
		}
		if err == nil && s.knows(t) {
			return t, true
		}
	}
	return time.Time{}, false
}

// knows reports whether the zone of a time that was parsed is one: of an
// abbreviation that it does not know, the time package makes one without an
// offset, and an hour of it would be a wrong one.
func (s *timeStage) knows(t time.Time) bool {
	name, offset := t.Zone()
	if offset != 0 || name == "" || name == "UTC" || name == "GMT" {
		return true
	}
	here, _ := t.In(s.zone).Zone()
	return name == here
}

// maxAhead is how far after its capture a time without a year may be. Clocks
// differ, and zones are given wrongly; what is further ahead is of the year
// before.
const maxAhead = 32 * 24 * time.Hour

// withYear gives a time without a year the last one in which it is not much after
// the capture.
func withYear(t, captured time.Time) time.Time {
	const leap = 8 // there is a 29th of February in any so many years
	year := captured.In(t.Location()).Year() + 1
	for ; year > captured.Year()-leap; year-- {
		dated := time.Date(year, t.Month(), t.Day(), t.Hour(), t.Minute(), t.Second(), t.Nanosecond(), t.Location())
		if dated.Day() == t.Day() && dated.Sub(captured) <= maxAhead {
			return dated
		}
	}
	return t
}

// unixTime reads a number of units since 1970, exact to the nanosecond.
func unixTime(text string, unit int64) (time.Time, bool) {
	if !isNumber(text) || strings.ContainsAny(text, "eE") {
		return time.Time{}, false
	}
	whole, fraction, _ := strings.Cut(text, ".")
	n, err := strconv.ParseInt(whole, 10, 64)
	if err != nil {
		return time.Time{}, false
	}
	perSecond := int64(1e9) / unit
	seconds, rest := n/perSecond, n%perSecond*unit
	part := int64(0)
	for i := range fraction {
		if unit /= 10; unit == 0 {
			break
		}
		part += int64(fraction[i]-'0') * unit
	}
	if strings.HasPrefix(whole, "-") {
		part = -part
	}
	return time.Unix(seconds, rest+part), true
}
