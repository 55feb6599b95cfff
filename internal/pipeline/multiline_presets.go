package pipeline

import (
	"bytes"
	"strings"
)

// preset knows the stack traces of one language. Its function looks at one
// line alone: what a trace looks like in the middle says enough, and a state
// that spans lines could be led astray by one that is missing. Where traces have
// empty lines in them, any empty line goes on with what was before it.
type preset struct {
	name      string
	continues func(line []byte) bool
}

var presets []preset

func init() {
	presets = []preset{
		{"java", javaContinues},
		{"python", pythonContinues},
		{"go", goContinues},
		{"dotnet", dotnetContinues},
		{"nodejs", nodeContinues},
		{"ruby", rubyContinues},
		{"php", phpContinues},
	}
	each := presets
	presets = append(presets, preset{"any", func(line []byte) bool {
		for i := range each {
			if each[i].continues(line) {
				return true
			}
		}
		return false
	}})
}

func presetNamed(name string) *preset {
	for i := range presets {
		if presets[i].name == name {
			return &presets[i]
		}
	}
	return nil
}

func presetNames() string {
	names := make([]string, len(presets))
	for i := range presets {
		names[i] = presets[i].name
	}
	return strings.Join(names, ", ")
}

// indented reports whether the line begins with a space or a tab, and returns
// it without them.
func indented(line []byte) ([]byte, bool) {
	rest := bytes.TrimLeft(line, " \t")
	return rest, len(rest) < len(line)
}

func hasPrefix(line []byte, prefix string) bool {
	return len(line) >= len(prefix) && string(line[:len(prefix)]) == prefix
}

func hasAnyPrefix(line []byte, list ...string) bool {
	for _, p := range list {
		if hasPrefix(line, p) {
			return true
		}
	}
	return false
}

// javaContinues: "\tat pkg.Class.method(File.java:1)", "\t... 3 more",
// "Caused by: ...", "\tSuppressed: ...". Also Kotlin and Scala.
func javaContinues(line []byte) bool {
	rest, in := indented(line)
	if in {
		return hasAnyPrefix(rest, "at ", "... ", "Caused by: ", "Suppressed: ", "- locked", "[CIRCULAR REFERENCE")
	}
	return hasAnyPrefix(line, "Caused by: ", "Suppressed: ") || javaException(line)
}

// javaException: "java.lang.IllegalStateException: message", a qualified name
// without spaces, at the beginning of a line.
func javaException(line []byte) bool {
	name, _, _ := bytes.Cut(line[:min(len(line), 256)], []byte(":"))
	if bytes.IndexByte(name, '.') < 1 || bytes.IndexByte(name, ' ') >= 0 {
		return false
	}
	return bytes.HasSuffix(name, []byte("Exception")) || bytes.HasSuffix(name, []byte("Error")) ||
		bytes.HasSuffix(name, []byte("Throwable"))
}

// pythonContinues: "Traceback (most recent call last):", indented frames, the
// line of the exception, and the sentences between chained ones.
func pythonContinues(line []byte) bool {
	if _, in := indented(line); in || len(line) == 0 {
		return true
	}
	return hasAnyPrefix(line, "Traceback (most recent call last)", "During handling of the above exception",
		"The above exception was the direct cause") || pythonException(line)
}

// pythonException: "ValueError: message", "pkg.SomeError", "KeyboardInterrupt".
func pythonException(line []byte) bool {
	name, _, _ := bytes.Cut(line[:min(len(line), 256)], []byte(":"))
	if len(name) == 0 || bytes.IndexByte(name, ' ') >= 0 {
		return false
	}
	for _, suffix := range [...]string{"Error", "Exception", "Warning", "Interrupt", "Exit", "StopIteration"} {
		if len(name) > len(suffix) && string(name[len(name)-len(suffix):]) == suffix {
			return true
		}
	}
	return false
}

// goContinues: what follows "panic: ..." or "fatal error: ...": "goroutine 1
// [running]:", frames such as "main.f(...)" and their "\t/file.go:1 +0x1".
func goContinues(line []byte) bool {
	rest, in := indented(line)
	if in {
		return bytes.Contains(rest[:min(len(rest), 1024)], []byte(".go:")) || hasAnyPrefix(rest, "panic: ", "/") ||
			hasPrefix(line, "\t")
	}
	if len(line) == 0 || hasAnyPrefix(line, "goroutine ", "created by ", "[signal ", "exit status ", "\r", "...additional frames elided") {
		return true
	}
	return goFrame(line)
}

// goFrame: "main.(*T).f(0x1, ...)", "runtime.gopanic({0x1, 0x2})". The name
// before the last pair of parentheses has a dot and no space.
func goFrame(line []byte) bool {
	line = bytes.TrimRight(line[:min(len(line), 1024)], "\r")
	if len(line) == 0 || line[len(line)-1] != ')' {
		return false
	}
	// Receivers stand in parentheses as well: "(*T)".
	open := bytes.LastIndexByte(line, '(')
	if open < 1 {
		return false
	}
	name := line[:open]
	return bytes.IndexByte(name, '.') > 0 && bytes.IndexByte(name, ' ') < 0
}

// dotnetContinues: "   at Namespace.Class.Method()", "--- End of ...",
// " ---> System.Exception: ...".
func dotnetContinues(line []byte) bool {
	rest, in := indented(line)
	if in {
		return hasAnyPrefix(rest, "at ", "---> ", "--- End of ", "(Inner Exception")
	}
	return hasAnyPrefix(line, "--- End of ", "---> ") || javaException(line)
}

// nodeContinues: "    at f (/file.js:1:2)", and the braces and properties of a
// printed error.
func nodeContinues(line []byte) bool {
	rest, in := indented(line)
	if in {
		return hasAnyPrefix(rest, "at ", "[cause]:", "[errors]:", "code: ", "errno: ", "syscall: ", "path: ", "address: ", "port: ",
			"... ", "}")
	}
	return string(bytes.TrimRight(line, "\r")) == "}"
}

// rubyContinues: "\tfrom file.rb:1:in `f'", "\t1: from ...", and Rails'
// indented frames.
func rubyContinues(line []byte) bool {
	rest, in := indented(line)
	if !in {
		return false
	}
	if hasPrefix(rest, "from ") {
		return true
	}
	number, after, found := bytes.Cut(rest[:min(len(rest), 64)], []byte(": from "))
	if found && len(after) > 0 && len(number) > 0 && digits(number) {
		return true
	}
	rest = rest[:min(len(rest), 1024)]
	return bytes.Contains(rest, []byte(".rb:")) && bytes.Contains(rest, []byte(":in "))
}

// phpContinues: "Stack trace:", "#0 /file.php(1): f()", "  thrown in ... on
// line 1", "Next Exception: ...", with PHP's own prefix or without.
func phpContinues(line []byte) bool {
	rest := bytes.TrimLeft(line, " \t")
	rest, _ = bytes.CutPrefix(rest, []byte("PHP "))
	rest = bytes.TrimLeft(rest, " ")
	if len(rest) == 0 || hasAnyPrefix(rest, "Stack trace:", "[stacktrace]", "thrown in ", "{main}") {
		return true
	}
	if hasPrefix(rest, "Next ") && bytes.Contains(rest[:min(len(rest), 256)], []byte(" in ")) {
		return true
	}
	if len(rest) < 3 || rest[0] != '#' {
		return false
	}
	number, _, found := bytes.Cut(rest[1:min(len(rest), 12)], []byte(" "))
	return found && len(number) > 0 && digits(number)
}
