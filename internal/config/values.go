package config

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// ByteSize is a number of bytes. In files it is a number with a unit ("16MiB",
// "1.5GB") or a plain number of bytes.
type ByteSize int64

// byteUnits are the units of sizes, the largest first.
var byteUnits = []struct {
	name string
	size ByteSize
}{
	{"TiB", 1 << 40}, {"TB", 1e12},
	{"GiB", 1 << 30}, {"GB", 1e9},
	{"MiB", 1 << 20}, {"MB", 1e6},
	{"KiB", 1 << 10}, {"KB", 1e3}, {"kB", 1e3},
	{"B", 1},
}

// ParseByteSize parses a size such as "16MiB", "1MB", "1.5GiB" or "4096".
func ParseByteSize(text string) (ByteSize, error) {
	wrong := fmt.Errorf("want a size such as 16MiB, 1MB or a number of bytes, not %q", shorten(text))
	number, unit := text, ByteSize(1)
	for _, u := range byteUnits {
		if rest, ok := strings.CutSuffix(text, u.name); ok {
			number, unit = strings.TrimSuffix(rest, " "), u.size
			break
		}
	}
	if !isDecimal(number) {
		return 0, wrong
	}
	if n, err := strconv.ParseInt(number, 10, 64); err == nil {
		if n > math.MaxInt64/int64(unit) {
			return 0, fmt.Errorf("%s is more bytes than can be counted", text)
		}
		return ByteSize(n) * unit, nil
	}
	f, err := strconv.ParseFloat(number, 64)
	if err != nil {
		return 0, wrong
	}
	f *= float64(unit)
	if f >= math.MaxInt64 {
		return 0, fmt.Errorf("%s is more bytes than can be counted", shorten(text))
	}
	if f != math.Trunc(f) {
		return 0, fmt.Errorf("%s is not a whole number of bytes", shorten(text))
	}
	return ByteSize(f), nil
}

// isDecimal reports whether text is digits, with at most one point among them.
func isDecimal(text string) bool {
	whole, fraction, point := strings.Cut(text, ".")
	return isDigits(whole) && (!point || isDigits(fraction))
}

func isDigits(text string) bool {
	return text != "" && strings.Trim(text, "0123456789") == ""
}

// String returns the size in the largest unit of which it is a whole number.
func (b ByteSize) String() string {
	if b > 0 {
		for _, u := range byteUnits {
			if u.size > 1 && b%u.size == 0 {
				return strconv.FormatInt(int64(b/u.size), 10) + u.name
			}
		}
	}
	return strconv.FormatInt(int64(b), 10)
}

// MarshalText returns String.
func (b ByteSize) MarshalText() ([]byte, error) { return []byte(b.String()), nil }

// UnmarshalText is ParseByteSize.
func (b *ByteSize) UnmarshalText(text []byte) error {
	size, err := ParseByteSize(string(text))
	if err != nil {
		return err
	}
	*b = size
	return nil
}

// Duration is a length of time. In files it has Go's syntax ("1m30s", "250ms")
// and may begin with days ("7d", "1d12h"). A day is 24 hours.
type Duration time.Duration

const day = 24 * time.Hour

// ParseDuration parses a duration such as "1m30s" or "7d". It is never negative.
func ParseDuration(text string) (Duration, error) {
	if text != "0" && isDecimal(text) {
		return 0, fmt.Errorf("%s has no unit; write %ss for seconds", shorten(text), shorten(text))
	}
	wrong := fmt.Errorf("want a duration such as 30s, 5m or 7d, not %q", shorten(text))
	days, rest, ok := strings.Cut(text, "d")
	if !ok {
		days, rest = "", text
	} else if !isDecimal(days) {
		return 0, wrong
	}
	var d time.Duration
	if ok {
		f, err := strconv.ParseFloat(days, 64)
		if err != nil {
			return 0, wrong
		}
		if f *= float64(day); f >= math.MaxInt64 {
			return 0, errTooLong
		}
		d = time.Duration(f)
	}
	if rest != "" || !ok {
		if strings.HasPrefix(rest, "-") || strings.HasPrefix(rest, "+") {
			return 0, wrong
		}
		r, err := time.ParseDuration(rest)
		if err != nil {
			return 0, wrong
		}
		if d += r; d < 0 {
			return 0, errTooLong
		}
	}
	return Duration(d), nil
}

var errTooLong = errors.New("is longer than 292 years")

// Std returns the duration as the type of the standard library.
func (d Duration) Std() time.Duration { return time.Duration(d) }

// String returns the duration in Go's syntax, without units that are zero.
func (d Duration) String() string {
	text := time.Duration(d).String()
	if rest, ok := strings.CutSuffix(text, "m0s"); ok {
		text = rest + "m"
	}
	if rest, ok := strings.CutSuffix(text, "h0m"); ok {
		text = rest + "h"
	}
	return text
}

// MarshalText returns String.
func (d Duration) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// UnmarshalText is ParseDuration.
func (d *Duration) UnmarshalText(text []byte) error {
	parsed, err := ParseDuration(string(text))
	if err != nil {
		return err
	}
	*d = parsed
	return nil
}

// shorten returns text as it may stand in a message: cut when it is long.
func shorten(text string) string {
	const most = 60
	if runes := []rune(text[:min(len(text), 4*most+4)]); len(runes) > most {
		return string(runes[:most]) + "..."
	}
	return text
}
