package dispatcher_test

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"log_capturer/internal/config"
	"log_capturer/internal/delivery"
	"log_capturer/internal/delivery/deliverytest"
	"log_capturer/internal/dispatcher"
	"log_capturer/internal/lifetime"
	"log_capturer/internal/pipeline"
	"log_capturer/internal/record"
	"log_capturer/internal/record/recordtest"
)

// table compiles the pipeline of stages for every source, with the sinks
// local_file and stdout.
func table(t interface{ Fatal(...any) }, stages string) *pipeline.Table {
	text := "sinks: [{type: local_file}, {type: stdout}]\npipelines:\n- name: p\n  select: {names: ['*']}\n  stages:\n" + stages
	cfg, err := config.Parse("test", []byte(text), func(string) (string, bool) { return "", false })
	if err != nil {
		t.Fatal(err)
	}
	table, err := cfg.CompilePipelines(pipeline.NewMetrics())
	if err != nil {
		t.Fatal(err)
	}
	return table
}

// joining drops some lines, joins others, and sends stderr's to one sink alone.
const joining = `
  - {type: filter, drop: 'line contains "drop"'}
  - {type: multiline, continuation: '^ ', max_lines: 4, max_wait: 1s}
  - {type: route, default: all, rules: [{if: stream == "stderr", sinks: [stdout]}]}
`

// agentLife is one run of a processor and what is behind it.
type agentLife struct {
	processor  *dispatcher.Processor
	deliveries []*delivery.Delivery
	sinks      []*deliverytest.Destination
	group      *lifetime.Group
}

func startLife(t *testing.T, journal *deliverytest.Journal, stages string) *agentLife {
	l := &agentLife{group: lifetime.NewGroup(context.Background())}
	for _, name := range []string{"local_file", "stdout"} {
		destination := &deliverytest.Destination{}
		d := delivery.New(options(name, destination, journal, noDeadLetters{t}))
		l.deliveries, l.sinks = append(l.deliveries, d), append(l.sinks, destination)
	}
	l.processor = dispatcher.NewProcessor(dispatcher.New(l.deliveries), table(t, stages), slog.New(slog.DiscardHandler))
	for _, d := range l.deliveries {
		l.group.Go("delivery", d.Run)
	}
	return l
}

// TestProcessedOnce kills and restarts an agent whose pipeline drops, joins and
// routes: each line that is not dropped reaches each of its sinks once, in the
// order of its stream, whatever was held, in flight or refused.
func TestProcessedOnce(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		var verdict string
		synctest.Test(t, func(t *testing.T) {
			log := drawLines(r)
			journal := deliverytest.NewJournal()
			taken := make([][]deliverytest.Record, 2)
			finish := func(l *agentLife) {
				for i, sink := range l.sinks {
					taken[i] = append(taken[i], sink.Taken()...)
				}
			}
			for lives := rapid.IntRange(0, 4).Draw(r, "lives"); lives > 0; lives-- {
				l := startLife(t, journal, joining)
				var ups []chan struct{}
				for _, sink := range l.sinks {
					if rapid.Bool().Draw(r, "down") {
						ups = append(ups, down(sink))
					}
				}
				reader := resumed(t, l, log)
				for range rapid.IntRange(0, 8).Draw(r, "batches") {
					batch := reader.Next(rapid.IntRange(1, 5).Draw(r, "size"))
					if batch == nil {
						break
					}
					ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
					if err := l.processor.Accept(ctx, batch); err != nil {
						reader.Back() // as a monitor does
					}
					cancel()
					if rapid.IntRange(0, 5).Draw(r, "end") == 0 {
						l.processor.Ended(log.Source.Key)
					}
					if rapid.IntRange(0, 3).Draw(r, "pause") == 0 {
						time.Sleep(2 * time.Second)
						ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
						_ = l.processor.Flush(ctx)
						cancel()
					}
					if len(ups) > 0 && rapid.IntRange(0, 4).Draw(r, "up") == 0 {
						close(ups[0])
						ups = ups[1:]
					}
				}
				synctest.Wait()
				l.group.Cancel()
				if err := l.group.Wait(); err != nil {
					t.Error(err)
				}
				finish(l)
			}
			last := startLife(t, journal, joining)
			reader := resumed(t, last, log)
			for batch := reader.Next(3); batch != nil; batch = reader.Next(3) {
				if err := last.processor.Accept(t.Context(), batch); err != nil {
					t.Error(err)
				}
			}
			time.Sleep(2 * time.Second)
			if err := last.processor.Flush(t.Context()); err != nil {
				t.Error(err)
			}
			synctest.Wait()
			checkCursors(t, last, log)
			for _, d := range last.deliveries {
				d.CloseInput()
			}
			if err := last.group.Wait(); err != nil {
				t.Error(err)
			}
			finish(last)
			for i, records := range taken {
				for stream := range record.Stream(record.NumStreams) {
					want := wanted(log, i, stream)
					if got := linesOf(records, stream); !slices.Equal(got, want) {
						verdict += fmt.Sprintf("sink %d has of %v\n%q, want\n%q\n", i, stream, got, want)
					}
				}
			}
		})
		if verdict != "" {
			r.Fatal(verdict)
		}
	})
}

