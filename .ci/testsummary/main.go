// Command testsummary runs go test -json, shows its output the way go test does,
// and counts:
//
//	testsummary [flags] go test -json [-race ...] -- ./...
//
// What stands before the "--" is also how a test that failed is run once more
// (see again), unless -again=false.
//
// It shows each package's closing line when the package ends, and the output of
// tests that failed. At the end it writes all closing lines again, with a line
// "N passed, N failed, N skipped" below them, to the file that -closing names.
// Tests and their subtests count alike. It exits with 1 when something failed
// or was skipped, or when a test that -require asks for has not passed: a test
// that was skipped proves nothing.
package main

import (
	"bufio"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"os"
	"regexp"
	"slices"
	"strings"
)

// event is a line of go test -json, as go doc test2json describes it.
type event struct {
	Action  string
	Package string
	Test    string
	Output  string
}

// summary is what was read so far.
type summary struct {
	out     io.Writer
	closing []string
	output  map[string][]string // of tests that have not ended, by package and test
	passed  []string
	failed  []string
	skipped []string
	flaky   []string // failed, and passed when they ran again
}

func newSummary(out io.Writer) *summary { return &summary{out: out, output: map[string][]string{}} }

func main() {
	closing := flag.String("closing", "", "file for the closing lines")
	require := flag.String("require", "", "regular expressions, by spaces; a test must have passed for each")
	again := flag.Bool("again", true, "run tests that failed once more")
	flag.Parse()
	command, packages, ok := split(flag.Args())
	if !ok {
		fmt.Fprintln(os.Stderr, "usage: testsummary [flags] go test -json [flags] -- PACKAGES")
		os.Exit(2)
	}
	s := newSummary(os.Stdout)
	err := s.run(command[0], append(slices.Clone(command[1:]), packages...))
	if err == nil && *again {
		err = s.again(command)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	for _, missing := range s.missing(strings.Fields(*require)) {
		s.failed = append(s.failed, "no test passed that matches "+missing)
	}
	report := s.report()
	fmt.Fprint(os.Stdout, report)
	if *closing != "" {
		if err := os.WriteFile(*closing, []byte(report), 0o600); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
	if len(s.failed) > 0 || len(s.skipped) > 0 || len(s.passed) == 0 {
		os.Exit(1)
	}
}

// split parts the command from the packages behind "--".
func split(args []string) (command, packages []string, ok bool) {
	i := slices.Index(args, "--")
	if i < 1 || i == len(args)-1 {
		return nil, nil, false
	}
	return args[:i], args[i+1:], true
}

// read reads events to the end. Lines that are none are shown.
func (s *summary) read(r io.Reader) error {
	lines := bufio.NewReader(r)
	for {
		line, err := lines.ReadBytes('\n')
		if len(line) > 0 {
			var e event
			if json.Unmarshal(line, &e) == nil && e.Action != "" {
				s.take(e)
			} else {
				fmt.Fprintf(s.out, "%s", line)
			}
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

func (s *summary) take(e event) {
	key := e.Package + " " + e.Test
	name := strings.TrimSuffix(key, " ")
	switch e.Action {
	case "build-output":
		fmt.Fprint(s.out, e.Output)
	case "output":
		switch {
		case e.Test == "" && isClosing(e):
			s.closing = append(s.closing, e.Output)
			fmt.Fprint(s.out, e.Output)
		default:
			s.output[key] = append(s.output[key], e.Output)
		}
	case "pass", "fail", "skip":
		output := s.output[key]
		delete(s.output, key)
		if e.Action == "fail" {
			fmt.Fprint(s.out, strings.Join(output, ""))
		}
		switch {
		case e.Test == "" && e.Action != "fail":
			// A package that passed, or has no tests, counts by its tests.
		case e.Action == "pass":
			s.passed = append(s.passed, name)
		case e.Action == "skip":
			s.skipped = append(s.skipped, name)
			fmt.Fprint(s.out, strings.Join(output, ""))
		case e.Test != "":
			s.failed = append(s.failed, name)
		default:
			s.packageFailed(e.Package)
		}
	}
}

// packageFailed counts the tests of a package that never ended, as after a
// panic, and the package itself when no test of it is to blame.
func (s *summary) packageFailed(pkg string) {
	blamed := false
	for _, name := range s.failed {
		blamed = blamed || strings.HasPrefix(name, pkg+" ")
	}
	for key, output := range s.output {
		if test, ok := strings.CutPrefix(key, pkg+" "); ok && test != "" {
			fmt.Fprint(s.out, strings.Join(output, ""))
			s.failed = append(s.failed, key)
			delete(s.output, key)
			blamed = true
		}
	}
	if !blamed {
		s.failed = append(s.failed, pkg)
	}
}

// isClosing reports whether the output is go test's last line on a package.
func isClosing(e event) bool {
	for _, begin := range []string{"ok  \t", "FAIL\t", "?   \t"} {
		if strings.HasPrefix(e.Output, begin+e.Package) {
			return true
		}
	}
	return strings.HasPrefix(e.Output, "\t"+e.Package+"\t") // no tests, but coverage
}

// missing returns the patterns that match no test that passed.
func (s *summary) missing(patterns []string) (missing []string) {
	for _, pattern := range patterns {
		match, found := regexp.MustCompile(pattern), false
		for _, name := range s.passed {
			found = found || match.MatchString(name)
		}
		if !found {
			missing = append(missing, pattern)
		}
	}
	return missing
}

// report returns the closing lines, what failed or was skipped, and the counts.
func (s *summary) report() string {
	var b strings.Builder
	for _, line := range s.closing {
		b.WriteString(line)
	}
	for _, name := range s.failed {
		fmt.Fprintf(&b, "failed: %s\n", name)
	}
	for _, name := range s.skipped {
		fmt.Fprintf(&b, "skipped: %s\n", name)
	}
	for _, name := range s.flaky {
		fmt.Fprintf(&b, "FLAKY: %s failed, and passed when it ran again\n", name)
	}
	if len(s.failed) > 0 {
		b.WriteString("FAIL\n")
	}
	fmt.Fprintf(&b, "%d passed, %d failed, %d skipped\n", len(s.passed), len(s.failed), len(s.skipped))
	return b.String()
}
