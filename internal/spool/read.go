package spool

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"

	"log_capturer/internal/record"
)

// Damage says that records of the spool cannot be read. They are lost, and
// counted here; what else their segment holds is read on.
type Damage struct {
	// Segment is the file, Offset where in it the damage begins.
	Segment string
	Offset  int64
	// Lost is the number of records.
	Lost uint64
	// Reason says what is wrong.
	Reason string
}

func (d *Damage) Error() string {
	return fmt.Sprintf("spool segment %q is damaged at byte %d, %d records are lost: %s", d.Segment, d.Offset, d.Lost, d.Reason)
}

// maxReadFailures is how often a place that the disk does not give is asked for
// before it counts as damaged.
const maxReadFailures = 8

// Next returns the next entry and its batch, which the caller holds, and nil
// when there is none. The entry waits for Done.
//
// A *Damage tells of records that are gone; the next call goes on behind them.
// Any other error is one of reading, and the call may be repeated.
func (s *Spool) Next() (*Entry, *record.Batch, [record.NumStreams]int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	seg := s.toRead()
	if seg == nil {
		return nil, nil, [record.NumStreams]int{}, nil
	}
	f, err := s.read(seg)
	if err != nil {
		seg.failures++
		if seg.failures < maxReadFailures && !errors.Is(err, errDamaged) {
			return nil, nil, [record.NumStreams]int{}, fmt.Errorf("read spool segment %q: %w", seg.path, err)
		}
		return nil, nil, [record.NumStreams]int{}, s.damage(seg, err.Error())
	}
	b, start, err := s.decoder.decode(s.buffer[frameSize:f.size()])
	if err != nil {
		// Whole, and yet not what an entry is. It is kept with its segment.
		return nil, nil, start, s.damage(seg, err.Error())
	}
	e := &Entry{
		first: f.first, records: uint64(f.records), off: seg.readOff, end: seg.readOff + f.size(), segment: seg,
	}
	s.move(seg, e.end, e.End())
	seg.unread -= e.records
	s.unread -= e.records
	seg.pinned++
	return e, b, start, nil
}

// toRead returns the segment that the next unread entry is in, nil for none. It
// passes over what is in memory already.
func (s *Spool) toRead() *segment {
	for _, seg := range s.segments {
		for seg.readNum < seg.readable {
			e := seg.inMemory[seg.readNum]
			if e == nil {
				return seg
			}
			delete(seg.inMemory, e.first)
			s.move(seg, e.end, e.End())
		}
		if !seg.open {
			s.closeFile(seg) // read to its end
		}
	}
	return nil
}

// move sets where the reading stands.
func (s *Spool) move(seg *segment, off int64, number uint64) {
	seg.readOff, seg.readNum, seg.failures = off, number, 0
}

// errDamaged says that what was read is no entry.
var errDamaged = errors.New("checksum or length is wrong")

// read reads the frame at the place of reading into s.buffer, and checks it.
func (s *Spool) read(seg *segment) (frame, error) {
	if seg.file == nil {
		file, err := s.fs.OpenFile(seg.path, os.O_RDONLY, 0)
		if err != nil {
			return frame{}, err
		}
		seg.file = file
	}
	f, err := s.frameAt(seg, seg.readOff)
	if err == nil && f.first != seg.readNum {
		err = errDamaged
	}
	return f, err
}

// frameAt reads the frame at off into s.buffer and checks it.
func (s *Spool) frameAt(seg *segment, off int64) (frame, error) {
	var head [frameSize]byte
	if off+frameSize > seg.published {
		return frame{}, errDamaged
	}
	if err := readFull(seg.file, head[:], off); err != nil {
		return frame{}, err
	}
	f := decodeFrame(head[:])
	if !seg.plausible(f, off) {
		return frame{}, errDamaged
	}
	s.buffer = keep(s.buffer)
	if int64(cap(s.buffer)) < f.size() {
		s.buffer = make([]byte, f.size())
	}
	s.buffer = s.buffer[:f.size()]
	if err := readFull(seg.file, s.buffer, off); err != nil {
		return frame{}, err
	}
	if decodeFrame(s.buffer) != f || frameCRC(s.buffer) != f.crc {
		return frame{}, errDamaged
	}
	return f, nil
}

// plausible reports whether a frame at off may be one of the segment's.
func (seg *segment) plausible(f frame, off int64) bool {
	return f.records > 0 && f.length <= maxPayload && off+f.size() <= seg.published &&
		f.first >= seg.readNum && f.first < seg.readable && f.first+uint64(f.records) <= seg.readable
}

// readFull reads len(b) bytes. A file that ends before is damaged.
func readFull(file io.ReaderAt, b []byte, off int64) error {
	n, err := file.ReadAt(b, off)
	if n == len(b) {
		return nil
	}
	if err == nil || errors.Is(err, io.EOF) {
		return errDamaged
	}
	return err
}

// damage moves the reading behind what cannot be read, and says what was lost.
func (s *Spool) damage(seg *segment, reason string) *Damage {
	d := &Damage{Segment: seg.path, Offset: seg.readOff, Reason: reason}
	off, number := s.resync(seg)
	for n := seg.readNum; n < number; {
		// What is in memory is not lost, whatever became of it here.
		if e := seg.inMemory[n]; e != nil {
			delete(seg.inMemory, n)
			n = e.End()
			continue
		}
		n++
		d.Lost++
	}
	s.move(seg, off, number)
	seg.unread -= d.Lost
	s.unread -= d.Lost
	seg.lost += d.Lost
	if seg.damaged == "" {
		seg.damaged = reason
	}
	s.log.Error("spool_damaged", "segment", seg.path, "offset", d.Offset, "lost", d.Lost, "reason", reason)
	return d
}

