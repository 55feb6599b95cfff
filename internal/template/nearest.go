package template

import (
	"maps"
	"slices"
	"strings"
)

// nearest returns the valid name that was most likely meant by name: one that
// it is a whole word of (service, name, id), or else the one that takes the
// fewest edits to make from it.
func nearest(name string, constants map[string]string) string {
	candidates := append(Placeholders(), slices.Sorted(maps.Keys(constants))...)
	for _, c := range candidates {
		if slices.Contains(strings.Split(c, "_"), name) {
			return c
		}
	}
	return slices.MinFunc(candidates, func(a, b string) int {
		return distance(name, a) - distance(name, b)
	})
}

// distance returns the Levenshtein distance of a and b: how many bytes must be
// inserted, removed or replaced to make one from the other.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			replace := diagonal
			if a[i] != b[j] {
				replace++
			}
			diagonal = row[j+1]
			row[j+1] = min(replace, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
