package container

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"log_capturer/internal/record"
	"log_capturer/internal/testkit/fakeengine"
)

// TestEndsAreTold sees that the dispatcher is told of the end of each run of a
// container when all of its lines were handed over, whether it stops or is
// removed, and not before.
func TestEndsAreTold(t *testing.T) {
	t.Parallel()
	f := func(transport Transport) {
		t.Run(string(transport), func(t *testing.T) {
			t.Parallel()
			r, _ := newFileRig(t)
			r.options.Transport = transport
			stops, removed := r.add(fakeengine.Config{}), r.add(fakeengine.Config{})
			r.start()
			at := time.Now()
			told := func(c *speaker, lines ...int) {
				t.Helper()
				var want []string
				for _, n := range lines {
					want = append(want, fmt.Sprintf("%s%s after %d", keyPrefix, c.ID(), n))
				}
				r.eventually(fmt.Sprintf("%s has ended %v", c.Name(), want), func() bool {
					r.recorder.mu.Lock()
					defer r.recorder.mu.Unlock()
					// A run may be said to have ended more than once.
					return slices.Equal(slices.Compact(of(r.recorder.ends, keyPrefix+c.ID())), want)
				})
			}
			for _, c := range r.containers {
				c.say(record.Stdout, at, "one")
				c.say(record.Stderr, at, "two", "three")
			}
			r.complete()
			told(stops)
			stops.Append(fakeengine.Entry{Stream: record.Stdout, Time: at.Add(1), Data: []byte("no end")})
			stops.expect(record.Stdout, at.Add(1), "no end", record.Unterminated)
			stops.Exit(0)
			told(stops, 4)
			stops.Start()
			stops.say(record.Stdout, at.Add(2), "second run")
			r.complete()
			told(stops, 4)
			stops.Exit(0)
			told(stops, 4, 5)
			told(removed)
			removed.Remove()
			told(removed, 3)
			r.complete()
			r.healthy()
			// Another description would end what is being joined, at each new stream.
			if n := len(r.recorder.sinks[0].described[keyPrefix+stops.ID()]); n != 1 {
				t.Errorf("it was described %d times although it is what it was", n)
			}
		})
	}
	f(TransportFile)
	f(TransportAPI)
}

// of returns those of ends that are of a source.
func of(ends []string, source string) []string {
	return slices.DeleteFunc(slices.Clone(ends), func(end string) bool { return end[:len(source)] != source })
}
