// Package cursors shows and changes, for people, how far the agent has come.
//
// It owns the meaning that a person sees in the journal's cursors, their form
// outside of the journal (Export), and the changes that make the agent read a
// source anew. It changes the journal of an agent that does not run, which the
// journal's lock makes sure of; that of a running one it only reads.
package cursors

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"log_capturer/internal/delivery"
	"log_capturer/internal/positions"
	"log_capturer/internal/record"
	"log_capturer/internal/vfs"
)

// ErrRunning says that an agent runs with the journal.
var ErrRunning = errors.New("an agent runs with these positions")

// Journal is where cursors are kept. *positions.Journal is one.
type Journal interface {
	All(prefix string) iter.Seq2[string, []byte]
	Commit(changes ...positions.Change) error
}

// Open opens the journal in a data directory of an agent that does not run;
// ErrRunning says that one does. The caller closes it.
func Open(dataDir string) (*positions.Journal, error) {
	dir := filepath.Join(dataDir, "positions")
	if _, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("there are no positions in %s: name the agent's directory, or its configuration", dataDir)
	}
	journal, err := positions.Open(dir, positions.Options{})
	if errors.Is(err, vfs.ErrLocked) {
		return nil, ErrRunning
	}
	return journal, err
}

// Position is how far one sink has come in one source.
type Position struct {
	Source string `json:"source"`
	Sink   string `json:"sink"`
	// Records is the number of records of the source that were delivered, or
	// more where the sink had begun in the middle.
	Records uint64 `json:"records"`
	// Last is the time of the last record, zero where there was none.
	Last time.Time `json:"last,omitzero"`
	// From is the time after which reading begins, where nothing was delivered
	// and it does not begin with what is oldest.
	From time.Time `json:"from,omitzero"`
	// Cursor is the whole, as the journal keeps it. It is base64 in JSON.
	Cursor []byte `json:"cursor"`
}

// Export is how positions look outside of the journal.
type Export struct {
	// Format is 1.
	Format int `json:"format"`
	// Positions are ordered by source and sink.
	Positions []Position `json:"positions"`
}

// exportFormat is the present Format.
const exportFormat = 1

// Take returns all positions. A cursor that cannot be read is an error.
func Take(j Journal) (Export, error) {
	e := Export{Format: exportFormat, Positions: []Position{}}
	for key, value := range j.All(delivery.CursorPrefix) {
		p, err := describe(key, value)
		if err != nil {
			return Export{}, err
		}
		e.Positions = append(e.Positions, p)
	}
	slices.SortStableFunc(e.Positions, func(a, b Position) int {
		return strings.Compare(a.Source+"\x00"+a.Sink, b.Source+"\x00"+b.Sink)
	})
	return e, nil
}

// describe reads an entry of the journal.
func describe(key string, value []byte) (Position, error) {
	sink, source, ok := strings.Cut(strings.TrimPrefix(key, delivery.CursorPrefix), "/")
	if !ok {
		return Position{}, fmt.Errorf("position %q has no source", key)
	}
	p := Position{Source: source, Sink: sink, Cursor: value}
	var c record.Cursor
	if err := c.UnmarshalBinary(value); err != nil {
		return Position{}, fmt.Errorf("read position of %q for sink %q: %w", source, sink, err)
	}
	p.Records = c.Total()
	for _, a := range c.Streams {
		switch at := time.Unix(0, a.Time).UTC(); {
		case a.Time == 0:
		case a.Count == 0:
			p.From = at
		case at.After(p.Last):
			p.Last = at
		}
	}
	return p, nil
}

// key is the position's in the journal.
func (p *Position) key() string { return delivery.CursorPrefix + p.Sink + "/" + p.Source }

// Import sets positions as e has them, all of them or none. Others stay, or are
// removed when replace is set. It refuses to change the position of a source that
// a spool has records of.
func Import(j Journal, held Spooled, e Export, replace bool) error {
	now, err := Take(j)
	if err != nil {
		return err
	}
	if e.Format != exportFormat {
		return fmt.Errorf("format %d is not known to this build, which knows %d: export with the same version", e.Format, exportFormat)
	}
	set := map[string]*Position{}
	for i := range e.Positions {
		p := &e.Positions[i]
		if p.Sink == "" || p.Source == "" || strings.Contains(p.Sink, "/") {
			return fmt.Errorf("position %d is of the sink %q and the source %q: both have to be named", i, p.Sink, p.Source)
		}
		if _, err := describe(p.key(), p.Cursor); err != nil {
			return err
		}
		if set[p.key()] != nil {
			return fmt.Errorf("there are two positions of %q for sink %q", p.Source, p.Sink)
		}
		set[p.key()] = p
	}
	for i := range now.Positions {
		old := &now.Positions[i]
		switch p := set[old.key()]; {
		case p == nil && replace:
			set[old.key()] = &Position{Source: old.Source, Sink: old.Sink}
		case p != nil && bytes.Equal(p.Cursor, old.Cursor):
			delete(set, old.key()) // it is where it should be
		}
	}
	return move(j, held, slices.Collect(maps.Values(set)))
}

// move sets positions, and removes those without a cursor. What was delivered of a
// source out of a spool is forgotten with it: it was said of the cursor that the
// source had.
func move(j Journal, held Spooled, to []*Position) error {
	var changes []positions.Change
	for _, p := range to {
		if err := held.allows(p); err != nil {
			return err
		}
		changes = append(changes, positions.Change{Key: p.key(), Value: p.Cursor},
			positions.Change{Key: delivery.DeliveredPrefix + p.Sink + "/" + p.Source})
	}
	return j.Commit(changes...)
}

// Start is where a source is read from after a reset.
type Start struct {
	// AsNew forgets the source, so that the configuration says where it is read
	// from. The other fields do not count then.
	AsNew bool
	// After is the time after which records are wanted; zero wants all that
	// there are.
	After time.Time
}

// Reset makes a source be read from start, for all sinks. They belong together:
// the numbers by which a sink skips what it has hold only where all began in the
// same place. It returns the source, which is named by its key or by the
// beginning of its id, of at least four digits. It refuses to while a spool has
// records of the source.
func Reset(j Journal, held Spooled, name string, start Start) (source string, err error) {
	e, err := Take(j)
	if err != nil {
		return "", err
	}
	source, err = e.find(name)
	if err != nil {
		return "", err
	}
	var c record.Cursor
	if !start.After.IsZero() {
		for s := range c.Streams {
			c.Streams[s].Time = start.After.UnixNano()
		}
	}
	value, _ := c.AppendBinary(nil) // never fails
	if start.AsNew {
		value = nil
	}
	var to []*Position
	for i := range e.Positions {
		if p := &e.Positions[i]; p.Source == source {
			p.Cursor = value
			to = append(to, p)
		}
	}
	return source, move(j, held, to)
}

// find returns the source that is meant by name.
func (e *Export) find(name string) (string, error) {
	found := map[string]bool{}
	for i := range e.Positions {
		source := e.Positions[i].Source
		_, id, _ := strings.Cut(source, "/")
		if source == name {
			return source, nil
		}
		if len(name) >= 4 && strings.HasPrefix(id, name) {
			found[source] = true
		}
	}
	switch len(found) {
	case 0:
		return "", fmt.Errorf("there is no position of %q: 'log_capturer positions show' lists all", name)
	case 1:
		for source := range found {
			return source, nil
		}
	}
	return "", fmt.Errorf("%q is the beginning of %d sources: give more of it", name, len(found))
}
