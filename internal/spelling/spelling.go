// Package spelling finds the name that was meant by one that is not known, for
// errors to suggest. It knows nothing of what the names are.
package spelling

import "slices"

// Nearest returns the one of valid that was most likely meant by name: the one
// that takes the fewest edits to make from it. It reports false when none is
// near enough to be worth suggesting.
func Nearest(name string, valid []string) (string, bool) {
	if len(valid) == 0 || len(name) > maxSuggestable {
		return "", false
	}
	best := slices.MinFunc(valid, func(a, b string) int {
		return distance(name, a) - distance(name, b)
	})
	return best, distance(name, best) <= max(2, len(name)/3) && distance(name, best) < len(best)
}

// maxSuggestable is the length of the longest name, in bytes, that is compared
// with the valid ones. No valid name is half as long.
const maxSuggestable = 64

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
			replaced := diagonal
			if a[i] != b[j] {
				replaced++
			}
			diagonal = row[j+1]
			row[j+1] = min(replaced, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
