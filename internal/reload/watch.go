package reload

import (
	"context"
	"os"
	"time"
)

const (
	// lookInterval is how often the file is looked at. That is cheap, and true
	// whatever an editor does: most put another file in its place.
	lookInterval = 250 * time.Millisecond
	// stillFor is how long a file must not have changed, so that one that is being
	// written is not read.
	stillFor = time.Second
)

// watch asks for a reload when the file was changed and has been still for a while.
func (r *Reloads) watch(ctx context.Context) error {
	ticker := time.NewTicker(lookInterval)
	defer ticker.Stop()
	loaded := lookAt(r.opts.Path)
	seen, since := loaded, time.Now()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
		now := lookAt(r.opts.Path)
		switch {
		case !now.same(seen):
			seen, since = now, time.Now()
		case now.there() && !now.same(loaded) && time.Since(since) >= stillFor:
			loaded = now
			r.Ask(ByFile)
		}
	}
}

// look is what is seen of a file, without reading it.
type look struct{ info os.FileInfo }

func lookAt(path string) look {
	info, err := os.Stat(path)
	if err != nil {
		return look{}
	}
	return look{info}
}

func (l look) there() bool { return l.info != nil }

// same reports whether two looks have seen the same file with the same content.
func (l look) same(other look) bool {
	if !l.there() || !other.there() {
		return l.there() == other.there()
	}
	return os.SameFile(l.info, other.info) && l.info.Size() == other.info.Size() && l.info.ModTime().Equal(other.info.ModTime())
}
