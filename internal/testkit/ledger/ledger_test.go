package ledger

import (
	"bytes"
	"slices"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"log_capturer/internal/record"
	"log_capturer/internal/testkit/numbered"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// lines returns the numbered lines 1 to n of run r.
func lines(n int) (all [][]byte) {
	for i := range n {
		all = append(all, numbered.Append(nil, "r", record.Stdout, uint64(i+1), 60, numbered.ASCII))
	}
	return all
}

func TestVerdict(t *testing.T) {
	f := func(name string, tamper func(all [][]byte) [][]byte, want Report) {
		t.Helper()
		l := New()
		l.Expect("c", "r", record.Stdout, 300)
		for _, line := range tamper(lines(300)) {
			l.Observe("c", line)
		}
		got := *l.Check()
		details := got.details
		got.details = nil
		if got.Missing != want.Missing || got.Repeated != want.Repeated || got.Disordered != want.Disordered ||
			got.Corrupt != want.Corrupt || got.Unexpected != want.Unexpected || got.Foreign != want.Foreign {
			t.Errorf("%s: %v %v", name, got.String(), details)
		}
		if ok := len(details) == 0; got.OK() != ok {
			t.Errorf("%s: OK %v with details %v", name, got.OK(), details)
		}
	}
	f("all", func(all [][]byte) [][]byte { return all }, Report{})
	f("drop one", func(all [][]byte) [][]byte { return slices.Delete(all, 99, 100) }, Report{Missing: 1})
	f("drop the last", func(all [][]byte) [][]byte { return all[:299] }, Report{Missing: 1})
	f("drop the first", func(all [][]byte) [][]byte { return all[1:] }, Report{Missing: 1})
	f("drop a word of the bitmap", func(all [][]byte) [][]byte { return slices.Delete(all, 63, 127) }, Report{Missing: 64})
	f("drop all", func(all [][]byte) [][]byte { return nil }, Report{Missing: 300})
	f("repeat one", func(all [][]byte) [][]byte { return append(all, all[5]) }, Report{Repeated: 1})
	f("replay some", func(all [][]byte) [][]byte { return slices.Insert(all, 100, all[90:100]...) }, Report{Repeated: 10})
	f("swap two", func(all [][]byte) [][]byte {
		all[7], all[8] = all[8], all[7]
		return all
	}, Report{Disordered: 1})
	f("damage one", func(all [][]byte) [][]byte {
		all[7][50] ^= 1
		return all
	}, Report{Corrupt: 1, Missing: 1})
	f("cut one", func(all [][]byte) [][]byte {
		all[7] = all[7][:50]
		return all
	}, Report{Corrupt: 1, Missing: 1})
	f("one too many", func(all [][]byte) [][]byte { return append(all, lines(301)[300]) }, Report{Unexpected: 1})
	f("another run", func(all [][]byte) [][]byte {
		return append(all, numbered.Append(nil, "x", record.Stdout, 1, 0, numbered.ASCII))
	}, Report{Unexpected: 1})
	f("no numbered line", func(all [][]byte) [][]byte { return append(all, []byte("hello")) }, Report{Foreign: 1})
}

func TestContainersAndStreamsAreKeptApart(t *testing.T) {
	l := New()
	for _, container := range []string{"a", "b"} {
		for s := range record.Stream(record.NumStreams) {
			l.Expect(container, "r", s, 1)
			l.ObserveStream(container, s, numbered.Append(nil, "r", s, 1, 0, numbered.ASCII))
		}
	}
	if r := l.Check(); !r.OK() || r.Distinct != 4 {
		t.Error(r)
	}
	l.ObserveStream("a", record.Stderr, numbered.Append(nil, "r", record.Stdout, 1, 0, numbered.ASCII))
	if r := l.Check(); r.OK() || r.Misplaced != 1 {
		t.Error(r)
	}
}

func TestAKilledWriterMayHaveWrittenOneMore(t *testing.T) {
	f := func(arrived int, ok bool) {
		t.Helper()
		l := New()
		l.ExpectCounts("c", "r", []numbered.Count{{Lines: [2]uint64{10, 0}}})
		for n := range arrived {
			l.Observe("c", numbered.Append(nil, "r.1", record.Stdout, uint64(n+1), 0, numbered.ASCII))
		}
		if r := l.Check(); r.OK() != ok {
			t.Errorf("%d of 10 or 11: %v", arrived, r)
		}
	}
	f(9, false)
	f(10, true)
	f(11, true)
	f(12, false)
}

func TestEndLines(t *testing.T) {
	f := func(ok bool, arrived ...[]byte) {
		t.Helper()
		l := New()
		l.ExpectEnd("c", "r", record.Stdout)
		for _, line := range arrived {
			l.Observe("c", line)
		}
		if r := l.Check(); r.OK() != ok {
			t.Errorf("%s: %v", bytes.Join(arrived, []byte(" | ")), r)
		}
	}
	all := lines(3)
	end := numbered.AppendEnd(nil, "r", record.Stdout, 3)
	f(true, all[0], all[1], all[2], end)
	f(false, all[0], all[1], end)
	f(false, all[0], all[1], end, all[2])
	f(false, all[0], all[1], all[2], end, end)
	f(false, all[0], all[1], all[2])
}

func TestReportNamesTheFirstFew(t *testing.T) {
	l := New()
	l.Expect("0123456789abcdef", "r", record.Stdout, 20)
	if s := l.Check().String(); !strings.Contains(s, "0123456789ab r stdout: 20 missing: 1, 2, 3, 4, 5, …") {
		t.Error(s)
	}
}

func BenchmarkObserve(b *testing.B) {
	l := New()
	all := lines(1000)
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		l.Observe("c", all[i%len(all)])
	}
}
