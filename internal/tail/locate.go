package tail

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"

	"log_capturer/internal/record"
)

// retained is one of a log's files as a look at its name found it.
type retained struct {
	stat
	path string
	live bool
	// id is what the live file was known by when it was decided to go to it. It
	// has changed when the file was copied and truncated since, and the copy comes
	// first.
	id record.FileID
}

// list looks at all files of the log, oldest first, the live one last.
func (r *Reader) list() ([]retained, error) {
	var names []string
	if r.log.Rotated != nil {
		var err error
		if names, err = r.log.Rotated(); err != nil && !isAbsent(err) {
			return nil, fmt.Errorf("list rotated files of %q: %w", r.log.Path, err)
		}
	}
	live, err := look(r.log.Path)
	if err != nil {
		return nil, err
	}
	var files []retained
	for _, name := range names {
		// While a file is compressed both forms are there, and the compressed one
		// is not whole.
		if plain, ok := strings.CutSuffix(name, ".gz"); ok && slices.Contains(names, plain) {
			continue
		}
		s, err := look(name)
		if err != nil || s == (stat{}) || s.same(live) {
			continue // gone again, no file, or another name of the live one
		}
		files = append(files, retained{stat: s, path: name})
	}
	if live != (stat{}) {
		files = append(files, retained{stat: live, path: r.log.Path, live: true})
	}
	return files, nil
}

// errUnsteady says that the files are being rotated all the time.
var errUnsteady = errors.New("its files are renamed faster than they can be listed")

// snapshot lists the log's files as they were at one moment: until two lists are
// the same. A rotation in the middle of a list would hide a file from it.
func (r *Reader) snapshot() ([]retained, error) {
	const tries = 20
	before, err := r.list()
	for range tries {
		if err != nil {
			return nil, err
		}
		var now []retained
		if now, err = r.list(); err != nil {
			return nil, err
		}
		if slices.EqualFunc(before, now, func(a, b retained) bool { return a.same(b.stat) && a.path == b.path }) {
			return now, nil
		}
		before = now
	}
	return nil, fmt.Errorf("list files of %q: %w", r.log.Path, errUnsteady)
}

// likeness says in what way a file is the one that is being read.
type likeness int

const (
	different likeness = iota
	// shorter: it begins the same, and ends before the place.
	shorter
	// same: it has the place.
	same
)

// compare opens f where it may be the file that is being read, and compares it
// with what is known of that. The file is open when they are the same.
func (r *Reader) compare(f *retained) (*file, likeness, error) {
	own := f.inode == r.id.Inode
	if r.id.HeadLength == 0 && !own {
		return nil, different, nil // nothing to know a copy by
	}
	if f.size < r.offset && f.size < int64(r.id.HeadLength) && !isZipped(f.path) {
		return nil, different, nil
	}
	opened, err := openFile(f.path)
	switch {
	case isAbsent(err):
		return nil, different, nil
	case err != nil:
		return nil, different, err
	}
	like, tail, err := r.likeness(opened)
	if like != same || err != nil {
		opened.close()
		if torn := (*damage)(nil); errors.As(err, &torn) {
			err = nil
		}
		return nil, like, err
	}
	r.tail = tail
	return opened, same, nil
}

func (r *Reader) likeness(f *file) (likeness, []byte, error) {
	if begins, err := f.startsAs(r.id); err != nil || !begins {
		return different, nil, err
	}
	tail, reaches, err := f.before(r.offset)
	switch {
	case err != nil:
		return different, nil, err
	case !reaches && r.id.HeadLength == record.HeadSize:
		return shorter, nil, nil
	case !reaches:
		return different, nil, nil
	case r.tail != nil && !bytes.Equal(tail, r.tail), r.tail == nil && record.LineHash(tail) != r.tailHash:
		return different, nil, nil
	}
	return same, tail, nil
}

// find looks for the file that is being read among files, and returns its index
// or -1. It is open where its likeness is same.
func (r *Reader) find(files []retained) (int, *file, likeness, error) {
	cut := -1
	for _, own := range []bool{true, false} {
		for i := len(files) - 1; i >= 0; i-- {
			if f := &files[i]; (f.inode == r.id.Inode) == own {
				opened, like, err := r.compare(f)
				switch {
				case err != nil:
					return -1, nil, different, err
				case like == same:
					return i, opened, same, nil
				case like == shorter && cut < 0 && !f.live:
					cut = i
				}
			}
		}
	}
	if cut >= 0 {
		return cut, nil, shorter, nil
	}
	return -1, nil, different, nil
}

// newer returns the files that have come after the one that is being read, where
// that is not among them: those that were written to since, and the live one.
func (r *Reader) newer(files []retained) ([]retained, error) {
	for i := range files {
		f := &files[i]
		if f.live {
			return files[i:], nil
		}
		if f.modified <= r.written && r.written != 0 {
			continue
		}
		read, err := r.wasRead(f)
		if err != nil {
			return nil, err
		}
		if !read {
			return files[i:], nil
		}
	}
	return nil, nil
}

// wasRead reports whether f is one of the files that were read before.
func (r *Reader) wasRead(f *retained) (bool, error) {
	if len(r.passed) == 0 {
		return false, nil
	}
	opened, err := openFile(f.path)
	if isAbsent(err) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	defer opened.close()
	var torn *damage
	for _, id := range r.passed {
		if id.HeadLength == 0 || id.HeadLength < record.HeadSize && id.Inode != f.inode {
			continue
		}
		if begins, err := opened.startsAs(id); begins {
			return true, nil
		} else if err != nil && !errors.As(err, &torn) {
			return false, err
		}
	}
	return false, nil
}
