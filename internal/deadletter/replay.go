package deadletter

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"log_capturer/internal/positions"
	"log_capturer/internal/record"
)

// Target is a sink's delivery. *delivery.Delivery is one.
type Target interface {
	Name() string
	Enqueue(ctx context.Context, b *record.Batch) error
	// Cursor returns what of a source is in the custody of the destination, the
	// spool or, once more, of the dead letters.
	Cursor(source string) (record.Cursor, bool, error)
	StartAt(source string, at record.Cursor) error
	Forget(source string) error
}

// Journal is where a replay that was cut off is found again.
type Journal interface {
	All(prefix string) iter.Seq2[string, []byte]
	Get(key string) ([]byte, bool)
	Commit(changes ...positions.Change) error
}

// Replayer delivers dead letters again, through the deliveries of sinks.
//
// Letters of one source make a batch of a source of its own, "replay/<first
// letter>/<source>". What the batch holds is in the journal before it is handed
// over, and the sink's cursor for it says how much was accepted. Only that is
// removed from the store: at the end, or, where the agent was killed before, at
// the next start, whatever has become of the sink.
type Replayer struct {
	store   *Store
	journal Journal
	targets atomic.Pointer[[]Target]
	cursors string // how the journal's keys of cursors begin
	logger  *slog.Logger

	asked chan Order
	mu    sync.Mutex
	state State
}

// Order asks for a replay.
type Order struct {
	Selection
	// To is the sink to deliver to; empty for the one that each letter was for.
	To string `json:"to,omitempty"`
}

// State is what a Replayer does.
type State struct {
	Running bool `json:"running"`
	// Total is the number of letters of the last order, Accepted how many of
	// them were accepted so far.
	Total    int `json:"total"`
	Accepted int `json:"accepted"`
	// Error is why the last order ended early.
	Error string `json:"error,omitempty"`
}

// SourcePrefix begins the keys of the sources that replayed letters come from.
const SourcePrefix = "replay/"

const (
	jobPrefix = "replay_job/"
	// batchLetters is the most letters of a batch.
	batchLetters = 500
	// pollInterval is how often the cursor of a batch is looked at.
	pollInterval = 20 * time.Millisecond
)

// originalKey returns the key of the source that a replayed record came from.
func originalKey(key string) string {
	if rest, ok := strings.CutPrefix(key, SourcePrefix); ok {
		if _, original, ok := strings.Cut(rest, "/"); ok {
			return original
		}
	}
	return key
}

// job is a batch that is under way.
type job struct {
	Sink    string          `json:"sink"`
	Source  string          `json:"source"`
	IDs     []uint64        `json:"ids"`
	Streams []record.Stream `json:"streams"`
}

// NewReplayer returns a replayer, and settles what an earlier run was killed in.
// Journal keys of cursors begin with cursorPrefix, the sink's name and a slash.
func NewReplayer(store *Store, journal Journal, cursorPrefix string, targets []Target, logger *slog.Logger) (*Replayer, error) {
	r := &Replayer{
		store: store, journal: journal, cursors: cursorPrefix, logger: logger,
		asked: make(chan Order, 1),
	}
	r.Use(targets)
	for key, value := range journal.All(jobPrefix) {
		var j job
		if err := json.Unmarshal(value, &j); err != nil {
			return nil, fmt.Errorf("read the replay %q that was under way: %w", key, err)
		}
		accepted, err := r.settle(key, j)
		if err != nil {
			return nil, fmt.Errorf("settle the replay of %d dead letters that was under way: %w", len(j.IDs), err)
		}
		logger.Info("replay_settled", "sink", j.Sink, "letters", len(j.IDs), "accepted", accepted)
	}
	return r, nil
}

// settle removes from the store what of a job was accepted, and ends the job.
func (r *Replayer) settle(key string, j job) (int, error) {
	var cursor record.Cursor
	if value, ok := r.journal.Get(r.cursors + j.Sink + "/" + j.Source); ok {
		if err := cursor.UnmarshalBinary(value); err != nil {
			return 0, err
		}
	}
	var accepted []uint64
	var seq [record.NumStreams]uint64
	for i, id := range j.IDs {
		s := j.Streams[i]
		if seq[s]++; seq[s] <= cursor.Streams[s].Seq {
			accepted = append(accepted, id)
		}
	}
	if _, err := r.store.Remove(accepted); err != nil {
		return 0, err
	}
	// The cursor goes with the delivery's Forget where there is one; its spool
	// may still need it.
	if t := r.target(j.Sink); t != nil {
		if err := t.Forget(j.Source); err != nil {
			return 0, err
		}
		return len(accepted), r.journal.Commit(positions.Change{Key: key})
	}
	return len(accepted), r.journal.Commit(
		positions.Change{Key: key}, positions.Change{Key: r.cursors + j.Sink + "/" + j.Source})
}

// Use has letters delivered to the given targets from now on.
func (r *Replayer) Use(targets []Target) { r.targets.Store(&targets) }

