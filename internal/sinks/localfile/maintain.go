package localfile

import (
	"context"
	"errors"
	"fmt"
	"time"
)

const (
	// maintenanceInterval is the time between two looks at idle files.
	maintenanceInterval = 5 * time.Second
	// idleTime is how long a file stays open that nothing is written to.
	idleTime = time.Minute
	// compressPause is the time after a failed compression before the next one:
	// it costs as much as one that succeeds.
	compressPause = time.Minute
)

// Run closes idle files, compresses closed ones and deletes those past their
// retention, until ctx is cancelled; then it closes all files. None of it holds
// up Send for longer than a rename takes.
func (s *Sink) Run(ctx context.Context) error {
	ticker := time.NewTicker(maintenanceInterval)
	defer ticker.Stop()
	defer func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.closeIdle(s.now())
	}()
	for {
		s.maintain(ctx)
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		case <-s.wake:
		}
	}
}

// maintain does all that is due.
func (s *Sink) maintain(ctx context.Context) {
	s.mu.Lock()
	s.closeIdle(s.now().Add(-idleTime))
	s.rotateIdle()
	s.mu.Unlock()

	s.retain(ctx)
	for ctx.Err() == nil && !s.now().Before(s.compressAfter) {
		path, c, ok := s.nextToCompress()
		if !ok {
			return
		}
		if err := s.compress(ctx, path, c); err != nil && ctx.Err() == nil {
			s.maintenanceFailed(opCompress, explain(err))
			s.compressAfter = s.now().Add(compressPause)
		}
		s.retain(ctx)
	}
}

// rotateIdle closes the files that are over. One with a request that is not
// committed yet is left for the next time.
func (s *Sink) rotateIdle() {
	for _, f := range s.active {
		if f.entry.closing == "" && (!s.isOver(f) || !s.isSettled(f)) {
			continue
		}
		if err := s.rotateNow(f); err != nil {
			s.maintenanceFailed(opRotate, explain(fmt.Errorf("rotate %q: %w", f.path, err)))
		}
	}
}

func (s *Sink) rotateNow(f *activeFile) error {
	if f.entry.closing != "" {
		return s.finishRotation(f)
	}
	switch err := s.reconcile(f); {
	case errors.Is(err, errAbsent):
		return s.drop(f)
	case err != nil:
		return err
	}
	return s.rotate(f)
}
