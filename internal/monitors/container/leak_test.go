package container

import (
	"context"
	"fmt"
	"io"
	"runtime"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"log_capturer/internal/record"
	"log_capturer/internal/testkit/fakeengine"
)

// rotateALot captures with short leases until a number of rotations was made,
// ends the monitor, and returns what goleak finds of goroutines that were not
// there before. It counts goroutines on the way.
func rotateALot(t *testing.T, rotations float64, wrap func(Engine) Engine) error {
	before := goleak.IgnoreCurrent()
	r := newRig(t, fakeengine.Options{})
	r.options.Engine = wrap(r.spy)
	r.options.MaxStreams = 3
	r.options.RotationInterval = 20 * time.Millisecond
	for range 5 {
		r.add(fakeengine.Config{})
	}
	r.start()
	n := 0
	say := func() {
		n++
		for _, c := range r.containers {
			c.say(record.Stream(n%2), time.Now(), fmt.Sprint("line ", n))
		}
	}
	rotated := func(want float64) func() bool {
		return func() bool { say(); return r.value("log_capturer_stream_rotations_total") >= want }
	}
	r.eventually("the first rotations", rotated(50))
	r.complete()
	early := runtime.NumGoroutine()
	r.eventually("all rotations", rotated(rotations))
	r.complete()
	t.Logf("%d goroutines after 50 rotations, %d after %v; streams %+v", early, runtime.NumGoroutine(), rotations, r.engine.Streams())
	if most := r.engine.Streams().Max; most > 3+1 {
		// The engine notices the end of one after it has begun the next.
		t.Logf("%d streams were open at once on 3 leases", most)
	}
	r.exact()
	r.healthy()
	r.cancel()
	r.cancel = nil
	if err := <-r.ended; err != nil {
		t.Errorf("run monitor: %v", err)
	}
	if err := r.docker.Close(); err != nil {
		t.Errorf("close client: %v", err)
	}
	streams := func() error {
		if n := r.engine.Streams().Open; n != 0 {
			return fmt.Errorf("%d streams are open at the end", n)
		}
		return nil
	}
	// The engine itself stays: its goroutines end with its connections.
	end := time.Now().Add(leakPatience)
	for streams() != nil && time.Now().Before(end) {
		runtime.Gosched()
	}
	err := streams()
	r.engine.Down()
	if leak := goleak.Find(before); leak != nil && err == nil {
		err = leak
	}
	return err
}

// leakPatience is how long the engine may take to notice the end of a stream.
const leakPatience = 2 * time.Second

func TestRotationsLeaveNothingBehind(t *testing.T) {
	if err := rotateALot(t, 500, func(e Engine) Engine { return e }); err != nil {
		t.Error(err)
	}
}

// TestPlantedLeakIsSeen is the positive control of the test above.
func TestPlantedLeakIsSeen(t *testing.T) {
	left := &leftovers{}
	err := rotateALot(t, 60, func(e Engine) Engine { return abandoning{e, left} })
	left.end()
	if err == nil {
		t.Error("streams were abandoned, and nothing was seen")
	}
	t.Logf("seen: %.120v", err)
}

// abandoning is an Engine whose streams stay open when they are closed and
// their context ends: the rotation that leaves its stream behind.
type abandoning struct {
	Engine
	left *leftovers
}

type leftovers struct {
	mu      sync.Mutex
	streams []io.Closer
	readers sync.WaitGroup
}

// end closes the streams after all.
func (l *leftovers) end() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, s := range l.streams {
		s.Close()
	}
	l.readers.Wait()
}

func (e abandoning) Logs(ctx context.Context, id string, opts LogsOptions) (io.ReadCloser, error) {
	body, err := e.Engine.Logs(context.WithoutCancel(ctx), id, opts)
	if err != nil {
		return nil, err
	}
	e.left.mu.Lock()
	e.left.streams = append(e.left.streams, body)
	e.left.mu.Unlock()
	reads := make(chan read)
	e.left.readers.Go(func() {
		defer close(reads)
		for {
			buffer := make([]byte, 4096)
			n, err := body.Read(buffer)
			select {
			case reads <- read{buffer[:n], err}:
			case <-ctx.Done():
			}
			if err != nil {
				return
			}
		}
	})
	return &abandoned{ctx: ctx, reads: reads}, nil
}

type read struct {
	data []byte
	err  error
}

type abandoned struct {
	ctx   context.Context
	reads chan read
	rest  []byte
	err   error
}

func (a *abandoned) Read(p []byte) (int, error) {
	if len(a.rest) == 0 && a.err == nil {
		select {
		case r := <-a.reads:
			a.rest, a.err = r.data, r.err
		case <-a.ctx.Done():
			return 0, a.ctx.Err()
		}
	}
	n := copy(p, a.rest)
	a.rest = a.rest[n:]
	if n == 0 {
		return 0, a.err
	}
	return n, nil
}

// Close does nothing.
func (a *abandoned) Close() error { return nil }