// resync returns where the next whole entry behind the place of reading begins,
// and its number; the end of what is readable when there is none.
func (s *Spool) resync(seg *segment) (int64, uint64) {
	end, number := seg.published, seg.readable
	if seg.file == nil {
		return end, number // it cannot even be opened
	}
	window := make([]byte, 64<<10)
	for off := seg.readOff + 1; off+frameSize <= end; {
		n := int(min(int64(len(window)), end-off))
		readAround(seg.file, window[:n], off)
		for i := 0; i+frameSize <= n; i++ {
			at := off + int64(i)
			f := decodeFrame(window[i:])
			if !seg.plausible(f, at) || f.first == seg.readNum {
				continue
			}
			if _, err := s.frameAt(seg, at); err == nil {
				return at, f.first
			}
		}
		off += int64(n - frameSize + 1)
	}
	return end, number
}

// readAround reads what can be read, with zeros for the sectors that cannot.
func readAround(file io.ReaderAt, b []byte, off int64) {
	if readFull(file, b, off) == nil {
		return
	}
	const sector = 512
	for len(b) > 0 {
		n := int(min(sector-off%sector, int64(len(b))))
		if readFull(file, b[:n], off) != nil {
			clear(b[:n])
		}
		b, off = b[n:], off+int64(n)
	}
}

// Reclaimable reports whether Reclaim has something to do.
func (s *Spool) Reclaimable() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.toRead()
	for _, seg := range s.segments {
		if s.finished(seg) {
			return true
		}
	}
	return false
}

// finished reports whether nothing of a segment is needed any more.
func (s *Spool) finished(seg *segment) bool {
	if seg.pinned > 0 || seg.readNum < seg.end || seg.readable < seg.end {
		return false
	}
	// One that is written to goes when all is delivered, so that an empty spool
	// takes no room.
	return !seg.open || len(s.unsynced) == 0 && s.committed >= s.next
}

// Reclaim removes the segments whose entries are all done, and sets aside those
// that were damaged. Before that it calls sync, which makes durable what the
// caller's journal knows of the entries: a delivery that a loss of power takes
// back could not be repeated. It returns whether the spool is empty now.
func (s *Spool) Reclaim(sync func() error) (empty bool, err error) {
	s.mu.Lock()
	var done []*segment
	for _, seg := range s.segments {
		if s.finished(seg) {
			done = append(done, seg)
		}
	}
	s.mu.Unlock()
	// What is finished from now on is left to the next call.
	if err := sync(); err != nil {
		return false, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	var errs []error
	for _, seg := range done {
		// One that is written to may have been filled further.
		if slices.Contains(s.segments, seg) && s.finished(seg) {
			errs = append(errs, s.discard(seg))
		}
	}
	return len(s.segments) == 0, errors.Join(errs...)
}

// discard removes a segment, or sets it aside. Its file is closed first: the
// room of a file that is open is not given back.
func (s *Spool) discard(seg *segment) error {
	s.closeFile(seg)
	seg.open = false // whatever its name, nothing more is written to it
	if seg.damaged != "" {
		return s.setAside(seg)
	}
	if err := s.fs.Remove(seg.path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("remove spool segment: %w", err)
	}
	s.forget(seg)
	if err := s.fs.SyncDir(s.dir); err != nil {
		// After a loss of power it may come again; the delivery knows that it
		// had it.
		s.log.Warn("spool_directory_not_synced", "dir", s.dir, "error", err)
	}
	return nil
}

// forget takes a segment off the list.
func (s *Spool) forget(seg *segment) {
	s.closeFile(seg)
	for i := range s.segments {
		if s.segments[i] == seg {
			s.segments = append(s.segments[:i], s.segments[i+1:]...)
			break
		}
	}
	s.bytes -= seg.size
	if len(s.segments) == 0 {
		s.giveReserve()
	}
}

// setAside renames a damaged segment.
func (s *Spool) setAside(seg *segment) error {
	aside := Aside{
		Path: filepath.Join(s.dir, asideName(seg.first, seg.end, seg.lost)), Reason: seg.damaged,
		Held: seg.end - seg.first, Lost: seg.lost,
	}
	if err := s.fs.Rename(seg.path, aside.Path); err != nil {
		return fmt.Errorf("set a damaged spool segment aside: %w", err)
	}
	s.forget(seg)
	s.recovery.Aside = append(s.recovery.Aside, aside)
	s.log.Error("spool_segment_set_aside", "path", aside.Path, "held", aside.Held, "lost", aside.Lost, "reason", aside.Reason)
	return nil
}

// Drop gives up the oldest segment of which nothing is in memory, and returns
// how many unread records it held; none when there is no such segment. Before
// that it calls sync, as Reclaim does: some of the segment may be delivered.
func (s *Spool) Drop(sync func() error) (records uint64, err error) {
	s.mu.Lock()
	seg := s.victim()
	var stood uint64
	if seg != nil {
		stood = seg.readNum
	}
	s.mu.Unlock()
	if seg == nil {
		return 0, nil
	}
	if err := sync(); err != nil {
		return 0, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.victim() != seg || seg.readNum != stood {
		return 0, nil // it is being delivered meanwhile
	}
	if err := s.discard(seg); err != nil {
		return 0, err
	}
	s.unread -= seg.unread
	return seg.unread, nil
}

// victim returns the segment that Drop would give up.
func (s *Spool) victim() *segment {
	s.toRead()
	for _, seg := range s.segments {
		if !seg.open && seg.pinned == 0 && seg.unread > 0 && seg.readable >= seg.end {
			return seg
		}
	}
	return nil
}
