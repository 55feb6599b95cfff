package spool

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"slices"
	"testing"

	"go.uber.org/goleak"

	"log_capturer/internal/record"
	"log_capturer/internal/record/recordtest"
	"log_capturer/internal/vfs/vfstest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const dir = "/data/spool/sink"

func open(t testing.TB, disk *vfstest.Disk, opts Options) *Spool {
	t.Helper()
	opts.FS = disk
	if opts.MaxBytes == 0 {
		opts.MaxBytes = 1 << 30
	}
	s, err := Open(dir, opts)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// batches returns the batches of a log, each of n records, and their lines.
func batches(log *recordtest.Log, n int) (all []*record.Batch) {
	for r := log.Read(); ; {
		b := r.Next(n)
		if b == nil {
			return all
		}
		all = append(all, b)
	}
}

// put brings batches into the spool.
func put(t testing.TB, s *Spool, all ...*record.Batch) (entries []*Entry) {
	t.Helper()
	for _, b := range all {
		e, err := s.Append(b, [record.NumStreams]int{}, len(b.Records))
		if err != nil {
			t.Fatal(err)
		}
		entries = append(entries, e)
	}
	if err := s.Sync(); err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		s.Publish(e, false)
	}
	return entries
}

// take reads what is there to its end, and calls the entries done.
func take(t testing.TB, s *Spool) (lines []string, lost uint64) {
	t.Helper()
	for {
		e, b, start, err := s.Next()
		if damage, ok := err.(*Damage); ok {
			lost += damage.Lost
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		if e == nil {
			return lines, lost
		}
		lines = append(lines, wanted(b, start)...)
		b.Release()
		s.Done(e)
	}
}

func wanted(b *record.Batch, start [record.NumStreams]int) (lines []string) {
	for i := range b.Records {
		if r := &b.Records[i]; i >= start[r.Stream] {
			lines = append(lines, string(b.Line(r)))
		}
	}
	return lines
}

func allLines(all []*record.Batch) (lines []string) {
	for _, b := range all {
		lines = append(lines, wanted(b, [record.NumStreams]int{})...)
	}
	return lines
}

func wantLines(t testing.TB, got, want []string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("got %d lines %.200q\nwant %d lines %.200q", len(got), got, len(want), want)
	}
}

func files(disk *vfstest.Disk) string { return fmt.Sprint(disk.Files(dir)) }

// appendChecked ends a header with its checksum.
func appendChecked(b []byte) []byte {
	return binary.LittleEndian.AppendUint32(b, crc32.Checksum(b, castagnoli))
}

// noSync stands for a journal that is always durable.
func noSync() error { return nil }
