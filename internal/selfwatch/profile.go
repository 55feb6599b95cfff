package selfwatch

import (
	"bytes"
	"maps"
	"slices"
	"strconv"
	"strings"

	"log_capturer/internal/lifetime"
)

// Other is the component of goroutines that carry no label.
const Other = "other"

// maxComponents bounds the number of components that are told apart. The
// design has about a dozen; goroutines of what comes beyond the bound, in
// alphabetical order, count as Other.
const maxComponents = 50

// stack is a stack that goroutines with one set of labels have in common.
type stack struct {
	component string
	count     int
	frames    []string
}

// parseStacks reads a goroutine profile in the runtime's text form:
//
//	goroutine profile: total 3
//	2 @ 0x43a1ce 0x40602f
//	# labels: {"component":"delivery"}
//	#	0x47a0c4	main.run+0x44	/src/main.go:12
//
// A line of a count and addresses stands for goroutines with one stack and one
// set of labels; the labels follow on the next line, if there are any, and the
// frames after that. The form is that of runtime/pprof's printCountProfile.
func parseStacks(profile []byte) []stack {
	var stacks []stack
	for line := range bytes.Lines(profile) {
		line = bytes.TrimRight(line, "\n")
		if n := stackCount(line); n > 0 {
			stacks = append(stacks, stack{component: Other, count: n})
			continue
		}
		if len(stacks) == 0 {
			continue
		}
		last := &stacks[len(stacks)-1]
		if labels, labelled := bytes.CutPrefix(line, []byte("# labels: ")); labelled {
			last.component = component(string(labels))
		} else if frame, ok := bytes.CutPrefix(line, []byte("#\t")); ok {
			_, where, _ := bytes.Cut(frame, []byte("\t")) // behind the address
			last.frames = append(last.frames, strings.Join(strings.Fields(string(where)), " "))
		}
	}
	return stacks
}

// countGoroutines counts the goroutines of a profile.
func countGoroutines(stacks []stack) Goroutines {
	counted := Goroutines{ByComponent: map[string]int{Other: 0}}
	for _, s := range stacks {
		counted.Total += s.count
		counted.ByComponent[s.component] += s.count
	}
	boundComponents(counted.ByComponent)
	return counted
}

// stackCount returns the count at the start of a line "2 @ 0x43a1ce", zero for
// any other line.
func stackCount(line []byte) int {
	digits, _, found := bytes.Cut(line, []byte(" @"))
	if !found {
		return 0
	}
	n, err := strconv.Atoi(string(digits))
	if err != nil {
		return 0
	}
	return n
}

// component returns the component among labels in the form {"key":"value",
// "key":"value"}, which quotes the way strconv does.
func component(labels string) string {
	rest := strings.TrimPrefix(labels, "{")
	for {
		quotedKey, err := strconv.QuotedPrefix(rest)
		if err != nil {
			return Other
		}
		rest = strings.TrimPrefix(rest[len(quotedKey):], ":")
		quotedValue, err := strconv.QuotedPrefix(rest)
		if err != nil {
			return Other
		}
		rest = strings.TrimPrefix(rest[len(quotedValue):], ", ")
		if key, _ := strconv.Unquote(quotedKey); key != lifetime.ComponentLabel {
			continue
		}
		if value, _ := strconv.Unquote(quotedValue); value != "" {
			return value
		}
		return Other
	}
}

// boundComponents moves what is beyond maxComponents to Other.
func boundComponents(byComponent map[string]int) {
	if len(byComponent) <= maxComponents {
		return
	}
	kept := 1 // Other
	for _, name := range slices.Sorted(maps.Keys(byComponent)) {
		switch {
		case name == Other:
		case kept < maxComponents:
			kept++
		default:
			byComponent[Other] += byComponent[name]
			delete(byComponent, name)
		}
	}
}
