package positions

import (
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"iter"
	"log/slog"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"log_capturer/internal/vfs"
)

// ErrClosed is returned by methods of a closed journal.
var ErrClosed = errors.New("positions journal is closed")

// Options configure a Journal. The zero value is ready to use.
type Options struct {
	// FS is the file system; nil means vfs.OS.
	FS vfs.FS
	// Logger takes what recovery and Run have to say; nil means none.
	Logger *slog.Logger
	// SyncInterval is how often Run fsyncs; 0 means 1s.
	SyncInterval time.Duration
	// CompactBytes is the size from which on Run compacts the journal, when it
	// is also more than twice the size of what is live; 0 means 4 MiB.
	CompactBytes int64
	// BootID names the present run of the machine's kernel, so that a loss of
	// power can be told from a crash of the process. Empty means the kernel's
	// boot_id.
	BootID string
}

// Journal is an open journal. Its methods are safe for concurrent use.
type Journal struct {
	dir          string
	fs           vfs.FS
	log          *slog.Logger
	syncInterval time.Duration
	compactBytes int64
	boot         uint64
	lock         io.Closer
	recovery     Recovery

	// syncMu is held throughout Sync, compaction and Close, so that only one
	// of them runs. It is taken before mu.
	syncMu sync.Mutex
	hooks  []*func() error

	// mu guards what follows. It is never held during an fsync.
	mu         sync.Mutex
	entries    map[string][]byte
	live       int64 // what the entries take in a snapshot, about, in bytes
	file       vfs.File
	generation uint64
	fileBoot   uint64   // the boot that the file's last mark or header names
	end        int64    // where the next record goes
	covered    int64    // as in mark, for the next one
	synced     int64    // as in mark, for the next one
	obsolete   []string // files that were replaced and are still to be removed
	torn       bool     // the file has bytes past end
	dirty      bool     // there are records that no Sync has covered
	suspect    bool     // fsync cannot be trusted with the file; the next Sync replaces it
	closed     bool
	following  bool   // a snapshot is being written
	followed   []byte // the records that were written since it was taken
	buf        []byte

	stats stats
}

// Open opens the journal in dir, which it makes if it is missing, and recovers
// what earlier runs have left. It holds the directory's lock until Close. Open
// starts no goroutine: Run does the work of time.
//
// Damaged content is no error; Recovery tells of it.
func Open(dir string, opts Options) (_ *Journal, err error) {
	if opts.BootID == "" {
		opts.BootID = kernelBootID()
	}
	j := &Journal{
		dir:          dir,
		fs:           opts.FS,
		log:          opts.Logger,
		syncInterval: opts.SyncInterval,
		compactBytes: opts.CompactBytes,
		boot:         hashBootID(opts.BootID),
		entries:      map[string][]byte{},
	}
	if j.fs == nil {
		j.fs = vfs.OS{}
	}
	if j.log == nil {
		j.log = slog.New(slog.DiscardHandler)
	}
	if j.syncInterval <= 0 {
		j.syncInterval = time.Second
	}
	if j.compactBytes <= 0 {
		j.compactBytes = 4 << 20
	}
	if err := vfs.MakeDir(j.fs, dir, 0o700); err != nil {
		return nil, fmt.Errorf("make positions directory: %w", err)
	}
	j.lock, err = j.fs.Lock(j.path("lock"))
	if errors.Is(err, vfs.ErrLocked) {
		return nil, fmt.Errorf("positions directory %q is in use by another log_capturer: stop that one, or set another data_dir for this one: %w", dir, err)
	}
	if err != nil {
		return nil, fmt.Errorf("lock positions directory: %w", err)
	}
	if err := j.recover(); err != nil {
		if j.file != nil {
			err = errors.Join(err, j.file.Close())
		}
		return nil, errors.Join(err, j.lock.Close())
	}
	j.logRecovery()
	return j, nil
}

func (j *Journal) logRecovery() {
	r := j.recovery
	j.log.Info("positions_recovered", "dir", j.dir, "keys", len(j.entries), "records", r.Records)
	if r.TornBytes > 0 {
		j.log.Warn("positions_torn_tail_cut", "bytes", r.TornBytes)
	}
	if r.UncoveredRecords > 0 {
		j.log.Warn("positions_not_durable_dropped", "records", r.UncoveredRecords)
	}
	for _, s := range r.SetAside {
		j.log.Error("positions_journal_set_aside", "path", s.Path, "reason", s.Reason, "damaged_bytes", s.DamagedBytes)
	}
}

// kernelBootID returns the kernel's name for its present run, "" where it has
// none.
func kernelBootID() string {
	id, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(id))
}

