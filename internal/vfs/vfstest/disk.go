// Package vfstest simulates a disk for tests of code that must survive what
// disks do.
//
// A Disk is a vfs.FS in memory that knows two states of everything: what a
// running program sees, and what is durable. Tests make its operations fail
// (Inject), fill it (SetCapacity), kill the program that uses it (Kill) and cut
// its power (PowerLoss).
//
// # What a loss of power does
//
// Names: of the creations, renames and removals that no SyncDir covered, a
// random number of the oldest ones survives, in the order in which they were
// made, as on a file system with a journal. A file whose directory did not
// survive is gone.
//
// Bytes: of what was written to a file since its last Sync, either nothing
// survives, or the oldest writes up to a random byte, or the file has its new
// size and each 512-byte sector of it is randomly the old or the new one, with
// zeros where there was no old one.
//
// Bytes that a failed Sync was to save are not made durable by a later one that
// succeeds (see package vfs).
//
// Not simulated: symbolic and hard links, permissions, renames of directories.
package vfstest

import (
	"io/fs"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"sync"
	"syscall"
	"time"

	"log_capturer/internal/vfs"
)

// Disk is a simulated disk. It is safe for concurrent use.
type Disk struct {
	mu       sync.Mutex
	live     map[string]*node // what a running program sees, by clean name
	durable  map[string]*node // the names that would survive a loss of power
	pending  []rename         // what makes live out of durable, oldest first
	locks    map[string]bool
	faults   []*Fault
	capacity int64
	epoch    int // counts Kill and PowerLoss; handles of earlier epochs are dead
	open     int // handles of this epoch
}

var _ vfs.FS = (*Disk)(nil)

// rename is a pending change of names: it is a creation without from, and a
// removal without to.
type rename struct {
	from, to string
	node     *node
}

// NewDisk returns an empty disk of unlimited size.
func NewDisk() *Disk {
	root := &node{dir: true, mode: 0o755}
	return &Disk{
		live:     map[string]*node{"/": root},
		durable:  map[string]*node{"/": root},
		locks:    map[string]bool{},
		capacity: 1 << 62,
	}
}

// SetCapacity sets the disk's size in bytes. Writes beyond it are cut short with
// ENOSPC. What is there already stays.
func (d *Disk) SetCapacity(bytes int64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.capacity = bytes
}

// Used returns the sum of the files' sizes, in bytes.
func (d *Disk) Used() int64 {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.used()
}

func (d *Disk) used() int64 {
	var sum int64
	for _, n := range d.live {
		sum += int64(len(n.data))
	}
	return sum
}

// OpenFiles returns the number of files and locks that are open.
func (d *Disk) OpenFiles() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.open
}

// Kill ends the program that uses the disk, as kill -9 does: its files are
// closed and its locks released, and all it has written stays.
func (d *Disk) Kill() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.kill()
}

func (d *Disk) kill() {
	d.epoch++
	d.open = 0
	clear(d.locks)
}

// PowerLoss kills the program and loses what was not durable, as the package's
// doc says. Injected faults and the capacity stay. The choices come from rng.
func (d *Disk) PowerLoss(rng *rand.Rand) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.kill()
	for _, r := range d.pending[:rng.IntN(len(d.pending)+1)] {
		r.apply(d.durable)
	}
	d.pending = nil
	names := sortedNames(d.durable)
	d.live = make(map[string]*node, len(names))
	for _, name := range names { // a directory sorts before what is in it
		if parent := d.live[filepath.Dir(name)]; name != "/" && (parent == nil || !parent.dir) {
			delete(d.durable, name)
			continue
		}
		n := d.durable[name]
		n.losePower(rng)
		d.live[name] = n
	}
}

