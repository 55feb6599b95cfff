package app

import (
	"errors"

	"log_capturer/internal/deadletter"
	"log_capturer/internal/server"
)

// The directories under data_dir that commands look into as well.
const (
	DeadLettersDir = "dead-letters"
	SpoolDir       = "spool"
)

// letters shows the dead letters to the API.
type letters struct{ *app }

// List returns the selected letters, oldest first, at most limit of them, and
// how many there are in all.
func (l letters) List(sel server.Selection, limit int) ([]server.Letter, int, error) {
	ids := l.deadLetters.IDs(deadletter.Selection(sel))
	total := len(ids)
	if limit > 0 && len(ids) > limit {
		ids = ids[:limit]
	}
	found, err := l.deadLetters.Read(ids)
	out := make([]server.Letter, 0, len(found))
	for _, f := range found {
		out = append(out, server.Letter(f))
	}
	return out, total, err
}

// Purge removes the selected letters.
func (l letters) Purge(sel server.Selection) (int, error) {
	return l.deadLetters.Remove(l.deadLetters.IDs(deadletter.Selection(sel)))
}

// Replay begins to deliver the selected letters, to the sink named or, for an
// empty name, to those that they were for.
func (l letters) Replay(sel server.Selection, to string) (int, error) {
	n, err := l.replayer.Ask(deadletter.Order{Selection: deadletter.Selection(sel), To: to})
	if errors.Is(err, deadletter.ErrBusy) {
		err = errors.Join(server.ErrBusy, err)
	}
	return n, err
}

// Replaying says what has become of the last replay.
func (l letters) Replaying() server.Replay { return server.Replay(l.replayer.State()) }
