package pipeline

import (
	"strconv"
	"strings"
	"time"
)

func (o *Syslog) compile(*compiler) (stage, error) {
	zone, err := location("zone", o.Zone)
	if err != nil {
		return nil, err
	}
	format := o.Format
	return &parser{
		from: o.From,
		parse: func(text string, into *fieldList) error {
			return parseSyslog(text, format, into)
		},
		after: func(e *Event, found *fieldList) { applySyslog(e, zone, found) },
	}, nil
}

// location returns a time zone. The key is for the error.
func location(key, name string) (*time.Location, error) {
	zone, err := time.LoadLocation(name)
	if err != nil {
		return nil, wrong(key, "there is no time zone %q; want a name such as UTC or Europe/Berlin", shorten(name))
	}
	return zone, nil
}

// syslogLevels are the levels of RFC 5424's severities.
var syslogLevels = [8]Level{Fatal, Fatal, Fatal, Error, Warn, Info, Info, Debug}

// syslogTimeField is where the parser leaves the time for applySyslog.
const syslogTimeField = "timestamp"

// applySyslog makes time, level and line of a record those of its message.
func applySyslog(e *Event, zone *time.Location, found *fieldList) {
	for _, f := range found.fields {
		switch f.Name {
		case "severity":
			e.Level = syslogLevels[f.Value.Text[0]-'0']
		case syslogTimeField:
			if t, ok := syslogTime(f.Value.Text, zone, time.Unix(0, e.Captured)); ok {
				e.Time = t.UnixNano()
			}
		}
	}
	e.setLine([]byte(found.message))
}

// syslogTime reads the time of either RFC. That of RFC 3164 has no year.
func syslogTime(text string, zone *time.Location, captured time.Time) (time.Time, bool) {
	if t, err := time.Parse(time.RFC3339Nano, text); err == nil {
		return t, representable(t)
	}
	t, err := time.ParseInLocation("Jan _2 15:04:05", text, zone)
	if err != nil {
		return time.Time{}, false
	}
	return withYear(t, captured), true
}

// representable reports whether the time is one of those that nanoseconds since
// 1970 can tell.
func representable(t time.Time) bool { return t.Year() > 1678 && t.Year() < 2262 }

func parseSyslog(text, format string, into *fieldList) error {
	rest, ok := strings.CutPrefix(text, "<")
	if !ok {
		return fail("not_syslog", "does not begin with <")
	}
	number, rest, ok := strings.Cut(rest, ">")
	priority, err := strconv.Atoi(number)
	if !ok || err != nil || len(number) > 3 || priority < 0 || priority > 191 || number[0] == '+' {
		return fail("not_syslog", "no priority from 0 to 191 between < and >")
	}
	for _, f := range [...]struct {
		name  string
		value int
	}{{"facility", priority / 8}, {"severity", priority % 8}} {
		if err := into.add(f.name, Value{Number, strconv.Itoa(f.value)}); err != nil {
			return err
		}
	}
	versioned := strings.HasPrefix(rest, "1 ")
	switch {
	case format == "rfc5424" && !versioned:
		return fail("not_syslog", "no version 1 after the priority")
	case format != "rfc3164" && versioned:
		return parseRFC5424(rest[2:], into)
	}
	return parseRFC3164(rest, into)
}

// parseRFC5424 reads what follows the version:
//
//	TIMESTAMP HOSTNAME APP-NAME PROCID MSGID STRUCTURED-DATA [MSG]
func parseRFC5424(text string, into *fieldList) error {
	for _, name := range [...]string{syslogTimeField, "hostname", "app", "procid", "msgid"} {
		word, rest, ok := strings.Cut(text, " ")
		if !ok || word == "" {
			return fail("not_syslog", "no %s", name)
		}
		if text = rest; word == "-" {
			continue
		}
		if err := into.add(name, TextValue(word)); err != nil {
			return err
		}
	}
	if rest, ok := strings.CutPrefix(text, "-"); ok {
		text = rest
	} else {
		for strings.HasPrefix(text, "[") {
			var err error
			if text, err = structuredData(text[1:], into); err != nil {
				return err
			}
		}
	}
	if text != "" && text[0] != ' ' {
		return fail("not_syslog", "no structured data")
	}
	into.message = strings.TrimPrefix(strings.TrimPrefix(text, " "), "\ufeff")
	return nil
}

// structuredData reads one element after its bracket, and returns what follows
// it: ID NAME="VALUE" ...]
func structuredData(text string, into *fieldList) (string, error) {
	end := strings.IndexAny(text, " ]")
	if end < 1 {
		return "", fail("not_syslog", "structured data without an id")
	}
	id := text[:end]
	text = text[end:]
	for {
		if rest, ok := strings.CutPrefix(text, "]"); ok {
			return rest, nil
		}
		name, rest, ok := strings.Cut(strings.TrimLeft(text, " "), "=")
		if !ok || !strings.HasPrefix(rest, `"`) || name == "" {
			return "", fail("not_syslog", "structured data without its end")
		}
		v, n := cutStructured(rest)
		if n == 0 {
			return "", fail("not_syslog", "structured data without its end")
		}
		if err := into.add("sd."+id+"."+name, TextValue(v)); err != nil {
			return "", err
		}
		text = rest[n:]
	}
}

// cutStructured returns the value in quotes at the front of text, and its
// length with the quotes. A backslash escapes a quote, a backslash and a
// bracket, and stands for itself otherwise (RFC 5424, section 6.3.3).
func cutStructured(text string) (string, int) {
	for i := 1; i < len(text); i++ {
		switch text[i] {
		case '\\':
			i++
		case '"':
			inner := text[1:i]
			if strings.IndexByte(inner, '\\') >= 0 {
				inner = structuredEscapes.Replace(inner)
			}
			return inner, i + 1
		}
	}
	return "", 0
}

var structuredEscapes = strings.NewReplacer(`\"`, `"`, `\\`, `\`, `\]`, `]`)

// parseRFC3164 reads what follows the priority: Mmm dd hh:mm:ss HOST TAG[PID]: MSG.
// Much of what is sent as such lacks parts of it; what is not recognised is the
// message.
func parseRFC3164(text string, into *fieldList) error {
	const layout = "Jan _2 15:04:05"
	add := func(name, value string) error { return into.add(name, TextValue(value)) }
	if len(text) > len(layout) && text[len(layout)] == ' ' {
		if _, err := time.Parse(layout, text[:len(layout)]); err == nil {
			if err := add(syslogTimeField, text[:len(layout)]); err != nil {
				return err
			}
			host, rest, _ := strings.Cut(text[len(layout)+1:], " ")
			if err := add("hostname", host); err != nil {
				return err
			}
			text = rest
		}
	}
	// A tag is up to 32 letters, digits and some; then [pid] and a colon.
	end := strings.IndexAny(text, "[: ")
	if end < 1 || end > 48 || text[end] == ' ' {
		into.message = text
		return nil
	}
	tag, rest := text[:end], text[end:]
	pid := ""
	if rest[0] == '[' {
		var ok bool
		if pid, rest, ok = strings.Cut(rest[1:], "]"); !ok || len(pid) > 128 {
			into.message = text
			return nil
		}
	}
	rest, ok := strings.CutPrefix(rest, ":")
	if !ok {
		into.message = text
		return nil
	}
	into.message = strings.TrimPrefix(rest, " ")
	if err := add("app", tag); err != nil || pid == "" {
		return err
	}
	return add("procid", pid)
}
