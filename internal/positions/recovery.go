package positions

import (
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"log_capturer/internal/vfs"
)

// Recovery is what Open found.
type Recovery struct {
	// Records is the number of records that were read and applied.
	Records int
	// TornBytes is the length of an incomplete write that was cut off the end.
	TornBytes int64
	// UncoveredRecords is the number of whole records that were dropped because
	// the machine was restarted before what they stand for was known to be
	// durable.
	UncoveredRecords int
	// SetAside are the files that were damaged.
	SetAside []SetAside
}

// SetAside is a damaged journal file that was kept under another name. All
// records that could be read, before and after the damage, were taken over.
type SetAside struct {
	// Path is where the file is now.
	Path string
	// Reason says what is wrong with it.
	Reason string
	// DamagedBytes is the number of bytes that could not be read.
	DamagedBytes int64
}

const (
	filePrefix = "positions-"
	fileSuffix = ".journal"
	tempSuffix = ".tmp"
)

// fileName returns the name of a generation's file. Names sort as generations.
func fileName(generation uint64) string {
	return fmt.Sprintf("%s%020d%s", filePrefix, generation, fileSuffix)
}

// parseName returns the generation of a file name, false if it is not one.
func parseName(name string) (uint64, bool) {
	digits := strings.TrimSuffix(strings.TrimPrefix(name, filePrefix), fileSuffix)
	generation, err := strconv.ParseUint(digits, 10, 64)
	return generation, err == nil && name == fileName(generation)
}

// finding is what a first look at a file has shown.
type finding struct {
	path       string
	generation uint64 // by its name
	file       vfs.File
	size       int64

	base         int64  // end of the snapshot
	boot         uint64 // the boot in which the last records were written
	covered      int64  // as in mark
	synced       int64  // as in mark
	lastChanges  int64  // offset of the last record of changes
	damageAt     int64  // offset of the first byte that is no record, or -1
	damagedBytes int64
	recordsAfter bool  // there are whole records after the damage
	headerErr    error // what is wrong with the header
}

// inspect reads a file through. The error is one of reading, or errVersion.
func (j *Journal) inspect(generation uint64) (*finding, error) {
	path := j.path(fileName(generation))
	file, err := j.fs.OpenFile(path, os.O_RDWR|os.O_APPEND, 0)
	if err != nil {
		return nil, fmt.Errorf("open journal: %w", err)
	}
	f := &finding{path: path, generation: generation, file: file, lastChanges: -1, damageAt: -1}
	if err := f.read(); err != nil {
		return nil, errors.Join(fmt.Errorf("read journal %q: %w", path, err), file.Close())
	}
	return f, nil
}

func (f *finding) read() error {
	info, err := f.file.Stat()
	if err != nil {
		return err
	}
	f.size = info.Size()
	head := make([]byte, min(headerSize, f.size))
	if _, err := f.file.ReadAt(head, 0); err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	h, err := decodeHeader(head)
	if errors.Is(err, errVersion) {
		return err
	}
	if err != nil {
		f.headerErr, f.damageAt = err, 0
	}
	f.base, f.covered, f.synced, f.boot = h.base, h.base, h.base, h.boot

	s := newScanner(f.file, f.size, f.start())
	for {
		r, err := s.next()
		if r.skipped > 0 {
			f.damagedBytes += r.skipped
			if f.damageAt < 0 {
				f.damageAt = r.off - r.skipped
			}
		}
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
		f.recordsAfter = f.recordsAfter || f.damageAt >= 0
		if m, ok := decodeMark(r.payload, r.off); ok && r.payload[0] == kindMark {
			f.boot = m.boot
			f.covered, f.synced = max(f.covered, m.covered), max(f.synced, m.synced)
		} else {
			f.lastChanges = r.off
		}
	}
	if f.size < f.base && f.damageAt < 0 {
		f.damageAt = f.size
	}
	return nil
}

// start returns where the first record should be.
func (f *finding) start() int64 {
	if f.headerErr != nil {
		return 0
	}
	return headerSize
}

// rebooted reports whether the machine was restarted since the last record. The
// boot is 0 where it is not known.
func (f *finding) rebooted(boot uint64) bool {
	return f.boot != 0 && boot != 0 && f.boot != boot
}

// corrupt returns why the file has to be set aside, "" if it need not be: then
// it is whole, but for what a crash may do to the end of it.
func (f *finding) corrupt(boot uint64) string {
	switch {
	case f.headerErr != nil:
		return f.headerErr.Error()
	case f.damageAt < 0:
		return ""
	case f.damageAt < f.base:
		return fmt.Sprintf("the snapshot is damaged at byte %d", f.damageAt)
	case f.recordsAfter && (!f.rebooted(boot) || f.damageAt < f.synced):
		return fmt.Sprintf("records are damaged from byte %d on, with whole ones after them", f.damageAt)
	}
	return ""
}

