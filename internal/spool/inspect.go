package spool

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"math"
	"os"
	"path/filepath"
	"slices"

	"log_capturer/internal/record"
	"log_capturer/internal/vfs"
)

// SegmentInfo is what Inspect says of a segment.
type SegmentInfo struct {
	Path string `json:"path"`
	// State is "open" while it is written to, "sealed", or "aside" when it was
	// damaged and is kept for people.
	State string `json:"state"`
	// First is the number of the first record, End the one after the last.
	First uint64 `json:"first"`
	End   uint64 `json:"end"`
	Bytes int64  `json:"bytes"`
	// Entries and Records are those that could be read, Damaged the records
	// that could not.
	Entries uint64 `json:"entries"`
	Records uint64 `json:"records"`
	Damaged uint64 `json:"damaged"`
	// Problem says what is wrong, empty for nothing.
	Problem string `json:"problem,omitempty"`
}

// Inspect reads the segments of the spool in dir, oldest first, without changing
// anything: the agent may be running. It checks every checksum, calls visit, if
// it is not nil, with each entry, and returns an error of visit. The batch is
// visit's during the call.
func Inspect(fsys vfs.FS, dir string, visit func(b *record.Batch, start [record.NumStreams]int) error) ([]SegmentInfo, error) {
	found, err := names(fsys, dir)
	if err != nil {
		return nil, err
	}
	s := &Spool{dir: dir, fs: fsys, log: slog.New(slog.DiscardHandler)}
	var infos []SegmentInfo
	for _, p := range found {
		info, err := s.inspect(p, visit)
		if errors.Is(err, os.ErrNotExist) {
			continue // delivered and removed meanwhile
		}
		if err != nil {
			return infos, err
		}
		infos = append(infos, info)
	}
	return infos, nil
}

// names returns what the names of segments say, oldest first.
func names(fsys vfs.FS, dir string) (found []parsed, err error) {
	entries, err := fsys.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("list spool: %w", err)
	}
	for _, e := range entries {
		if p, ok := parseName(e.Name()); ok {
			found = append(found, p)
		}
	}
	slices.SortFunc(found, func(a, b parsed) int { return cmp.Compare(a.first, b.first) })
	return found, nil
}

// states are what the suffixes of names mean.
var states = map[string]string{openSuffix: "open", sealedSuffix: "sealed", asideSuffix: "aside"}

// List returns what Inspect does, by the names and sizes of the files alone. What
// an open segment holds, it does not know.
func List(fsys vfs.FS, dir string) (infos []SegmentInfo, err error) {
	found, err := names(fsys, dir)
	if err != nil {
		return nil, err
	}
	for _, p := range found {
		path := filepath.Join(dir, p.name())
		stat, err := fsys.Stat(path)
		if errors.Is(err, fs.ErrNotExist) {
			continue // delivered and removed meanwhile
		}
		if err != nil {
			return nil, fmt.Errorf("list spool: %w", err)
		}
		info := SegmentInfo{Path: path, State: states[p.suffix], First: p.first, End: max(p.end, p.first), Bytes: stat.Size(), Damaged: p.lost}
		info.Records = info.End - info.First - p.lost
		infos = append(infos, info)
	}
	return infos, nil
}

// Held returns how many records the segments in dir hold by their names, without
// reading them. A segment that was written to counts as
// one, which is the least that it holds.
func Held(fsys vfs.FS, dir string) (held uint64, err error) {
	found, err := names(fsys, dir)
	for _, p := range found {
		switch p.suffix {
		case sealedSuffix:
			held += p.end - p.first
		case openSuffix:
			held++
		}
	}
	return held, err
}

// Sources returns how many records the spool in dir has of each source, by its key.
// What was delivered is counted until its segment is removed; what was set aside is
// not. Nothing is changed.
func Sources(fsys vfs.FS, dir string) (map[string]uint64, error) {
	found, err := names(fsys, dir)
	if err != nil {
		return nil, err
	}
	s := &Spool{dir: dir, fs: fsys, log: slog.New(slog.DiscardHandler)}
	records := map[string]uint64{}
	for _, p := range found {
		if p.suffix == asideSuffix {
			continue
		}
		_, err := s.inspect(p, func(b *record.Batch, start [record.NumStreams]int) error {
			for i := range b.Records {
				if i >= start[b.Records[i].Stream] {
					records[b.Source.Key]++
				}
			}
			return nil
		})
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			return nil, err
		}
	}
	return records, nil
}

func (s *Spool) inspect(p parsed, visit func(*record.Batch, [record.NumStreams]int) error) (SegmentInfo, error) {
	info := SegmentInfo{Path: filepath.Join(s.dir, p.name()), First: p.first, End: p.end}
	file, err := s.fs.OpenFile(info.Path, os.O_RDONLY, 0)
	if err != nil {
		return info, fmt.Errorf("open spool segment: %w", err)
	}
	seg := &segment{first: p.first, path: info.Path, file: file, readOff: headerSize, readNum: p.first, readable: p.end}
	defer s.closeFile(seg)
	stat, err := file.Stat()
	if err != nil {
		return info, fmt.Errorf("look at spool segment: %w", err)
	}
	info.Bytes, seg.published = stat.Size(), stat.Size()
	head := make([]byte, headerSize)
	n, _ := file.ReadAt(head, 0) // what is missing is told by the check
	if err := checkHeader(head[:n], p.first); err != nil {
		info.Problem = err.Error()
		if errors.Is(err, errVersion) {
			return info, nil
		}
	}
	info.State = states[p.suffix]
	if p.suffix == openSuffix {
		seg.readable = math.MaxUint64
	}
	for seg.readNum < seg.readable {
		f, err := s.read(seg)
		if err == nil {
			b, start, decodeErr := s.decoder.decode(s.buffer[frameSize:f.size()])
			err = decodeErr
			if err == nil && visit != nil {
				if err := visit(b, start); err != nil {
					b.Release()
					return info, err
				}
			}
			if err == nil {
				b.Release()
				info.Entries++
				info.Records += uint64(f.records)
				s.move(seg, seg.readOff+f.size(), f.first+uint64(f.records))
				continue
			}
		}
		off, number := s.resync(seg)
		if p.suffix == openSuffix && number == seg.readable {
			break // the end of what was written, so far
		}
		info.Damaged += number - seg.readNum
		if info.Problem == "" {
			info.Problem = fmt.Sprintf("byte %d: %v", seg.readOff, err)
		}
		s.move(seg, off, number)
	}
	if p.suffix == openSuffix {
		info.End = seg.readNum
	}
	return info, nil
}
