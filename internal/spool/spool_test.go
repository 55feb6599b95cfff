package spool

import (
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"log_capturer/internal/record"
	"log_capturer/internal/record/recordtest"
	"log_capturer/internal/vfs/vfstest"
)

// What goes in comes out, in order, over several segments, and takes no room
// afterwards.
func TestInAndOut(t *testing.T) {
	disk := vfstest.NewDisk()
	s := open(t, disk, Options{SegmentBytes: 500})
	all := batches(recordtest.NewLog("container/a").Fill(500), 7)
	for _, b := range all {
		put(t, s, b)
	}
	if n := s.Stats().Segments; n < 10 {
		t.Errorf("%d segments, want many", n)
	}
	if s.Stats().Bytes != disk.Used() {
		t.Errorf("counts %d bytes, the disk holds %d", s.Stats().Bytes, disk.Used())
	}
	lines, lost := take(t, s)
	wantLines(t, lines, allLines(all))
	empty, err := s.Reclaim(noSync)
	if !empty || err != nil || lost != 0 {
		t.Errorf("empty %v, %v, lost %d", empty, err, lost)
	}
	if st := s.Stats(); disk.Used() != 0 || st.Bytes != 0 || st.Unread != 0 || disk.OpenFiles() != 0 {
		t.Errorf("the disk holds %d bytes in %s, %d files are open; %+v", disk.Used(), files(disk), disk.OpenFiles(), st)
	}
	put(t, s, all[0]) // and it goes on
	lines, _ = take(t, s)
	wantLines(t, lines, allLines(all[:1]))
	if err := s.Close(); err != nil || disk.OpenFiles() != 0 {
		t.Errorf("Close = %v with %d files open", err, disk.OpenFiles())
	}
}

// A batch comes back as it was, whatever is in it.
func TestBatchComesBackWhole(t *testing.T) {
	s := open(t, vfstest.NewDisk(), Options{})
	src := &record.Source{
		Key: "container/x", Host: "h", ContainerID: "x", ContainerName: "n", Image: "i",
		FilePath: "/f", Namespace: "ns", Pod: "pod", PodUID: "uid", ComposeProject: "p", ComposeService: "s", Labels: map[string]string{"a": "b", "": "\x00", "long": strings.Repeat("l", 300)},
	}
	for i, fields := 0, reflect.ValueOf(*src); i < fields.NumField(); i++ {
		if fields.Field(i).IsZero() {
			t.Errorf("the field %s of a source is not tested", fields.Type().Field(i).Name)
		}
	}
	var in []*record.Batch
	for i := range 3 {
		b := record.NewBatch(src, 10)
		b.Append(record.Record{Time: -5, Ordinal: 7, Stream: record.Stderr, Flags: record.Cut | record.Unterminated}, nil)
		b.Append(record.Record{Time: 1 << 62, Ordinal: 1}, []byte("\xff\x00\n"))
		b.Append(record.Record{Time: 3, Ordinal: 1 << 31, Flags: record.Continued}, []byte(strings.Repeat("line", i*100000)))
		b.From.Streams[0] = record.Anchor{Seq: 1, AsOf: 2, Last: true, Time: 3, Count: 4, Hash: 5}
		b.To.Streams[1] = record.Anchor{Seq: 9, AsOf: 1 << 40, Time: -1, Hash: 1 << 63}
		in = append(in, b)
	}
	derived := record.NewBatch(src, 10)
	for i := range 3 {
		derived.AppendDerived(record.Record{Time: int64(i), Ordinal: 1}, []byte("line"), record.Derivation{
			Origin: record.Anchor{Seq: uint64(i) << 40, AsOf: 3, Last: i == 1, Time: -7, Count: 1 << 31, Hash: 1 << 63}, Level: "warn",
			Attributes: []record.Attribute{{Name: "n", Value: "1.50", JSON: true}, {Name: "", Value: "text"}}[:i],
			Labels:     []record.Attribute{{Name: "a", Value: strings.Repeat("b", 1000)}},
		})
	}
	in = append(in, derived)
	start := [record.NumStreams]int{2, 1}
	var source *record.Source
	for _, b := range in {
		e, err := s.Append(b, start, 1)
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Sync(); err != nil {
			t.Fatal(err)
		}
		s.Publish(e, false)
		_, got, gotStart, err := s.Next()
		if err != nil || gotStart != start || got == nil {
			t.Fatalf("start %v, %v", gotStart, err)
		}
		if !reflect.DeepEqual(got.Records, b.Records) || got.From != b.From || got.To != b.To ||
			got.Streams != b.Streams || !reflect.DeepEqual(got.Source, src) {
			t.Errorf("got %+v\nwant %+v", got, b)
		}
		for i := range b.Records {
			if string(got.Line(&got.Records[i])) != string(b.Line(&b.Records[i])) {
				t.Errorf("line %d differs", i)
			}
			got, want := got.Derivation(&got.Records[i]), b.Derivation(&b.Records[i])
			if fmt.Sprintf("%+v", got) != fmt.Sprintf("%+v", want) {
				t.Errorf("record %d: derivation %+v, want %+v", i, got, want)
			}
		}
		if source != nil && source != got.Source {
			t.Error("entries of one source do not share it")
		}
		source = got.Source
	}
}