// drawLines draws a log of lines that are dropped, that continue others, and
// that stand alone.
func drawLines(r *rapid.T) *recordtest.Log {
	log := recordtest.NewLog("container/1")
	log.Source.ContainerName = "app"
	for i := range rapid.IntRange(1, 40).Draw(r, "lines") {
		line := rapid.SampledFrom([]string{"line %d", " more %d", "drop %d"}).Draw(r, "kind")
		log.Write(record.Stream(rapid.IntRange(0, 1).Draw(r, "stream")), int64(1e18)+int64(i/2), fmt.Sprintf(line, i))
	}
	return log
}

func resumed(t *testing.T, l *agentLife, log *recordtest.Log) *recordtest.Reader {
	t.Helper()
	known, err := l.processor.Resume(log.Source.Key, record.Cursor{})
	if err != nil {
		t.Fatal(err)
	}
	return log.Read(known...)
}

// wanted returns the lines of a stream that a sink is to have.
func wanted(log *recordtest.Log, sink int, stream record.Stream) []string {
	var want []string
	for _, line := range log.Lines(stream) {
		if !strings.Contains(line, "drop") && (sink == 1 || stream == record.Stdout) {
			want = append(want, line)
		}
	}
	return want
}

// linesOf returns the single lines of the records of a stream.
func linesOf(records []deliverytest.Record, stream record.Stream) []string {
	var lines []string
	for _, r := range records {
		if r.Stream == stream {
			lines = append(lines, strings.Split(r.Line, "\n")...)
		}
	}
	return lines
}

// checkCursors says that with nothing held or in flight each sink's cursor is
// at the log's end, also past records that were dropped or went elsewhere.
func checkCursors(t *testing.T, l *agentLife, log *recordtest.Log) {
	t.Helper()
	for i, d := range l.deliveries {
		c, known, err := d.Cursor(log.Source.Key)
		if err != nil || !known {
			t.Errorf("sink %d: %v, %v", i, known, err)
		}
		if err := log.Check(c); err != nil {
			t.Errorf("sink %d: %v", i, err)
		}
		for stream := range record.Stream(record.NumStreams) {
			if got, want := c.Streams[stream].Seq, uint64(len(log.Lines(stream))); got != want {
				t.Errorf("sink %d: the cursor is at %d of %d lines of %v", i, got, want, stream)
			}
		}
	}
}

