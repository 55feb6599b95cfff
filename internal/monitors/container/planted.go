package container

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"io"
	"slices"
	"sync/atomic"
	"time"

	"log_capturer/internal/lifetime"
	"log_capturer/internal/planted"
)

// plantEngine puts an engine that has the fault of this build in the place of e
// (package planted). In a build without one it returns e, and nothing else of
// this file is in the program.
func plantEngine(e Engine) Engine {
	switch planted.Fault {
	case planted.ClientPerCall:
		return plantedClients{e}
	case planted.AbandonedStream, planted.HeartbeatOutlives, planted.OneWaitGroup, planted.UnclosedBody,
		planted.TimerNotStopped, planted.DroppedLine, planted.RepeatedLine:
		return plantedLogs{e}
	}
	return e
}

// plantedClients is an Engine that makes a client for each list, and leaves its
// connection open.
type plantedClients struct{ Engine }

func (e plantedClients) List(ctx context.Context) ([]Info, error) {
	docker, err := NewDocker(e.Address())
	if err != nil {
		return nil, err
	}
	docker.transport.IdleConnTimeout = 0
	return docker.List(ctx)
}

// plantedLogs is an Engine that does something wrong with the logs that it
// opens.
type plantedLogs struct{ Engine }

func (e plantedLogs) Logs(ctx context.Context, id string, opts LogsOptions) (io.ReadCloser, error) {
	forever := context.WithoutCancel(ctx)
	if !opts.Follow {
		if planted.Fault == planted.UnclosedBody {
			// It is neither read nor closed, nor is its request cancelled.
			if _, err := e.Engine.Logs(forever, id, opts); err != nil {
				return nil, err
			}
		}
		return e.Engine.Logs(ctx, id, opts)
	}
	opening := ctx
	if planted.Fault == planted.AbandonedStream {
		opening = forever
	}
	body, err := e.Engine.Logs(opening, id, opts)
	if err != nil {
		return nil, err
	}
	switch planted.Fault {
	case planted.AbandonedStream:
		return plantedAbandon(ctx, body), nil
	case planted.HeartbeatOutlives:
		lifetime.NewGroup(forever).Go("heartbeat", plantedBeat)
	case planted.OneWaitGroup:
		both := lifetime.NewGroup(forever)
		both.Go("heartbeat", plantedBeat)
		return plantedTogether{body, both}, nil
	case planted.TimerNotStopped:
		buffer := make([]byte, 512<<10)
		time.AfterFunc(time.Hour, func() { buffer[0]++ })
	case planted.DroppedLine, planted.RepeatedLine:
		return &plantedFrames{ReadCloser: body, frames: bufio.NewReader(body)}, nil
	}
	return body, nil
}

// plantedBeat is a heartbeat that only its group ends.
func plantedBeat(ctx context.Context) error {
	ticker := time.NewTicker(30 * time.Second)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-ticker.C:
		}
	}
}

// plantedAbandon returns a stream that ends with ctx, and leaves the one that it
// is read from open, with a goroutine that goes on reading.
func plantedAbandon(ctx context.Context, body io.Reader) io.ReadCloser {
	reader, writer := io.Pipe()
	lifetime.NewGroup(context.WithoutCancel(ctx)).Go("stream", func(context.Context) error {
		_, err := io.Copy(plantedDrain{writer}, body)
		return writer.CloseWithError(err)
	})
	context.AfterFunc(ctx, func() { _ = reader.CloseWithError(ctx.Err()) })
	return reader
}

// plantedDrain is a pipe that takes everything when nobody reads it any more.
type plantedDrain struct{ *io.PipeWriter }

func (d plantedDrain) Write(b []byte) (int, error) {
	_, _ = d.PipeWriter.Write(b)
	return len(b), nil
}

// plantedTogether is a stream whose end is waited for together with that of a
// heartbeat.
type plantedTogether struct {
	io.ReadCloser
	both *lifetime.Group
}

func (b plantedTogether) Close() error {
	_ = b.ReadCloser.Close()
	return b.both.Wait()
}

// plantedFrames is a stream, of a container without a TTY, that drops or repeats
// one frame in a thousand.
type plantedFrames struct {
	io.ReadCloser
	frames *bufio.Reader
	rest   []byte
}

// plantedCount counts the frames of all streams.
var plantedCount atomic.Int64

func (f *plantedFrames) Read(p []byte) (int, error) {
	for len(f.rest) == 0 {
		header := make([]byte, 8)
		if _, err := io.ReadFull(f.frames, header); err != nil {
			return 0, err
		}
		frame := make([]byte, 8+binary.BigEndian.Uint32(header[4:]))
		copy(frame, header)
		if _, err := io.ReadFull(f.frames, frame[8:]); err != nil {
			return 0, err
		}
		switch strange := plantedCount.Add(1)%1000 == 0; {
		case strange && planted.Fault == planted.DroppedLine:
		case strange && planted.Fault == planted.RepeatedLine:
			f.rest = slices.Concat(frame, plantedLater(frame))
		default:
			f.rest = frame
		}
	}
	n := copy(p, f.rest)
	f.rest = f.rest[n:]
	return n, nil
}

// plantedLater returns a copy of a frame whose line has another time, by some
// nanoseconds: what the engine sends twice with one time is left out.
func plantedLater(frame []byte) []byte {
	later := slices.Clone(frame)
	if zone := bytes.IndexByte(later[8:], 'Z') + 8; later[zone-1] < '9' {
		later[zone-1]++
	}
	return later
}
