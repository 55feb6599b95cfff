package pipeline

import (
	"strconv"
	"strings"
)

// levelWords are the words that logs use for levels, in lower case.
var levelWords = map[string]Level{
	"trace": Trace, "trc": Trace, "finest": Trace, "finer": Trace, "verbose": Trace,
	"debug": Debug, "dbg": Debug, "fine": Debug,
	"info": Info, "inf": Info, "information": Info, "informational": Info, "notice": Info, "config": Info, "log": Info,
	"warn": Warn, "wrn": Warn, "warning": Warn,
	"error": Error, "err": Error, "eror": Error, "severe": Error, "fail": Error,
	"fatal": Fatal, "ftl": Fatal, "critical": Fatal, "crit": Fatal, "alert": Fatal, "emerg": Fatal, "emergency": Fatal,
	"panic": Fatal,
}

// longestLevelWord is the length of the longest of levelWords, in bytes.
const longestLevelWord = 13

// wordLevel returns the level of a word in any case.
func wordLevel(word []byte) (Level, bool) {
	var lower [longestLevelWord]byte
	if len(word) == 0 || len(word) > len(lower) {
		return NoLevel, false
	}
	for i, c := range word {
		if 'A' <= c && c <= 'Z' {
			c += 'a' - 'A'
		}
		lower[i] = c
	}
	level, ok := levelWords[string(lower[:len(word)])]
	return level, ok
}

type levelStage struct {
	LevelOptions
	fallback Level
}

func (o *LevelOptions) compile(*compiler) (stage, error) {
	s := &levelStage{LevelOptions: *o}
	if o.Default != "" {
		var ok bool
		if s.fallback, ok = levelNamed(o.Default); !ok {
			return nil, wrong("default", "want %s, not %q", strings.Join(levelNames[1:], ", "), shorten(o.Default))
		}
	}
	return s, nil
}

// levelNamed returns the level of one of our own names.
func levelNamed(name string) (Level, bool) {
	for i, n := range levelNames {
		if i > 0 && n == name {
			return Level(i), true
		}
	}
	return NoLevel, false
}

func (s *levelStage) open(*Run) instance { return s }

func (s *levelStage) process(e *Event, next func(*Event)) error {
	e.Level = s.find(e)
	next(e)
	return nil
}

// find returns the level that the record says. What it had, say from syslog,
// stays when it says none.
func (s *levelStage) find(e *Event) Level {
	for _, name := range s.Fields {
		if v, ok := e.Get(name); ok {
			if level, ok := valueLevel(v); ok {
				return level
			}
		}
	}
	if s.Text {
		if level := lineLevel(e.Line); level != NoLevel {
			return level
		}
	}
	if e.Level == NoLevel {
		return s.fallback
	}
	return e.Level
}

// valueLevel returns the level of an attribute: a word, or a number of syslog
// (RFC 5424: 0 is the worst) or of pino and bunyan (10 trace to 60 fatal).
func valueLevel(v Value) (Level, bool) {
	text := strings.TrimSpace(v.Text)
	if level, ok := wordLevel([]byte(text)); ok {
		return level, true
	}
	n, err := strconv.Atoi(text)
	switch {
	case err != nil || n < 0:
		return NoLevel, false
	case n < len(syslogLevels):
		return syslogLevels[n], true
	case n >= 10 && n < 70:
		return Level(n / 10), true
	}
	return NoLevel, false
}

// levelSearchBytes is how much of a line is searched for a word.
const levelSearchBytes = 256

// lineLevel searches the beginning of a line for a level: a word in capitals
// ("ERROR", "WARN"), in brackets ("[error]"), before a colon ("error:") or after
// "level=". klog's lines begin with a letter and four digits ("E0102").
func lineLevel(line []byte) Level {
	line = line[:min(len(line), levelSearchBytes)]
	if len(line) > 5 && digits(line[1:5]) && line[5] == ' ' {
		switch line[0] {
		case 'I':
			return Info
		case 'W':
			return Warn
		case 'E':
			return Error
		case 'F':
			return Fatal
		}
	}
	for i := 0; i < len(line); {
		if !letter(line[i]) {
			i++
			continue
		}
		start, capitals := i, true
		for i < len(line) && letter(line[i]) {
			capitals = capitals && line[i] <= 'Z'
			i++
		}
		level, ok := wordLevel(line[start:i])
		if !ok || start > 0 && wordByte(line[start-1]) || i < len(line) && wordByte(line[i]) {
			continue
		}
		before, after := byte(0), byte(0)
		if start > 0 {
			before = line[start-1]
		}
		if i < len(line) {
			after = line[i]
		}
		if capitals && i-start > 2 || before == '[' || before == '<' || before == '(' || after == ':' && start == 0 ||
			before == '=' || before == '"' && after == '"' {
			return level
		}
	}
	return NoLevel
}

func letter(c byte) bool { return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' }

func wordByte(c byte) bool { return c == '_' || c == '-' || c == '.' || '0' <= c && c <= '9' }

func digits(text []byte) bool {
	for _, c := range text {
		if c < '0' || c > '9' {
			return false
		}
	}
	return true
}
