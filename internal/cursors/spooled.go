package cursors

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"log_capturer/internal/spool"
	"log_capturer/internal/vfs"
)

// Spooled says of which sources the spools have records. A position cannot be
// moved while one has: what it holds is numbered as the source was read then, and
// its delivery would move the new position to where the old one was.
type Spooled struct {
	root    string
	records map[string]map[string]uint64 // by sink and source
}

// FindSpooled reads the spools in the data directory of an agent that does not run.
func FindSpooled(dataDir string) (Spooled, error) {
	s := Spooled{root: filepath.Join(dataDir, "spool"), records: map[string]map[string]uint64{}}
	entries, err := os.ReadDir(s.root)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return Spooled{}, fmt.Errorf("list spools: %w", err)
	}
	for _, e := range entries {
		if s.records[e.Name()], err = spool.Sources(vfs.OS{}, filepath.Join(s.root, e.Name())); err != nil {
			return Spooled{}, err
		}
	}
	return s, nil
}

// allows returns an error for a position that cannot be moved.
func (s Spooled) allows(p *Position) error {
	if n := s.records[p.Sink][p.Source]; n > 0 {
		return fmt.Errorf("the spool of sink %q has %d records of %s: let the agent run until the spool is empty, or give up all that it holds by removing %s",
			p.Sink, n, p.Source, filepath.Join(s.root, p.Sink))
	}
	return nil
}
