package localfile

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"log_capturer/internal/record"
)

// Everything that may run at the same time does, and no line is lost or
// repeated by it. The race detector has its say here.
func TestEverythingAtOnce(t *testing.T) {
	w := newWorld(t, func(o *Options) { o.Rotate.MaxBytes, o.Compress = 3000, Zstd })
	s := w.start(nil)
	defer w.stop()
	src := container("web")
	ctx, cancel := context.WithCancel(context.Background())
	var others sync.WaitGroup
	others.Go(func() {
		if err := s.Run(ctx); err != nil {
			t.Error(err)
		}
	})
	for _, work := range []func(){
		func() { s.Group(container("web"), record.Stderr) },
		func() { s.Health() },
		func() { testutil.CollectAndCount(s) },
		func() {
			if err := w.journal.sync(); err != nil {
				t.Error(err)
			}
		},
	} {
		others.Go(func() {
			for ctx.Err() == nil {
				work()
			}
		})
	}
	var want []string
	for i := range 100 {
		text := fmt.Sprint(i)
		w.mustDeliver(lines(src, noon, text, text+"b"))
		want = append(want, text, text+"b")
	}
	cancel()
	others.Wait()
	s.maintain(context.Background())

	var got []string
	files := w.contents()
	active := files["web.log"]
	delete(files, "web.log")
	for _, name := range slices.Sorted(maps.Keys(files)) {
		if !strings.HasSuffix(name, ".log.zst") {
			t.Errorf("%s was not compressed", name)
		}
		got = append(got, textOf(t, files[name])...)
	}
	if got = append(got, textOf(t, active)...); !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	if n := s.counters.rotations.Load(); n != int64(len(files)) || n == 0 {
		t.Errorf("%d rotations, %d files", n, len(files))
	}
}
