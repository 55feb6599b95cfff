package selfwatch

import (
	"cmp"
	"maps"
	"slices"
	"strings"

	"log_capturer/internal/lifetime"
)

// Leaks is all that is known of what the agent occupies and how that changes:
// what a report of a leak needs.
type Leaks struct {
	Judgement
	Census Census `json:"census"`
	// Stacks are those with the most goroutines, for each component that grows;
	// while none does, for all.
	Stacks []Stack `json:"stacks"`
	// Targets are what the most file descriptors point at.
	Targets []Target `json:"fd_targets"`
	// Overdue are the goroutines that were told to end, and did not.
	Overdue []lifetime.Overdue `json:"overdue"`
}

// Stack is a stack that goroutines have in common.
type Stack struct {
	Component  string `json:"component"`
	Goroutines int    `json:"goroutines"`
	// Frames are the functions, the innermost first, each with file and line.
	Frames []string `json:"frames"`
}

// Target is what file descriptors point at.
type Target struct {
	Target string `json:"target"`
	FDs    int    `json:"fds"`
}

const (
	// maxStacks is how many stacks of a component are shown.
	maxStacks = 5
	// maxTargets is how many targets are shown.
	maxTargets = 20
)

// Leaks takes a census and returns it with the verdict.
func (w *Watcher) Leaks() Leaks {
	l := Leaks{Judgement: w.Judge(), Census: w.Census(), Stacks: []Stack{}, Targets: []Target{}, Overdue: w.opts.Overdue.Current()}
	if l.Overdue == nil {
		l.Overdue = []lifetime.Overdue{}
	}
	growing := map[string]bool{}
	for _, g := range l.Growth {
		if g.Growing && g.Resource == resourceGoroutines && g.Part != all {
			growing[g.Part] = true
		}
	}
	_, stacks := w.goroutines()
	byComponent := map[string][]stack{}
	for _, s := range stacks {
		if len(growing) == 0 || growing[s.component] {
			byComponent[s.component] = append(byComponent[s.component], s)
		}
	}
	for _, component := range slices.Sorted(maps.Keys(byComponent)) {
		largest := byComponent[component]
		slices.SortStableFunc(largest, func(a, b stack) int { return cmp.Compare(b.count, a.count) })
		for _, s := range largest[:min(len(largest), maxStacks)] {
			l.Stacks = append(l.Stacks, Stack{component, s.count, s.frames})
		}
	}
	l.Targets = append(l.Targets, fdTargets()...)
	return l
}

// fdTargets returns what the most descriptors point at, the most first.
func fdTargets() []Target {
	numbers, err := openFDs()
	if err != nil {
		return nil
	}
	counts := map[string]int{}
	for _, number := range numbers {
		target := fdTarget(number)
		if target == "" {
			continue
		}
		if fdKind(target) != "file" {
			target, _, _ = strings.Cut(target, "[") // the number of an inode says nothing
		}
		counts[strings.TrimSuffix(target, ":")]++
	}
	var targets []Target
	for target, n := range counts {
		targets = append(targets, Target{target, n})
	}
	slices.SortFunc(targets, func(a, b Target) int {
		return cmp.Or(cmp.Compare(b.FDs, a.FDs), cmp.Compare(a.Target, b.Target))
	})
	return targets[:min(len(targets), maxTargets)]
}
