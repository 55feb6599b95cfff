package tail

import (
	"errors"
	"slices"
	"time"

	"log_capturer/internal/record"
)

// open opens the file of the place, wherever it is now.
func (r *Reader) open() (Chunk, bool, error) {
	if r.fresh {
		return r.openFirst()
	}
	live, err := look(r.log.Path)
	if err != nil {
		return Chunk{}, true, err
	}
	if live.inode == r.id.Inode && live.inode != 0 {
		opened, like, err := r.compare(&retained{stat: live, path: r.log.Path, live: true})
		if err != nil {
			return Chunk{}, true, err
		}
		if like == same {
			r.file = opened
			return Chunk{}, false, nil
		}
	}
	files, err := r.snapshot()
	if err != nil {
		return Chunk{}, true, err
	}
	i, opened, like, err := r.find(files)
	switch {
	case err != nil:
		return Chunk{}, true, err
	case like == same:
		r.adopt(opened)
		return Chunk{}, false, nil
	case like == shorter:
		return r.jump(files[i+1:], nil)
	}
	reason := "the file was removed, and what came between it and the present one is not known"
	if live.inode == r.id.Inode {
		reason = "the file was truncated or overwritten"
	}
	return r.lost(files, reason)
}

// openFirst opens the file that a reader without a place begins with.
func (r *Reader) openFirst() (Chunk, bool, error) {
	files, err := r.snapshot()
	if err != nil {
		return Chunk{}, true, err
	}
	if !r.oldest && len(files) > 0 {
		if last := files[len(files)-1]; last.live {
			files = []retained{last}
		} else {
			files = nil
		}
	}
	if len(files) == 0 {
		return Chunk{Kind: Idle}, true, nil
	}
	return Chunk{}, false, r.begin(&files[0])
}

// adopt goes on in another file that has the place: a copy, or the same one
// under another name.
func (r *Reader) adopt(f *file) {
	r.file.close()
	r.file, r.id.Inode = f, f.inode
	r.seen, r.decided = stat{}, false
}

// begin goes to the head of a file. Nothing has changed where the file is not
// there any more.
func (r *Reader) begin(f *retained) error {
	opened, err := openFile(f.path)
	if isAbsent(err) || err == nil && !opened.same(f.stat) {
		if err == nil {
			opened.close()
		}
		return nil
	}
	if err != nil {
		return err
	}
	var torn *damage
	id, err := opened.head()
	if err == nil && f.id.Inode != 0 {
		same, sameErr := opened.startsAs(f.id)
		if sameErr == nil && (!same || f.id.HeadLength == 0 && id.HeadLength > 0 || f.id.Inode != id.Inode) {
			opened.close()
			return nil
		}
		err = sameErr
	}
	if errors.As(err, &torn) {
		id, err = record.FileID{Inode: opened.inode}, nil // reading it tells
	}
	if err != nil {
		opened.close()
		return err
	}
	if !r.fresh {
		r.pass()
	}
	r.file.close()
	r.file, r.id, r.offset, r.offered, r.tail = opened, id, 0, 0, []byte{}
	r.fresh, r.last, r.ended = false, false, false
	r.seen, r.decided, r.rest = stat{}, false, nil
	r.largest, r.written = opened.size, opened.modified
	r.opened, r.device = time.Now(), opened.device
	return nil
}

// maxPassed is how many files that were read before are remembered. Older ones
// are told by their times.
const maxPassed = 8

func (r *Reader) pass() {
	if len(r.passed) == maxPassed {
		r.passed = append(r.passed[:0], r.passed[1:]...)
	}
	r.passed = append(r.passed, r.id)
}