// A batch that no stage changes is passed on as it is.
func TestUnchangedBatchesArePassedOn(t *testing.T) {
	f := func(stages string, want bool) {
		t.Helper()
		synctest.Test(t, func(t *testing.T) {
			l := startLife(t, deliverytest.NewJournal(), stages)
			log := recordtest.NewLog("container/1").Fill(10)
			log.Source.ContainerName = "app"
			batch := resumed(t, l, log).Next(10)
			batch.Retain(1)
			var passed atomic.Int32
			for _, sink := range l.sinks {
				sink.Answer = func(_ context.Context, a deliverytest.Attempt) error {
					if a.Request.Parts[0].Batch == batch {
						passed.Add(1)
					}
					return nil
				}
			}
			if err := l.processor.Accept(t.Context(), batch); err != nil {
				t.Error(err)
			}
			synctest.Wait()
			if same := passed.Load() == 2; same != want {
				t.Errorf("%s: the batch was passed on is %v, want %v", stages, same, want)
			}
			for _, d := range l.deliveries {
				d.CloseInput()
			}
			if err := l.group.Wait(); err != nil {
				t.Error(err)
			}
			batch.Release()
		})
	}
	f("  - {type: filter, drop: 'line contains \"nothing\"'}\n  - {type: redact, presets: [email, card]}\n", true)
	f("  - {type: level, default: info}\n", false)
	f("  - {type: filter, drop: 'line contains \"9\"'}\n", false)
}

// What is held of a source that has ended goes on at once, and every cursor with
// it. Lines of another run are not joined to it, and none comes twice.
func TestEndedSourcesHoldNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const stages = "  - {type: multiline, continuation: '^ ', max_wait: 1h}\n  - {type: collapse, window: 1h}\n"
		journal := deliverytest.NewJournal()
		l := startLife(t, journal, stages)
		processor := lifetime.NewGroup(t.Context())
		processor.Go("dispatcher", l.processor.Run)
		log := recordtest.NewLog("container/1")
		log.Source.ContainerName = "app"
		other := recordtest.NewLog("container/2")
		other.Source.ContainerName = "other"
		for i, line := range []string{"panic", " at a", "panic", " at a", " at b"} {
			log.Write(record.Stdout, int64(i), line)
			other.Write(record.Stdout, int64(i), line)
		}
		log.Write(record.Stderr, 9, "alone")
		began := time.Now()
		read := func(log *recordtest.Log) *recordtest.Reader {
			reader := resumed(t, l, log)
			for batch := reader.Next(4); batch != nil; batch = reader.Next(4) {
				if err := l.processor.Accept(t.Context(), batch); err != nil {
					t.Error(err)
				}
			}
			return reader
		}
		reader := read(log)
		read(other)
		time.Sleep(time.Minute)
		l.processor.Ended("container/unknown")
		synctest.Wait()
		want := func(source string, stream record.Stream, lines ...string) {
			t.Helper()
			for i, sink := range l.sinks {
				if got := sink.TakenOf(source, stream); !slices.Equal(got, lines) {
					t.Errorf("after %v sink %d has taken of %s %q, want %q", time.Since(began), i, source, got, lines)
				}
			}
		}
		want(log.Source.Key, record.Stdout, "panic\n at a")
		want(log.Source.Key, record.Stderr)
		l.processor.Ended(log.Source.Key)
		synctest.Wait()
		if passed := time.Since(began); passed != time.Minute {
			t.Errorf("it took %v", passed-time.Minute)
		}
		want(log.Source.Key, record.Stdout, "panic\n at a", "panic\n at a\n at b")
		want(log.Source.Key, record.Stderr, "alone")
		want(other.Source.Key, record.Stdout, "panic\n at a")
		checkCursors(t, l, log)

		// Another run, that begins before anybody has looked at the end.
		processor.Cancel()
		if err := processor.Wait(); err != nil {
			t.Error(err)
		}
		for i, line := range []string{"begun", " of the last run", " of this run", "next"} {
			log.Write(record.Stdout, int64(10+i), line)
		}
		for _, n := range []int{2, 2} {
			if err := l.processor.Accept(t.Context(), reader.Next(n)); err != nil {
				t.Error(err)
			}
			l.processor.Ended(log.Source.Key)
		}
		if err := l.processor.Flush(t.Context()); err != nil {
			t.Error(err)
		}
		synctest.Wait()
		want(log.Source.Key, record.Stdout, "panic\n at a", "panic\n at a\n at b", "begun\n of the last run", " of this run", "next")
		checkCursors(t, l, log)
		for _, d := range l.deliveries {
			d.CloseInput()
		}
		if err := l.group.Wait(); err != nil {
			t.Error(err)
		}
	})
}

