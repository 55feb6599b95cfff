package otlp

// severity is a severity number of OpenTelemetry's data model, and its short
// name. The zero severity is none.
type severity struct {
	number int
	text   string
}

var (
	trace = severity{1, "TRACE"}
	debug = severity{5, "DEBUG"}
	info  = severity{9, "INFO"}
	warn  = severity{13, "WARN"}
	fail  = severity{17, "ERROR"}
	fatal = severity{21, "FATAL"}
)

// searched is how much of a line is looked through for a severity, in bytes.
const searched = 200

// longestName is the length of the longest name of a severity.
const longestName = len("EMERGENCY")

// severityOf returns the severity that the beginning of a line tells: a name in
// capitals that stands by itself ("2026-03-04 WARN ..."), or in any letters
// behind the key level, lvl or severity (level=warn, "level":"warn"). A name in
// small letters by itself is an ordinary word and tells nothing.
func severityOf(line []byte) severity {
	line = line[:min(len(line), searched)]
	key := false // the last word was a key, and nothing but '=', ':' and quotes followed
	for i := 0; i < len(line); {
		c := line[i]
		if !isLetter(c) {
			if key && c != '=' && c != ':' && c != '"' && c != '\'' && c != ' ' && c != '[' {
				key = false
			}
			i++
			continue
		}
		begin := i
		for i < len(line) && (isLetter(line[i]) || isDigit(line[i]) || line[i] == '_') {
			i++
		}
		word := line[begin:i]
		if begin > 0 && (isDigit(line[begin-1]) || line[begin-1] == '_') {
			key = false
			continue // the end of something else
		}
		if len(word) > longestName {
			key = false
			continue
		}
		if s, ok := named(word, key); ok {
			return s
		}
		key = isKey(word)
	}
	return severity{}
}

func isLetter(c byte) bool { return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' }
func isDigit(c byte) bool  { return '0' <= c && c <= '9' }

// named returns the severity that a word names, in capitals or, with anyCase, in
// any letters.
func named(word []byte, anyCase bool) (severity, bool) {
	var capitals [longestName]byte
	for i, c := range word {
		if 'a' <= c && c <= 'z' {
			if !anyCase {
				return severity{}, false
			}
			c -= 'a' - 'A'
		}
		capitals[i] = c
	}
	switch string(capitals[:len(word)]) {
	case "TRACE", "TRC":
		return trace, true
	case "DEBUG", "DBG":
		return debug, true
	case "INFO", "INF", "NOTICE":
		return info, true
	case "WARN", "WRN", "WARNING":
		return warn, true
	case "ERROR", "ERR":
		return fail, true
	case "FATAL", "FTL", "PANIC", "CRITICAL", "CRIT", "ALERT", "EMERG", "EMERGENCY":
		return fatal, true
	}
	return severity{}, false
}

// isKey reports whether a word is a key that a severity's name stands behind.
func isKey(word []byte) bool {
	switch string(word) {
	case "level", "Level", "LEVEL", "lvl", "severity", "Severity", "SEVERITY":
		return true
	}
	return false
}