// toOlder goes to the oldest file before this one that was written to since this
// one was seen empty, and that was not read. It reports whether there is one.
func (r *Reader) toOlder() (bool, error) {
	files, err := r.snapshot()
	if err != nil {
		return false, err
	}
	if !slices.ContainsFunc(files, func(f retained) bool { return f.same(r.file.stat) }) {
		return false, nil // it was removed: all that is there is newer
	}
	for i := range files {
		f := &files[i]
		if f.same(r.file.stat) {
			return false, nil
		}
		if f.modified <= r.written {
			continue
		}
		read, err := r.wasRead(f)
		if err != nil {
			return false, err
		}
		if read {
			continue
		}
		was := r.file
		if err := r.begin(f); err != nil {
			return false, err
		}
		return r.file != was, nil
	}
	return false, nil
}

// quiet is how long a file that is removed must have been silent, and read to
// its end, to be taken for one that has nothing more although it was not open.
const quiet = time.Minute

// lost goes on with the files that are newer than the one of the place, which is
// in none of them.
func (r *Reader) lost(files []retained, reason string) (Chunk, bool, error) {
	newer, err := r.newer(files)
	if err != nil {
		return Chunk{}, true, err
	}
	if len(newer) == 0 {
		if r.ended || r.atRest && r.opts.Now().UnixNano()-r.written > int64(quiet) {
			return r.end(nil)
		}
		return r.end(&Chunk{Kind: Gap, Lost: max(0, r.largest-r.offset), Reason: "the file was removed while it was not open"})
	}
	if r.ended {
		return r.jump(newer, nil)
	}
	return r.jump(newer, &Chunk{Kind: Gap, Lost: max(0, r.largest-r.offset), Reason: reason})
}

// jump goes to the head of the first of files, and tells of the end of the one
// before it, and of a gap.
func (r *Reader) jump(files []retained, gap *Chunk) (Chunk, bool, error) {
	if len(files) == 0 {
		return r.end(gap)
	}
	ended, id := r.ended, r.id
	before := r.file
	if err := r.begin(&files[0]); err != nil || r.file == nil || r.file == before {
		return Chunk{}, err != nil, err
	}
	if !ended {
		r.out = append(r.out, Chunk{Kind: Data, Last: true, file: id})
	}
	if gap != nil {
		gap.NotFound, r.resuming = r.resuming, false
		r.out = append(r.out, *gap)
	}
	return Chunk{}, false, nil
}

// end tells that the log is gone.
func (r *Reader) end(gap *Chunk) (Chunk, bool, error) {
	r.Close()
	if !r.ended {
		r.ended = true
		r.out = append(r.out, Chunk{Kind: Data, Last: true, file: r.id})
		if gap != nil {
			gap.NotFound, r.resuming = r.resuming, false
			r.out = append(r.out, *gap)
		}
		return Chunk{}, false, nil
	}
	return Chunk{Kind: Ended}, true, nil
}

// truncated goes on after the open file turned out not to hold any more what was
// read of it.
func (r *Reader) truncated() (Chunk, bool, error) {
	files, err := r.snapshot()
	if err != nil {
		return Chunk{}, true, err
	}
	i, opened, like, err := r.find(files)
	switch {
	case err != nil:
		return Chunk{}, true, err
	case like == same:
		r.adopt(opened)
		return Chunk{}, false, nil
	case like == shorter:
		return r.jump(files[i+1:], nil)
	}
	return r.lost(files, "the file was truncated or overwritten, and there is no copy of what was in it")
}

// giveUp leaves a compressed file that can't be unpacked any further.
func (r *Reader) giveUp(torn *damage) (Chunk, bool, error) {
	files, err := r.snapshot()
	if err != nil {
		return Chunk{}, true, err
	}
	gap := &Chunk{Kind: Gap, Reason: torn.Error()}
	if i := slices.IndexFunc(files, func(f retained) bool { return f.same(r.file.stat) }); i >= 0 {
		return r.jump(files[i+1:], gap)
	}
	newer, err := r.newer(files)
	if err != nil {
		return Chunk{}, true, err
	}
	return r.jump(newer, gap)
}

