package delivery_test

import (
	"testing"
	"testing/synctest"
	"time"

	"log_capturer/internal/delivery"
	"log_capturer/internal/limit"
	"log_capturer/internal/record"
)

// A sink with a limit that blocks gets everything, at its rate.
func TestLimitBlocks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, nil, func(o *delivery.Options) {
			o.Limit = limit.Rate{Records: 100}
			o.BatchRecords = 10
		})
		r.start()
		log := logs(1, 1000)[0]
		began := time.Now()
		for reader := log.Read(); ; {
			b := reader.Next(10)
			if b == nil {
				break
			}
			r.give(b)
		}
		r.drain()
		if took := time.Since(began).Round(100 * time.Millisecond); took != 8900*time.Millisecond {
			t.Errorf("took %v", took)
		}
		for s := range record.Stream(record.NumStreams) {
			if got := r.destination.TakenOf(log.Source.Key, s); len(got) != 500 {
				t.Errorf("%v: %d lines", s, len(got))
			}
		}
		r.wantAccounts(delivery.Accounts{Accepted: 1000, Acknowledged: 1000})
	})
}

// A limit that drops drops what is too much, counts it to the record, and the
// cursor moves past it.
func TestLimitDrops(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, nil, func(o *delivery.Options) { o.Limit = limit.Rate{Records: 100, Drop: true} })
		r.start()
		log := logs(1, 1000)[0]
		for reader := log.Read(); ; {
			b := reader.Next(70)
			if b == nil {
				break
			}
			r.give(b)
			time.Sleep(time.Second)
			a := r.Accounts()
			if a.Accepted != a.Acknowledged+a.InMemory+a.Dropped {
				t.Errorf("accounts %+v", a)
			}
		}
		r.drain()
		taken := len(r.destination.TakenLines())
		if taken != 1000 {
			t.Errorf("%d lines taken of a rate below the limit", taken)
		}
		more := log.Fill(500).Read(r.cursor(log))
		r.restart()
		r.give(more.Next(500))
		r.drain()
		r.wantAccounts(delivery.Accounts{Accepted: 500, Acknowledged: 100, Dropped: 400})
		if got := len(r.destination.TakenLines()) - taken; got != 100 {
			t.Errorf("%d lines taken", got)
		}
		if c := r.cursor(log); c.Total() != 1500 {
			t.Errorf("the cursor is at %d", c.Total())
		}
	})
}
