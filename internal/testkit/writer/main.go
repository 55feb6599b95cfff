// Command writer is what runs in the containers of the tests: it writes numbered
// lines, or the exact bytes of a script, to its stdout and stderr.
//
// It is a static program that needs nothing in its image but itself.
//
// When it is told to stop (SIGTERM or SIGINT), it finishes the current line,
// writes to each stream how many lines it wrote there, and exits with status 0.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"time"

	"log_capturer/internal/record"
	"log_capturer/internal/testkit/numbered"
	"log_capturer/internal/testkit/script"
)

func main() {
	code, err := run()
	if err != nil {
		fmt.Fprintln(os.Stderr, "writer:", err)
		code = 2
	}
	os.Exit(code)
}

// options are the command line.
type options struct {
	lines     uint64
	rate      float64
	streams   string
	sizes     []int
	alphabet  numbered.Alphabet
	runID     string
	countFile string
	duration  time.Duration
	exit      int
	hold      bool
	script    string
	proceed   string
}

func parseOptions() (options, error) {
	var o options
	var sizes, payload string
	flag.Uint64Var(&o.lines, "lines", 0, "`lines` to write to each stream; 0 for no end")
	flag.Float64Var(&o.rate, "rate", 0, "`lines` a second on each stream; 0 for as many as possible")
	flag.DurationVar(&o.duration, "duration", 0, "stop after this time; 0 for never")
	flag.StringVar(&o.streams, "streams", "out", "out, err or both")
	flag.StringVar(&sizes, "size", "120", "length of the lines in `bytes`; a list with commas is taken in turn")
	flag.StringVar(&payload, "payload", "ascii", "ascii or mixed")
	flag.StringVar(&o.runID, "run-id", "", "`name` of the run in the lines (by default the time of the start)")
	flag.StringVar(&o.countFile, "count-file", "", "`file` to keep the counts in; the run is then named by the number of the start too")
	flag.IntVar(&o.exit, "exit", 0, "exit `status` after the last line")
	flag.BoolVar(&o.hold, "hold", false, "stay alive after the last line until told to stop")
	flag.StringVar(&o.script, "script", "", "write what this `script` says instead")
	flag.StringVar(&o.proceed, "proceed-file", "", "`file` whose length is the number of the script's waits that are over")
	flag.Parse()
	if flag.NArg() > 0 {
		return o, fmt.Errorf("unknown argument %q", flag.Arg(0))
	}
	if o.runID == "" {
		o.runID = "t" + strconv.FormatInt(time.Now().UnixNano(), 36)
	}
	for part := range strings.SplitSeq(sizes, ",") {
		n, err := strconv.Atoi(part)
		if err != nil || n < 0 {
			return o, fmt.Errorf("bad -size %q", sizes)
		}
		o.sizes = append(o.sizes, n)
	}
	switch payload {
	case "ascii":
	case "mixed":
		o.alphabet = numbered.Mixed
	default:
		return o, fmt.Errorf("bad -payload %q", payload)
	}
	return o, nil
}

func run() (code int, err error) {
	o, err := parseOptions()
	if err != nil {
		return 0, err
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	if o.duration > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, o.duration)
		defer cancel()
	}
	if o.script != "" {
		err = play(ctx, o.script, o.proceed)
	} else {
		err = write(ctx, o)
	}
	if err != nil {
		return 0, err
	}
	if o.hold {
		<-ctx.Done()
	}
	if ctx.Err() != nil {
		return 0, nil
	}
	return o.exit, nil
}

// write writes numbered lines until all are written or ctx ends.
func write(ctx context.Context, o options) error {
	streams, ok := map[string][]record.Stream{
		"out": {record.Stdout}, "err": {record.Stderr}, "both": {record.Stdout, record.Stderr},
	}[o.streams]
	if !ok {
		return fmt.Errorf("bad -streams %q", o.streams)
	}
	var counter *numbered.Counter
	run := o.runID
	if o.countFile != "" {
		var err error
		if counter, err = numbered.OpenCounts(o.countFile); err != nil {
			return err
		}
		run = numbered.RunOf(run, counter.Start())
	}
	// A writer of thousands of lines a second sleeps a hundred times.
	burst := max(1, uint64(o.rate)/100)
	begin := time.Now()
	var written [record.NumStreams]uint64
	var buf []byte
	for n := uint64(1); (o.lines == 0 || n <= o.lines) && ctx.Err() == nil; n++ {
		if o.rate > 0 && (n-1)%burst == 0 && !waitUntil(ctx, begin.Add(time.Duration(float64(n-1)/o.rate*float64(time.Second)))) {
			break
		}
		for _, s := range streams {
			buf = numbered.Append(buf[:0], run, s, n, o.sizes[n%uint64(len(o.sizes))], o.alphabet)
			if err := writeAll(s, append(buf, '\n')); err != nil {
				return err
			}
			written[s] = n
			if counter != nil {
				counter.Set(s, n)
			}
		}
	}
	if o.hold {
		<-ctx.Done()
	}
	if ctx.Err() == nil {
		return nil
	}
	for _, s := range streams {
		if err := writeAll(s, append(numbered.AppendEnd(buf[:0], run, s, written[s]), '\n')); err != nil {
			return err
		}
	}
	return nil
}

// play carries out a script.
func play(ctx context.Context, arg, proceedFile string) error {
	steps, err := script.Parse(arg)
	if err != nil {
		return err
	}
	var waits int64
	for _, step := range steps {
		if step.Wait {
			waits++
			if ok, err := waitForLength(ctx, proceedFile, waits); !ok {
				return err
			}
		}
		if step.Sleep > 0 && !waitUntil(ctx, time.Now().Add(step.Sleep)) {
			return nil
		}
		if len(step.Data) > 0 {
			if err := writeAll(step.Stream, step.Bytes()); err != nil {
				return err
			}
		}
	}
	return nil
}

// waitForLength waits until a file has n bytes, and reports whether ctx let it.
func waitForLength(ctx context.Context, path string, n int64) (bool, error) {
	for {
		info, err := os.Stat(path)
		if err != nil {
			return false, fmt.Errorf("wait to proceed: %w", err)
		}
		if info.Size() >= n {
			return true, nil
		}
		if !waitUntil(ctx, time.Now().Add(5*time.Millisecond)) {
			return false, nil
		}
	}
}

// waitUntil waits for a moment, and reports whether ctx let it.
func waitUntil(ctx context.Context, t time.Time) bool {
	d := time.Until(t)
	if d <= 0 {
		return true
	}
	select {
	case <-time.After(d):
		return true
	case <-ctx.Done():
		return false
	}
}

// writeAll writes b to a stream. It calls write(2) itself: os.File would turn a
// closed pipe into a signal, and hide how many calls it takes.
func writeAll(stream record.Stream, b []byte) error {
	for len(b) > 0 {
		n, err := syscall.Write(1+int(stream), b)
		switch {
		case err == syscall.EINTR || err == syscall.EAGAIN:
			continue
		case err != nil:
			return fmt.Errorf("write to %v: %w", stream, err)
		}
		b = b[n:]
	}
	return nil
}