// At its cap a spool takes nothing more, until a segment was given up or is done.
func TestFull(t *testing.T) {
	disk := vfstest.NewDisk()
	s := open(t, disk, Options{MaxBytes: 4000, SegmentBytes: 1000})
	all := batches(recordtest.NewLog("container/a").Fill(2000), 10)
	in := 0
	fill := func() {
		t.Helper()
		for ; ; in++ {
			e, err := s.Append(all[in], [record.NumStreams]int{}, 10)
			if errors.Is(err, ErrFull) {
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if err := s.Sync(); err != nil {
				t.Fatal(err)
			}
			s.Publish(e, false)
			if disk.Used() > 4000 {
				t.Fatalf("takes %d bytes", disk.Used())
			}
		}
	}
	fill()
	before := in
	dropped, err := s.Drop(noSync)
	if err != nil || dropped == 0 || dropped%10 != 0 {
		t.Fatalf("Drop = %d, %v", dropped, err)
	}
	fill()
	if in == before {
		t.Error("nothing fits after a segment was given up")
	}
	// What is in memory is not given up.
	e, b, _, err := s.Next()
	if err != nil {
		t.Fatal(err)
	}
	if want := allLines(all[dropped/10:])[0]; wanted(b, [record.NumStreams]int{})[0] != want {
		t.Errorf("the first is %q, want %q", wanted(b, [record.NumStreams]int{})[0], want)
	}
	held := e.segment
	for {
		n, err := s.Drop(noSync)
		if err != nil {
			t.Fatal(err)
		}
		if n == 0 {
			break
		}
		dropped += n
	}
	if s.segments[0] != held {
		t.Error("a segment of which an entry is in memory was given up")
	}
	b.Release()
	s.Done(e)
	rest, _ := take(t, s)
	if got := 10 + int(dropped) + len(rest); got != in*10 {
		t.Errorf("%d records came or were counted, %d went in", got, in*10)
	}
}

// An entry larger than the cap passes through an empty spool.
func TestOversized(t *testing.T) {
	s := open(t, vfstest.NewDisk(), Options{MaxBytes: 100})
	all := batches(recordtest.NewLog("container/a").Fill(100), 50)
	put(t, s, all[0])
	if _, err := s.Append(all[1], [record.NumStreams]int{}, 50); !errors.Is(err, ErrFull) {
		t.Errorf("a second one: %v", err)
	}
	lines, _ := take(t, s)
	wantLines(t, lines, allLines(all[:1]))
}

// What the caller had not heard of when the process was killed is told of, and
// delivered.
func TestUncommitted(t *testing.T) {
	disk := vfstest.NewDisk()
	s := open(t, disk, Options{})
	all := batches(recordtest.NewLog("container/a").Fill(40), 10)
	put(t, s, all[:2]...)
	for _, b := range all[2:] {
		if _, err := s.Append(b, [record.NumStreams]int{}, 10); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Sync(); err != nil {
		t.Fatal(err)
	}
	disk.Kill()
	s = open(t, disk, Options{Committed: 20})
	var told []string
	err := s.Uncommitted(20, func(b *record.Batch) { told = append(told, allLines([]*record.Batch{b})...) })
	if err != nil {
		t.Fatal(err)
	}
	wantLines(t, told, allLines(all[2:]))
	lines, _ := take(t, s)
	wantLines(t, lines, allLines(all))
}

// A flipped bit costs its entry, and the segment is kept, with the counts in its
// name. So do several; and so does the loss of a file's end or its header.
func TestDamage(t *testing.T) {
	const entries, size = 20, 10
	f := func(name string, lost uint64, spoil func(data []byte, at []int64) []byte) {
		t.Helper()
		for _, sealed := range []bool{false, true} {
			disk := vfstest.NewDisk()
			opts := Options{SegmentBytes: 1 << 20}
			s := open(t, disk, opts)
			all := batches(recordtest.NewLog("container/a").Fill(entries*size), size)
			var at []int64
			for _, e := range put(t, s, all...) {
				at = append(at, e.off)
			}
			opts.Committed = entries * size
			if sealed {
				disk.Kill()
				s = open(t, disk, opts)
			}
			path := s.segments[0].path
			disk.Kill()
			data, _ := disk.ReadFile(path)
			disk.WriteFile(path, spoil(data, at))
			s = open(t, disk, opts)
			if n := s.Recovery().Records; n != entries*size {
				t.Errorf("%s: %d records are said to be there, want %d", name, n, entries*size)
			}
			lines, n := take(t, s)
			if n != lost || len(lines)+int(n) != entries*size {
				t.Errorf("%s: %d lines, %d counted as lost, want %d lost of %d", name, len(lines), n, lost, entries*size)
			}
			if s.Unread() != 0 {
				t.Errorf("%s: %d still to be read", name, s.Unread())
			}
			if _, err := s.Reclaim(noSync); err != nil {
				t.Fatal(err)
			}
			aside := s.Stats().Aside
			if len(aside) != 1 || aside[0].Held != entries*size || aside[0].Lost != lost || aside[0].Reason == "" {
				t.Fatalf("%s: set aside %+v", name, aside)
			}
			if kept, ok := disk.ReadFile(aside[0].Path); !ok || len(kept) == 0 {
				t.Errorf("%s: nothing is kept at %s", name, aside[0].Path)
			}
			if s.Stats().Bytes != 0 {
				t.Errorf("%s: counts %d bytes", name, s.Stats().Bytes)
			}
			disk.Kill()
			again := open(t, disk, opts).Stats().Aside
			if len(again) != 1 || again[0].Held != aside[0].Held || again[0].Lost != aside[0].Lost {
				t.Errorf("%s: after a restart %+v", name, again)
			}
		}
	}
	flip := func(at ...int) func([]byte, []int64) []byte {
		return func(data []byte, offsets []int64) []byte {
			for _, i := range at {
				data[offsets[i]+frameSize+3] ^= 4
			}
			return data
		}
	}
	f("one", size, flip(7))
	f("the first", size, flip(0))
	f("the last", size, flip(entries-1))
	f("several, with good ones between", 4*size, flip(2, 3, 9, 19))
	f("a length", size, func(data []byte, at []int64) []byte { data[at[5]+2] ^= 0x80; return data })
	f("a number", size, func(data []byte, at []int64) []byte { data[at[5]+8] ^= 1; return data })
	f("the header", 0, func(data []byte, _ []int64) []byte { data[3] ^= 1; return data })
	f("the header and the first", size, func(data []byte, at []int64) []byte {
		clear(data[:at[0]+frameSize+2])
		return data
	})
	f("the end", 3*size, func(data []byte, at []int64) []byte { return data[:at[17]+5] })
	f("everything", entries*size, func([]byte, []int64) []byte { return []byte("no segment") })
	f("zeros in the middle", 6*size, func(data []byte, at []int64) []byte {
		clear(data[at[4]+5 : at[9]+5])
		return data
	})
}

// A segment of a later version stops the start, with nothing touched.
func TestVersion(t *testing.T) {
	disk := vfstest.NewDisk()
	s := open(t, disk, Options{})
	put(t, s, batches(recordtest.NewLog("container/a").Fill(1), 1)...)
	path := s.segments[0].path
	disk.Kill()
	data, _ := disk.ReadFile(path)
	later := appendHeader(nil, 0)
	later[8]++
	later = appendChecked(later[:headerSize-4])
	disk.WriteFile(path, append(later, data[headerSize:]...))
	if _, err := Open(dir, Options{FS: disk, MaxBytes: 1000}); !errors.Is(err, errVersion) {
		t.Errorf("Open = %v", err)
	}
	if disk.OpenFiles() != 0 {
		t.Errorf("%d files open", disk.OpenFiles())
	}
}

func FuzzDecode(f *testing.F) {
	var c codec
	for _, b := range batches(recordtest.NewLog("container/a").Fill(30), 10) {
		f.Add(append([]byte(nil), c.encode(b, [record.NumStreams]int{1, 2})...))
	}
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, payload []byte) {
		if len(payload) > 1<<16 {
			return
		}
		var c codec
		b, start, err := c.decode(payload)
		if err != nil {
			return
		}
		// What decodes encodes to something that decodes to the same.
		again, startAgain, err := c.decode(append([]byte(nil), c.encode(b, start)...))
		if err != nil || start != startAgain || !reflect.DeepEqual(again.Records, b.Records) {
			t.Fatalf("%v: %+v, then %+v", err, b, again)
		}
	})
}

