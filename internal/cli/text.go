package cli

import (
	"fmt"
	"math"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// count returns a number as people read it: 999, 12.3k, 4.5M.
func count(n float64) string {
	for _, unit := range []struct {
		size float64
		name string
	}{{1e12, "T"}, {1e9, "G"}, {1e6, "M"}, {1e4, "k"}} {
		if n >= unit.size {
			if unit.name == "k" {
				return fmt.Sprintf("%.1fk", n/1e3)
			}
			return fmt.Sprintf("%.1f%s", n/unit.size, unit.name)
		}
	}
	if n != math.Trunc(n) && n < 100 {
		return fmt.Sprintf("%.1f", n)
	}
	return fmt.Sprintf("%.0f", n)
}

// bytesText returns a number of bytes as people read it: 12B, 3.4MiB.
func bytesText(n float64) string {
	units := []string{"B", "KiB", "MiB", "GiB", "TiB", "PiB"}
	for n >= 1024 && len(units) > 1 {
		n /= 1024
		units = units[1:]
	}
	if units[0] == "B" {
		return fmt.Sprintf("%.0fB", n)
	}
	return fmt.Sprintf("%.1f%s", n, units[0])
}

// lagText returns a lag in seconds, "-" for none.
func lagText(seconds float64) string {
	if seconds <= 0 {
		return "-"
	}
	return short(time.Duration(seconds * float64(time.Second)))
}

// short returns a duration in its two largest units at most: 250ms, 12s, 3m4s.
func short(d time.Duration) string {
	switch {
	case d < time.Second:
		return fmt.Sprintf("%dms", d.Milliseconds())
	case d < 10*time.Second:
		return fmt.Sprintf("%.1fs", d.Seconds())
	case d < time.Minute:
		return fmt.Sprintf("%.0fs", math.Floor(d.Seconds()))
	case d < time.Hour:
		return fmt.Sprintf("%dm%ds", int(d.Minutes()), int(d.Seconds())%60)
	case d < 24*time.Hour:
		return fmt.Sprintf("%dh%dm", int(d.Hours()), int(d.Minutes())%60)
	}
	return fmt.Sprintf("%dd%dh", int(d.Hours())/24, int(d.Hours())%24)
}

// ago returns how long something is past.
func ago(d time.Duration) string {
	if d < time.Second {
		return "now"
	}
	return short(d) + " ago"
}

// printable returns a text that comes from a container as it may stand on a
// terminal: what could move the cursor or do worse is shown as it is written
// in Go.
func printable(text string) string {
	clean := true
	for _, r := range text {
		if r == utf8.RuneError || !unicode.IsPrint(r) {
			clean = false
			break
		}
	}
	if clean {
		return text
	}
	var b strings.Builder
	for i, r := range text {
		switch {
		case r == '\t':
			b.WriteByte('\t')
		case r == utf8.RuneError && !strings.HasPrefix(text[i:], "\uFFFD"):
			fmt.Fprintf(&b, "\\x%02x", text[i])
		case unicode.IsPrint(r):
			b.WriteRune(r)
		case r < 0x20 || r == 0x7f:
			fmt.Fprintf(&b, "\\x%02x", r)
		default:
			fmt.Fprintf(&b, "\\u%04x", r)
		}
	}
	return b.String()
}