// atEnd decides what comes after the end of the open file.
func (r *Reader) atEnd(buf []byte) (Chunk, bool, error) {
	live, err := look(r.log.Path)
	if err != nil {
		return Chunk{}, true, err
	}
	if r.file.same(live) {
		if live.size < r.offset {
			return r.truncated()
		}
		if r.id.HeadLength == 0 && live.modified > r.written && r.written != 0 {
			// It is empty, and was not all the time.
			if moved, err := r.toOlder(); err != nil || moved {
				return Chunk{}, err != nil, err
			}
		}
		r.settle(live)
		return Chunk{Kind: Idle}, true, nil
	}
	if !r.decided {
		return r.decide()
	}
	// It was read to its end again since its successor was seen.
	if r.id.HeadLength == 0 && !r.gone {
		if moved, err := r.toOlder(); err != nil || moved {
			return Chunk{}, err != nil, err
		}
	}
	if !r.last {
		c, _, err := r.readRest(buf)
		return c, true, err
	}
	return r.leave()
}

// decide finds out what comes after the open file, which has been rotated.
func (r *Reader) decide() (Chunk, bool, error) {
	if err := r.file.refresh(); err != nil {
		return Chunk{}, true, err
	}
	r.largest = max(r.largest, r.file.size)
	if !r.silent(r.opts.Settle) {
		return Chunk{Kind: Idle}, true, nil
	}
	files, err := r.snapshot()
	if err != nil {
		return Chunk{}, true, err
	}
	i := slices.IndexFunc(files, func(f retained) bool { return f.same(r.file.stat) })
	if i < 0 {
		// It may have been compressed, or copied.
		var opened *file
		if i, opened, _, err = r.find(files); err != nil {
			return Chunk{}, true, err
		}
		opened.close()
	}
	gone, rest := i < 0, files[i+1:]
	if gone {
		if rest, err = r.newer(files); err != nil {
			return Chunk{}, true, err
		}
	}
	if len(rest) > 0 && rest[0].live {
		if rest[0].size == 0 && !r.silent(patience) {
			return Chunk{Kind: Idle}, true, nil
		}
		if rest[0].id, err = identify(&rest[0]); err != nil {
			return Chunk{}, !isAbsent(err), skipAbsent(err)
		}
	}
	r.decided, r.gone, r.rest = true, gone, rest
	return Chunk{}, false, nil
}

// identify returns what a file is known by.
func identify(f *retained) (record.FileID, error) {
	opened, err := openFile(f.path)
	if err != nil {
		return record.FileID{}, err
	}
	defer opened.close()
	return opened.head()
}

// skipAbsent returns an error unless it is that a file has gone, which the next
// look takes in.
func skipAbsent(err error) error {
	if isAbsent(err) {
		return nil
	}
	return err
}

// silent reports whether the open file was not written to for so long.
func (r *Reader) silent(d time.Duration) bool {
	age := r.file.age(r.opts.Now())
	return age >= d || age < 0 || r.file.zipped // a time to come says nothing
}

// readRest gives what was not used of the open file as its last chunk.
func (r *Reader) readRest(buf []byte) (Chunk, bool, error) {
	r.offered = r.offset
	c, changed, err := r.readChunk(buf)
	r.decided = true
	if err != nil || changed {
		return c, changed, err
	}
	if c.Kind != Data {
		c = Chunk{Kind: Data, Offset: r.offset, file: r.id, space: buf[:record.TailSize], start: record.TailSize}
		copy(buf[record.TailSize-len(r.tail):], r.tail)
	}
	c.Last, r.last = !c.More, !c.More
	return c, false, nil
}

// leave goes from the open file, whose last chunk was given, to the next one.
func (r *Reader) leave() (Chunk, bool, error) {
	r.decided = false
	if len(r.rest) == 0 {
		r.ended = true
		r.Close()
		return Chunk{Kind: Ended}, true, nil
	}
	before, ended, gone := r.file, r.ended, r.gone
	if err := r.begin(&r.rest[0]); err != nil || r.file == before {
		return Chunk{}, err != nil, err
	}
	if gone && !ended {
		r.out = append(r.out, Chunk{Kind: Gap,
			Reason: "the file was removed, and what came between it and the present one is not known"})
	}
	return Chunk{}, false, nil
}
