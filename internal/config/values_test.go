package config

import (
	"testing"
	"time"
)

func TestByteSize(t *testing.T) {
	f := func(text string, want ByteSize, printed string) {
		t.Helper()
		got, err := ParseByteSize(text)
		if err != nil || got != want {
			t.Errorf("ParseByteSize(%q) = %d, %v; want %d", text, got, err, want)
		}
		if got.String() != printed {
			t.Errorf("%q prints as %q, want %q", text, got, printed)
		}
	}
	f("0", 0, "0")
	f("1", 1, "1")
	f("1B", 1, "1")
	f("4096", 4096, "4KiB")
	f("1000", 1000, "1KB")
	f("1kB", 1000, "1KB")
	f("16MiB", 16<<20, "16MiB")
	f("16 MiB", 16<<20, "16MiB")
	f("1MB", 1e6, "1MB")
	f("1.5GiB", 3<<29, "1536MiB")
	f("2TiB", 2<<40, "2TiB")
	f("1234567", 1234567, "1234567")
	f("9223372036854775807", 1<<63-1, "9223372036854775807")

	bad := func(text, want string) {
		t.Helper()
		if got, err := ParseByteSize(text); err == nil || err.Error() != want {
			t.Errorf("ParseByteSize(%q) = %v, %v; want %s", text, got, err, want)
		}
	}
	for _, text := range []string{"", "MiB", "16M", "16mib", "-1", "+1", "1e3", "1.MiB", ".5MiB", "0x10", "1  MiB", "1_000", "Inf", "NaN"} {
		bad(text, `want a size such as 16MiB, 1MB or a number of bytes, not "`+text+`"`)
	}
	bad("1.5", "1.5 is not a whole number of bytes")
	bad("8388608TiB", "8388608TiB is more bytes than can be counted")
	bad("9223372036854775808", "9223372036854775808 is more bytes than can be counted")
}

func TestDuration(t *testing.T) {
	f := func(text string, want time.Duration, printed string) {
		t.Helper()
		got, err := ParseDuration(text)
		if err != nil || got.Std() != want {
			t.Errorf("ParseDuration(%q) = %v, %v; want %v", text, got.Std(), err, want)
		}
		if got.String() != printed {
			t.Errorf("%q prints as %q, want %q", text, got, printed)
		}
	}
	f("0", 0, "0s")
	f("0s", 0, "0s")
	f("250ms", 250*time.Millisecond, "250ms")
	f("30s", 30*time.Second, "30s")
	f("1m", time.Minute, "1m")
	f("1m30s", 90*time.Second, "1m30s")
	f("24h", 24*time.Hour, "24h")
	f("7d", 7*24*time.Hour, "168h")
	f("1d12h", 36*time.Hour, "36h")
	f("0.5d", 12*time.Hour, "12h")
	f("10m", 10*time.Minute, "10m")
	f("1h0m5s", time.Hour+5*time.Second, "1h0m5s")

	bad := func(text, want string) {
		t.Helper()
		if got, err := ParseDuration(text); err == nil || err.Error() != want {
			t.Errorf("ParseDuration(%q) = %v, %v; want %s", text, got, err, want)
		}
	}
	for _, text := range []string{"", "d", "s", "-1s", "+1s", "-1d", "1d-1h", "1d1d", "1h1d", "1w", "five", "1 s", "1d 1h"} {
		bad(text, `want a duration such as 30s, 5m or 7d, not "`+text+`"`)
	}
	bad("30", "30 has no unit; write 30s for seconds")
	bad("1.5", "1.5 has no unit; write 1.5s for seconds")
	bad("200000d", "is longer than 292 years")
	bad("106000d20000h", "is longer than 292 years")
}