func (r *Replayer) target(name string) Target {
	for _, t := range *r.targets.Load() {
		if t.Name() == name {
			return t
		}
	}
	return nil
}

// ErrBusy says that a replay is under way.
var ErrBusy = errors.New("a replay is under way; wait until it has ended")

// Ask begins a replay, which Run carries out, and returns how many letters were
// selected.
func (r *Replayer) Ask(o Order) (int, error) {
	if o.To != "" && r.target(o.To) == nil {
		return 0, fmt.Errorf("there is no sink %q", o.To)
	}
	ids := r.store.IDs(o.Selection)
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.state.Running {
		return 0, ErrBusy
	}
	o.IDs = ids
	if len(ids) > 0 {
		r.asked <- o // there is room: none is running
	}
	r.state = State{Running: len(ids) > 0, Total: len(ids)}
	return len(ids), nil
}

// State returns what is going on.
func (r *Replayer) State() State {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.state
}

// Run carries out what is asked for, until ctx is done.
func (r *Replayer) Run(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case o := <-r.asked:
			err := r.replay(ctx, o)
			r.mu.Lock()
			r.state.Running = false
			if err != nil {
				r.state.Error = err.Error()
			}
			s := r.state
			r.mu.Unlock()
			r.logger.Info("replay_ended", "letters", s.Total, "accepted", s.Accepted, "error", err)
		}
	}
}

// replay delivers the letters of an order, in batches of one source.
func (r *Replayer) replay(ctx context.Context, o Order) error {
	type group struct{ sink, source string }
	for len(o.IDs) > 0 {
		// So many are in memory at once.
		n := min(len(o.IDs), batchLetters)
		letters, err := r.store.Read(o.IDs[:n])
		if err != nil {
			return err
		}
		o.IDs = o.IDs[n:]
		var order []group
		batches := map[group][]Letter{}
		entries := map[uint64]Entry{}
		for _, l := range letters {
			e, err := l.Entry()
			if err != nil {
				return fmt.Errorf("read dead letter %d: %w", l.ID, err)
			}
			entries[l.ID] = e
			g := group{o.To, e.Source.Key}
			if g.sink == "" {
				g.sink = e.Sink
			}
			if batches[g] == nil {
				order = append(order, g)
			}
			batches[g] = append(batches[g], l)
		}
		for _, g := range order {
			t := r.target(g.sink)
			if t == nil {
				return fmt.Errorf("there is no sink %q any more: say to which one its letters go", g.sink)
			}
			if err := r.deliver(ctx, t, batches[g], entries); err != nil {
				return err
			}
		}
	}
	return nil
}

// deliver brings the letters of one source to custody, and removes them.
func (r *Replayer) deliver(ctx context.Context, t Target, letters []Letter, entries map[uint64]Entry) error {
	first := entries[letters[0].ID].Source
	src := *first
	src.Key = fmt.Sprintf("%s%d/%s", SourcePrefix, letters[0].ID, first.Key)
	j := job{Sink: t.Name(), Source: src.Key}
	b := record.NewBatch(&src, 4<<10)
	defer b.Release()
	for i, l := range letters {
		e := entries[l.ID]
		j.IDs = append(j.IDs, l.ID)
		j.Streams = append(j.Streams, e.Stream)
		b.Append(record.Record{Time: e.RecordTime.UnixNano(), Ordinal: e.Ordinal, Stream: e.Stream, Flags: e.Flags}, e.Line)
		a := &b.To.Streams[e.Stream]
		*a = record.Anchor{Seq: a.Seq + 1, AsOf: uint64(i) + 1, Time: e.RecordTime.UnixNano(), Count: e.Ordinal, Hash: record.LineHash(e.Line)}
	}
	key := jobPrefix + src.Key
	value, err := json.Marshal(j)
	if err != nil {
		return err
	}
	if err := t.StartAt(src.Key, record.Cursor{}); err != nil {
		return err
	}
	if err := r.journal.Commit(positions.Change{Key: key, Value: value}); err != nil {
		return err
	}
	if err := t.Enqueue(ctx, b); err != nil {
		if ctx.Err() == nil {
			_, settleErr := r.settle(key, j)
			err = errors.Join(err, settleErr)
		}
		return err // else it is settled at the next start
	}
	for {
		c, _, err := t.Cursor(src.Key)
		if err != nil {
			return err
		}
		if c.Reaches(b.To) {
			break
		}
		if r.target(t.Name()) != t {
			_, err := r.settle(key, j)
			return errors.Join(fmt.Errorf("the sink %q was removed from the configuration", t.Name()), err)
		}
		select {
		case <-ctx.Done():
			return ctx.Err() // settled at the next start
		case <-time.After(pollInterval):
		}
	}
	accepted, err := r.settle(key, j)
	r.mu.Lock()
	r.state.Accepted += accepted
	r.mu.Unlock()
	return err
}
