package container

import (
	"fmt"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"log_capturer/internal/record"
	"log_capturer/internal/testkit/fakeengine"
)

// TestMoreContainersThanLeases holds every container to the bound that the
// monitor itself tells of.
func TestMoreContainersThanLeases(t *testing.T) {
	t.Parallel()
	r := newRig(t, fakeengine.Options{})
	r.options.RotationInterval = 3 * time.Second
	for range 12 {
		r.add(fakeengine.Config{})
	}
	r.start()
	r.eventually("all containers are known", func() bool {
		return r.value("log_capturer_containers", "state", "reading")+r.value("log_capturer_containers", "state", "waiting") == 12
	})
	bound := r.value("log_capturer_stream_wait_bound_seconds")
	longest, n := 0.0, 0
	end := time.Now().Add(4 * time.Second)
	r.eventually("some seconds", func() bool {
		n++
		if n%20 == 0 {
			// Some are busy, some say a line now and then, one is silent.
			for i, c := range r.containers[1:] {
				if i < 6 || n%100 == 0 {
					c.say(record.Stdout, time.Now(), fmt.Sprint("line ", n))
				}
			}
		}
		longest = max(longest, r.value("log_capturer_stream_longest_wait_seconds"))
		if open := r.value("log_capturer_active_streams"); open > 4 {
			t.Fatalf("%v streams are open on 4 leases", open)
		}
		return time.Now().After(end)
	})
	t.Logf("12 containers on 4 leases: longest wait %.3f s, bound %.3f s, %v rotations",
		longest, bound, r.value("log_capturer_stream_rotations_total"))
	if longest > bound {
		t.Errorf("a container waited for %v s, the bound is %v s", longest, bound)
	}
	for _, c := range r.containers {
		if got := c.Streams().Opened; got < 3 {
			t.Errorf("%s was read %d times", c.Name(), got)
		}
	}
	r.complete()
	r.exact()
	r.healthy()
}

func TestMetrics(t *testing.T) {
	t.Parallel()
	r := newRig(t, fakeengine.Options{})
	c := r.add(fakeengine.Config{})
	r.start()
	c.say(record.Stdout, time.Now(), "four", "ever")
	r.complete()
	problems, err := testutil.CollectAndLint(r.monitor)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		t.Errorf("%s: %s", p.Metric, p.Text)
	}
	f := func(name string, want float64, labels ...string) {
		t.Helper()
		if got := r.value(name, labels...); got != want {
			t.Errorf("%s%v is %v, want %v", name, labels, got, want)
		}
	}
	f("log_capturer_active_streams", 1)
	f("log_capturer_stream_pool_capacity", 4)
	f("log_capturer_stream_wait_bound_seconds", 2)
	f("log_capturer_containers", 1, "state", "reading")
	f("log_capturer_containers", 0, "state", "waiting")
	f("log_capturer_container_records_total", 2)
	f("log_capturer_container_bytes_total", 8)
	f("log_capturer_engine_up", 1)
	f("log_capturer_suspected_gaps_total", 0)
	r.eventually("nothing is behind", func() bool { return r.value("log_capturer_lag_seconds") == 0 })
	c.Exit(0)
	r.state(c, "stopped")
	f("log_capturer_active_streams", 0)
	c.Remove()
	r.eventually("it is gone", func() bool { return r.stateOf(c) == "" })
	f("log_capturer_container_records_total", 2)
	f("log_capturer_container_bytes_total", 8)
}

// A container that is silent is not behind when its stream is opened again,
// although the first that a stream shows is what was read long ago.
func TestLagOfASilentContainer(t *testing.T) {
	t.Parallel()
	r := newRig(t, fakeengine.Options{})
	r.options.RotationInterval = 150 * time.Millisecond
	c := r.add(fakeengine.Config{})
	for i := range 3 {
		c.say(record.Stdout, time.Now().Add(-time.Hour), fmt.Sprint("long ago ", i))
	}
	r.start()
	r.complete()
	r.eventually("a first rotation", func() bool { return r.value("log_capturer_stream_rotations_total") > 0 })
	var longest float64
	r.eventually("many rotations", func() bool {
		longest = max(longest, r.value("log_capturer_lag_seconds"))
		return r.value("log_capturer_stream_rotations_total") > 15
	})
	if longest > 60 {
		t.Errorf("it was %v s behind, and is silent", longest)
	}
	r.exact()
	r.healthy()
}
