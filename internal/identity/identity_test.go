package identity_test

import (
	"testing"

	"go.uber.org/goleak"

	"log_capturer/internal/identity"
	"log_capturer/internal/record"
	"log_capturer/internal/record/recordtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// ids returns the identities of what r has to read, in batches of n.
func ids(r *recordtest.Reader, n int) []string {
	var all []string
	for b := r.Next(n); b != nil; b = r.Next(n) {
		numbers := identity.Before(b, 0)
		for i := range b.Records {
			rec := &b.Records[i]
			all = append(all, string(identity.Of(b.Source).Append(nil, rec, numbers.Next(rec.Stream), b.Line(rec))))
		}
	}
	return all
}

// However a log is cut into batches, and wherever it is read from again, a
// record has the same identity, and no other record has it.
func TestSameForARecordAndForNoOther(t *testing.T) {
	log := recordtest.NewLog("container/a").Fill(50)
	for range 10 { // lines that nothing but their number tells apart
		log.Write(record.Stdout, 5000, "same")
		log.Write(record.Stderr, 5000, "same")
	}
	whole := ids(log.Read(), 1000)
	seen := map[string]bool{}
	for _, id := range whole {
		if len(id) != identity.Length || seen[id] {
			t.Errorf("identity %q is %d bytes long, or another record's", id, len(id))
		}
		seen[id] = true
	}
	for _, n := range []int{1, 3, 7} {
		r := log.Read()
		var got []string
		for range 4 {
			b := r.Next(n)
			for i := range b.Records {
				// As a sink sees a part that begins within a batch.
				numbers := identity.Before(b, i)
				rec := &b.Records[i]
				got = append(got, string(identity.Of(b.Source).Append(nil, rec, numbers.Next(rec.Stream), b.Line(rec))))
			}
		}
		got = append(got, ids(log.Read(r.Cursor()), n)...)
		if len(got) != len(whole) {
			t.Fatalf("%d records, want %d", len(got), len(whole))
		}
		for i := range got {
			if got[i] != whole[i] {
				t.Errorf("batches of %d: record %d is %s, want %s", n, i, got[i], whole[i])
			}
		}
	}
}

func TestWhatMakesADifference(t *testing.T) {
	of := func(src record.Source, r record.Record, number uint64, line string) string {
		return string(identity.Of(&src).Append(nil, &r, number, []byte(line)))
	}
	web := record.Source{Key: "container/a", Host: "h1"}
	base := of(web, record.Record{Time: 1}, 1, "x")
	differs := func(what, other string) {
		t.Helper()
		if other == base {
			t.Errorf("%s makes no difference", what)
		}
	}
	differs("the source", of(record.Source{Key: "container/b"}, record.Record{Time: 1}, 1, "x"))
	differs("the stream", of(web, record.Record{Time: 1, Stream: record.Stderr}, 1, "x"))
	differs("the number", of(web, record.Record{Time: 1}, 2, "x"))
	differs("the time", of(web, record.Record{Time: 2}, 1, "x"))
	differs("the line", of(web, record.Record{Time: 1}, 1, "y"))
	if of(record.Source{Key: "container/a", Host: "h2"}, record.Record{Time: 1}, 1, "x") != base {
		t.Error("an agent under another host name gives a container's records another identity")
	}
	if of(record.Source{Key: "file/a", Host: "h1"}, record.Record{}, 1, "x") == of(record.Source{Key: "file/a", Host: "h2"}, record.Record{}, 1, "x") {
		t.Error("files of one name on two hosts are one source")
	}
}