func sortedNames(m map[string]*node) []string {
	names := make([]string, 0, len(m))
	for name := range m {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

func (r rename) apply(names map[string]*node) {
	if r.from != "" {
		delete(names, r.from)
	}
	if r.to != "" {
		names[r.to] = r.node
	}
}

// change applies r to what the program sees, and leaves it to SyncDir to make
// it durable.
func (d *Disk) change(r rename) {
	r.apply(d.live)
	d.pending = append(d.pending, r)
}

// syncDir makes the pending changes of names in dir durable, and the earlier
// ones that they build on.
func (d *Disk) syncDir(dir string) {
	wanted := map[string]bool{}
	keep := make([]bool, len(d.pending))
	for i := len(d.pending) - 1; i >= 0; i-- {
		r := d.pending[i]
		for _, name := range []string{r.from, r.to} {
			if name != "" && (filepath.Dir(name) == dir || wanted[name]) {
				wanted[r.from], wanted[r.to], keep[i] = true, true, true
			}
		}
	}
	rest := d.pending[:0]
	for i, r := range d.pending {
		if keep[i] {
			r.apply(d.durable)
		} else {
			rest = append(rest, r)
		}
	}
	d.pending = rest
}

// clean returns the name by which the disk knows a file.
func clean(name string) string { return filepath.Join("/", name) }

// dirOf returns an error unless the directory that name is to be in exists.
func (d *Disk) dirOf(op, name string) error {
	switch parent := d.live[filepath.Dir(name)]; {
	case parent == nil:
		return &fs.PathError{Op: op, Path: name, Err: syscall.ENOENT}
	case !parent.dir:
		return &fs.PathError{Op: op, Path: name, Err: syscall.ENOTDIR}
	}
	return nil
}

// node is a file or directory, whatever its names are.
type node struct {
	dir     bool
	mode    fs.FileMode
	modTime time.Time
	data    []byte // what a running program sees
	durable []byte // what was last made durable
	pending []edit // what was done to data since the last Sync, oldest first
}

// edit is a write of data at off, or a truncation to off.
type edit struct {
	off      int64
	data     []byte
	truncate bool
}

func (e edit) apply(b []byte) []byte {
	end := e.off + int64(len(e.data))
	if grow := end - int64(len(b)); grow > 0 {
		b = append(b, make([]byte, grow)...)
	}
	if e.truncate {
		return b[:e.off]
	}
	copy(b[e.off:], e.data)
	return b
}

func (n *node) edit(e edit) {
	n.data = e.apply(n.data)
	n.pending = append(n.pending, e)
	n.modTime = time.Now()
}

func (n *node) sync() {
	for _, e := range n.pending {
		n.durable = e.apply(n.durable)
	}
	n.pending = nil
}

// losePower decides what survives of the edits since the last Sync.
func (n *node) losePower(rng *rand.Rand) {
	if len(n.pending) > 0 {
		switch rng.IntN(3) {
		case 0: // nothing
		case 1:
			n.tear(rng)
		case 2:
			n.scatter(rng)
		}
	}
	n.pending = nil
	n.data = slices.Clone(n.durable)
}

// tear keeps the oldest edits, the last of them up to a random byte.
func (n *node) tear(rng *rand.Rand) {
	whole := rng.IntN(len(n.pending))
	for _, e := range n.pending[:whole] {
		n.durable = e.apply(n.durable)
	}
	torn := n.pending[whole]
	torn.data = torn.data[:rng.IntN(len(torn.data)+1)]
	n.durable = torn.apply(n.durable)
}

// sectorSize is what a disk writes in one piece, in bytes.
const sectorSize = 512

// scatter keeps the new size, and of each sector the old or the new bytes.
func (n *node) scatter(rng *rand.Rand) {
	mixed := make([]byte, len(n.data))
	copy(mixed, n.durable)
	for off := 0; off < len(mixed); off += sectorSize {
		if rng.IntN(2) == 0 {
			end := min(off+sectorSize, len(mixed))
			copy(mixed[off:end], n.data[off:end])
		}
	}
	n.durable = mixed
}