// limit returns the offset from which on records do not count.
func (f *finding) limit(boot uint64) int64 {
	limit := int64(math.MaxInt64)
	if !f.rebooted(boot) {
		return limit
	}
	if f.covered > 0 { // else the header is gone, and no mark was found
		limit = f.covered
	}
	if f.damageAt >= 0 && f.corrupt(boot) == "" {
		limit = min(limit, f.damageAt)
	}
	return limit
}

// adoptable reports whether the file can be written on as it is, once a torn end
// was cut off.
func (f *finding) adoptable(boot uint64) bool {
	return f.corrupt(boot) == "" && !f.recordsAfter && f.lastChanges < f.limit(boot)
}

// recover brings the entries back and leaves the journal with a file to write
// on. Called by Open alone.
func (j *Journal) recover() (err error) {
	generations, err := j.list()
	if err != nil {
		return err
	}
	var findings []*finding // newest first
	defer func() {
		for _, f := range findings {
			if f.file != j.file {
				err = errors.Join(err, f.file.Close())
			}
		}
	}()
	oldest := 0 // of the findings that are applied
	for i, g := range generations {
		f, err := j.inspect(g)
		if err != nil {
			return err
		}
		findings = append(findings, f)
		// A file holds everything of the ones before it. Only one that is
		// damaged is laid over its predecessor, where there still is one.
		if oldest == i-1 && findings[oldest].corrupt(j.boot) != "" {
			oldest = i
		}
	}
	for i := oldest; i >= 0 && i < len(findings); i-- {
		if err := j.apply(findings[i]); err != nil {
			return err
		}
	}
	replaced := findings
	if len(findings) > 0 {
		j.generation = findings[0].generation
	}
	if len(findings) > 0 && findings[0].adoptable(j.boot) {
		err = j.adopt(findings[0])
		replaced = findings[1:]
	} else {
		err = j.rewrite() // runs no hooks, since there are none yet
	}
	if err != nil {
		return err
	}
	return j.tidy(replaced)
}

// list returns the generations in the directory, newest first, and removes what
// an unfinished compaction left.
func (j *Journal) list() ([]uint64, error) {
	entries, err := j.fs.ReadDir(j.dir)
	if err != nil {
		return nil, fmt.Errorf("list positions: %w", err)
	}
	var generations []uint64
	for _, e := range entries {
		if g, ok := parseName(e.Name()); ok {
			generations = append(generations, g)
		} else if _, ok := parseName(strings.TrimSuffix(e.Name(), tempSuffix)); ok {
			if err := j.fs.Remove(j.path(e.Name())); err != nil {
				return nil, fmt.Errorf("remove unfinished snapshot: %w", err)
			}
		}
	}
	slices.Reverse(generations)
	return generations, nil
}

// apply takes over the records of a file.
func (j *Journal) apply(f *finding) error {
	limit := f.limit(j.boot)
	s := newScanner(f.file, f.size, f.start())
	for {
		r, err := s.next()
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return fmt.Errorf("read journal %q: %w", f.path, err)
		case r.payload[0] != kindChanges:
		case r.off >= limit:
			j.recovery.UncoveredRecords++
		default:
			decodeChanges(r.payload, func(key, value []byte) { j.set(string(key), value) })
			j.recovery.Records++
		}
	}
}

// adopt makes the journal write on a file from an earlier run.
func (j *Journal) adopt(f *finding) error {
	j.end = f.size
	if f.damageAt >= 0 {
		j.recovery.TornBytes = f.size - f.damageAt
		j.end = f.damageAt
		if err := f.file.Truncate(j.end); err != nil {
			return fmt.Errorf("cut the torn end of journal: %w", err)
		}
	}
	j.file, j.fileBoot = f.file, f.boot
	j.covered, j.synced = f.covered, f.synced
	// The last run may have ended because an fsync had failed. The kernel then
	// takes the bytes for clean and would fsync nothing, and says so to nobody.
	j.suspect = f.lastChanges >= j.synced
	return nil
}

// tidy sets the damaged of these files aside and removes the others. It comes
// after their content was made durable in another file.
func (j *Journal) tidy(findings []*finding) error {
	stamp := time.Now().UTC().Format("20060102T150405.000000000Z")
	for _, f := range findings {
		reason := f.corrupt(j.boot)
		if reason == "" {
			if err := j.fs.Remove(f.path); err != nil && !os.IsNotExist(err) {
				return fmt.Errorf("remove old journal: %w", err)
			}
			continue
		}
		aside := SetAside{Path: f.path + ".corrupt-" + stamp, Reason: reason, DamagedBytes: f.damagedBytes}
		if err := j.fs.Rename(f.path, aside.Path); err != nil {
			return fmt.Errorf("set damaged journal aside: %w", err)
		}
		j.recovery.SetAside = append(j.recovery.SetAside, aside)
	}
	if len(findings) == 0 {
		return nil
	}
	return j.syncDir()
}

func (j *Journal) path(name string) string { return filepath.Join(j.dir, name) }

func (j *Journal) syncDir() error {
	if err := j.fs.SyncDir(j.dir); err != nil {
		return fmt.Errorf("sync positions directory: %w", err)
	}
	return nil
}
