// Package deliverytest has the two ends of a delivery for tests: a journal in
// memory, and a destination that answers as it is told and keeps what it took.
package deliverytest

import (
	"fmt"
	"iter"
	"maps"
	"slices"
	"strings"
	"sync"

	"log_capturer/internal/positions"
	"log_capturer/internal/record"
)

// Journal is a journal in memory. It is safe for concurrent use.
type Journal struct {
	mu      sync.Mutex
	entries map[string][]byte
	commits [][]positions.Change
	before  func([]positions.Change) error
}

// NewJournal returns an empty journal.
func NewJournal() *Journal { return &Journal{entries: map[string][]byte{}} }

// Before sets what is called before each commit. While it returns an error,
// commits fail with that error and change nothing.
func (j *Journal) Before(f func([]positions.Change) error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.before = f
}

// Get implements delivery.Journal.
func (j *Journal) Get(key string) ([]byte, bool) {
	j.mu.Lock()
	defer j.mu.Unlock()
	value, ok := j.entries[key]
	return value, ok
}

// Commit implements delivery.Journal.
func (j *Journal) Commit(changes ...positions.Change) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.before != nil {
		if err := j.before(changes); err != nil {
			return err
		}
	}
	j.commits = append(j.commits, slices.Clone(changes))
	for _, c := range changes {
		if c.Value == nil {
			delete(j.entries, c.Key)
		} else {
			j.entries[c.Key] = c.Value
		}
	}
	return nil
}

// All implements deadletter.Journal.
func (j *Journal) All(prefix string) iter.Seq2[string, []byte] {
	return func(yield func(string, []byte) bool) {
		snapshot := j.Snapshot()
		for _, key := range slices.Sorted(maps.Keys(snapshot)) {
			if strings.HasPrefix(key, prefix) && !yield(key, snapshot[key]) {
				return
			}
		}
	}
}

// Snapshot returns what the journal holds.
func (j *Journal) Snapshot() map[string][]byte {
	j.mu.Lock()
	defer j.mu.Unlock()
	return maps.Clone(j.entries)
}

// Restore makes the journal hold what a Snapshot did.
func (j *Journal) Restore(snapshot map[string][]byte) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.entries = maps.Clone(snapshot)
	if j.entries == nil {
		j.entries = map[string][]byte{}
	}
}

// Commits returns the commits that succeeded, oldest first.
func (j *Journal) Commits() [][]positions.Change {
	j.mu.Lock()
	defer j.mu.Unlock()
	return slices.Clone(j.commits)
}

// Keys returns the keys that have values, sorted.
func (j *Journal) Keys() []string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return slices.Sorted(maps.Keys(j.entries))
}

// Cursor returns the cursor that value encodes, as a Change or Get has it.
func Cursor(value []byte) record.Cursor {
	var c record.Cursor
	if err := c.UnmarshalBinary(value); err != nil {
		panic(fmt.Sprintf("the journal holds no cursor: %v", err))
	}
	return c
}
