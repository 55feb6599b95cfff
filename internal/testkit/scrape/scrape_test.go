package scrape

import (
	"math"
	"strings"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestParse(t *testing.T) {
	s, err := Parse(strings.NewReader(`# HELP a Help.
# TYPE a gauge
a 3
b_total{x="1",y="a\"b\\c\nd,}"} 2.5 1700000000
b_total{x="2",} 4e1

c{} +Inf
`))
	if err != nil {
		t.Fatal(err)
	}
	f := func(want float64, name string, labels ...string) {
		t.Helper()
		if got, ok := s.Sum(name, labels...); !ok || got != want {
			t.Errorf("%s %v: %v, %v", name, labels, got, ok)
		}
	}
	f(3, "a")
	f(42.5, "b_total")
	f(40, "b_total", "x", "2")
	f(2.5, "b_total", "x", "1", "y", "a\"b\\c\nd,}")
	f(math.Inf(1), "c")
	for _, labels := range [][]string{{"x", "3"}, {"z", ""}} {
		if _, ok := s.Sum("b_total", labels...); ok {
			t.Errorf("found %v", labels)
		}
	}
}

func TestParseRefuses(t *testing.T) {
	for _, bad := range []string{"a", "a x", `a{x="1" 2`, `a{x=1} 2`, `a{x="1"}`, "{} 1"} {
		if _, err := Parse(strings.NewReader(bad)); err == nil {
			t.Errorf("%q: no error", bad)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add(`a{x="1",y="\""} 2 3`)
	f.Fuzz(func(t *testing.T, text string) { Parse(strings.NewReader(text)) })
}