// hashBootID returns the form in which files keep a boot ID, 0 for none.
func hashBootID(id string) uint64 {
	if id == "" {
		return 0
	}
	h := fnv.New64a()
	_, _ = h.Write([]byte(id)) // never fails
	return max(h.Sum64(), 1)
}

// Recovery returns what Open found.
func (j *Journal) Recovery() Recovery {
	r := j.recovery
	r.SetAside = slices.Clone(r.SetAside)
	return r
}

// Get returns a copy of a key's value. ok is false when there is no such key.
func (j *Journal) Get(key string) (value []byte, ok bool) {
	j.mu.Lock()
	defer j.mu.Unlock()
	value, ok = j.entries[key]
	if !ok {
		return nil, false
	}
	return append(make([]byte, 0, len(value)), value...), true
}

// All returns the keys that begin with prefix, in order, with copies of their
// values, as they are when the loop begins. The loop may use the journal.
func (j *Journal) All(prefix string) iter.Seq2[string, []byte] {
	return func(yield func(string, []byte) bool) {
		j.mu.Lock()
		var found []Change
		for key, value := range j.entries {
			if strings.HasPrefix(key, prefix) {
				found = append(found, Change{key, append(make([]byte, 0, len(value)), value...)})
			}
		}
		j.mu.Unlock()
		slices.SortFunc(found, func(a, b Change) int { return strings.Compare(a.Key, b.Key) })
		for _, c := range found {
			if !yield(c.Key, c.Value) {
				return
			}
		}
	}
}

// Commit makes all of the changes, in order, or none of them. When it returns
// nil they outlive the process; Sync makes them outlive a loss of power. The
// changes may be reused afterwards. All keys and values of one Commit together
// may take 16 MiB.
//
// An error says that none of the changes was made. Another Commit, of the same
// or other changes, may succeed. No changes are no Commit.
func (j *Journal) Commit(changes ...Change) error {
	if len(changes) == 0 {
		return nil
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.closed {
		return ErrClosed
	}
	err := j.commit(changes)
	j.stats.commitErr = err
	if err != nil {
		j.stats.commitFailures++
		return fmt.Errorf("commit positions: %w", err)
	}
	j.stats.commits++
	return nil
}

func (j *Journal) commit(changes []Change) error {
	b := j.buf[:0]
	if j.fileBoot != j.boot {
		b = appendMark(b, mark{boot: j.boot, covered: j.covered, synced: j.synced})
	}
	start := len(b)
	b = appendChanges(b, changes)
	if cap(b) <= 1<<20 {
		j.buf = b
	}
	if len(b)-start-frameSize > maxPayload {
		return fmt.Errorf("%d changes take %d bytes, more than %d", len(changes), len(b)-start, maxPayload)
	}
	if err := j.write(b); err != nil {
		return err
	}
	if j.following {
		j.followed = append(j.followed, b[start:]...)
	}
	j.fileBoot = j.boot
	j.dirty = true
	for _, c := range changes {
		j.set(c.Key, c.Value)
	}
	return nil
}

// write appends b to the file, whole or not at all. mu is held.
func (j *Journal) write(b []byte) error {
	if err := j.mend(); err != nil {
		return err
	}
	n, err := j.file.Write(b)
	if err == nil && n < len(b) {
		err = io.ErrShortWrite
	}
	if err != nil {
		j.torn = true
		return errors.Join(err, j.mend())
	}
	j.end += int64(len(b))
	return nil
}

// mend cuts off what a failed write has left behind the last record. While that
// does not succeed nothing can be written, and the next Sync makes a new file.
func (j *Journal) mend() error {
	if !j.torn {
		return nil
	}
	if err := j.file.Truncate(j.end); err != nil {
		j.suspect = true
		return fmt.Errorf("cut off a torn record: %w", err)
	}
	j.torn = false
	return nil
}

// set changes one entry. It copies what it keeps.
func (j *Journal) set(key string, value []byte) {
	old, ok := j.entries[key]
	if ok {
		j.live -= entrySize(key, old)
	}
	switch {
	case value == nil:
		delete(j.entries, key)
		return
	case ok && len(old) == len(value):
		copy(old, value)
	default:
		if !ok {
			key = strings.Clone(key)
		}
		j.entries[key] = append(make([]byte, 0, len(value)), value...)
	}
	j.live += entrySize(key, value)
}

// Close syncs what is dirty, closes the file and gives up the directory. Call it
// after Run has returned. Closing twice is fine.
func (j *Journal) Close() error {
	j.syncMu.Lock()
	defer j.syncMu.Unlock()
	j.mu.Lock()
	closed := j.closed
	j.mu.Unlock()
	if closed {
		return nil
	}
	err := j.sync()
	j.mu.Lock()
	defer j.mu.Unlock()
	j.closed = true
	return errors.Join(err, j.file.Close(), j.lock.Close())
}