// audience keeps what it is shown.
type audience struct {
	watched bool
	lines   []string
	levels  map[string]int
}

func (a *audience) Watched() bool { return a.watched }

func (a *audience) Publish(b *record.Batch) {
	for i := range b.Records {
		r := &b.Records[i]
		a.lines = append(a.lines, r.Stream.String()+" "+string(b.Line(r)))
		if d := b.Derivation(r); d != nil {
			a.levels[d.Level]++
		}
	}
}

// Who watches is shown what comes out of a pipeline, all of it once and in
// order, also where it is the sources that have none; who does not is not.
func TestTheAudienceSeesWhatComesOut(t *testing.T) {
	f := func(stages, name string, want []string, levels map[string]int) {
		t.Helper()
		synctest.Test(t, func(t *testing.T) {
			l := startLife(t, deliverytest.NewJournal(), stages)
			a := &audience{levels: map[string]int{}}
			l.processor.ShowTo(a)
			log := recordtest.NewLog("container/1")
			log.Source.ContainerName = name
			for i, line := range []string{"before", "one", " more", "drop", "two"} {
				log.Write(record.Stdout, int64(i), line)
			}
			log.Write(record.Stderr, 9, "bad")
			reader := resumed(t, l, log)
			for _, n := range []int{1, 2, 10} {
				if err := l.processor.Accept(t.Context(), reader.Next(n)); err != nil {
					t.Error(err)
				}
				a.watched = true
			}
			time.Sleep(time.Minute)
			if err := l.processor.Flush(t.Context()); err != nil {
				t.Error(err)
			}
			for _, d := range l.deliveries {
				d.CloseInput()
			}
			if err := l.group.Wait(); err != nil {
				t.Error(err)
			}
			if !slices.Equal(a.lines, want) || !maps.Equal(a.levels, levels) {
				t.Errorf("shown %q with levels %v, want %q with %v", a.lines, a.levels, want, levels)
			}
		})
	}
	all := []string{"stdout one", "stdout  more", "stdout drop", "stdout two", "stderr bad"}
	none := map[string]int{}
	f("  - {type: level, default: info}\n", "", all, none) // not selected
	f("  - {type: filter, drop: 'line contains \"nothing\"'}\n", "app", all, none)
	f(joining+"  - {type: level, default: info}\n", "app",
		[]string{"stdout before", "stdout one\n more", "stdout two", "stderr bad"}, map[string]int{"info": 4})
}

// What a stage holds goes on when it was held for long enough, also when nothing
// else comes: Run sees to it, however long it had nothing to do before.
func TestRunSendsWhatIsHeld(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := startLife(t, deliverytest.NewJournal(), "\n  - {type: multiline, continuation: '^ ', max_wait: 1s}\n")
		l.group.Go("dispatcher", l.processor.Run)
		log := recordtest.NewLog("container/1")
		log.Source.ContainerName = "app"
		for i, line := range []string{"one", " and on", "two"} {
			log.Write(record.Stdout, int64(i), line)
		}
		reader := resumed(t, l, log)
		for _, step := range []struct {
			lines int
			want  []string
		}{{2, []string{"one", " and on"}}, {1, []string{"one", " and on", "two"}}} {
			time.Sleep(time.Hour)
			if err := l.processor.Accept(t.Context(), reader.Next(step.lines)); err != nil {
				t.Fatal(err)
			}
			time.Sleep(2 * time.Second)
			synctest.Wait()
			for i, sink := range l.sinks {
				if got := linesOf(sink.Taken(), record.Stdout); !slices.Equal(got, step.want) {
					t.Errorf("sink %d has %q, want %q", i, got, step.want)
				}
			}
		}
		l.group.Cancel()
		if err := l.group.Wait(); err != nil {
			t.Error(err)
		}
	})
}