// Inspect sees everything that is there, changes nothing, and tells what is
// damaged.
func TestInspect(t *testing.T) {
	disk := vfstest.NewDisk()
	if infos, err := Inspect(disk, dir, nil); err != nil || len(infos) != 0 {
		t.Errorf("without a spool: %v, %v", infos, err)
	}
	s := open(t, disk, Options{SegmentBytes: 1200})
	all := batches(recordtest.NewLog("container/a").Fill(210), 10)
	for _, b := range all {
		put(t, s, b)
	}
	sealed := s.segments[1]
	data, _ := disk.ReadFile(sealed.path)
	data[headerSize+frameSize+1] ^= 1
	disk.WriteFile(sealed.path, data)
	before := files(disk)
	var lines []string
	infos, err := Inspect(disk, dir, func(b *record.Batch, start [record.NumStreams]int) error {
		lines = append(lines, wanted(b, start)...)
		return nil
	})
	if err != nil || len(infos) != len(s.segments) || files(disk) != before {
		t.Fatalf("%v, %+v, %s", err, infos, files(disk))
	}
	var damaged, records uint64
	for i, info := range infos {
		records += info.Records
		damaged += info.Damaged
		wantState := "sealed"
		if i == len(infos)-1 {
			wantState = "open"
		}
		if info.State != wantState || info.First != s.segments[i].first || info.End != s.segments[i].end ||
			(info.Problem != "") != (i == 1) {
			t.Errorf("segment %d: %+v", i, info)
		}
	}
	want := append(allLines(all[:sealed.first/10]), allLines(all[sealed.first/10+1:])...)
	wantLines(t, lines, want)
	if damaged != 10 || records != 200 || disk.OpenFiles() != 1 {
		t.Errorf("%d records, %d damaged, %d files open", records, damaged, disk.OpenFiles())
	}
	failed := errors.New("enough")
	if _, err := Inspect(disk, dir, func(*record.Batch, [record.NumStreams]int) error { return failed }); !errors.Is(err, failed) {
		t.Errorf("error %v", err)
	}
}
