// Package limit bounds rates of records and bytes with a token bucket.
package limit

import (
	"context"
	"math"
	"sync"
	"time"
)

// Rate is how much may pass in a second. Zero sets no limit.
type Rate struct {
	Records float64
	Bytes   float64
	// Drop says that what is too much is dropped. Without it, it waits.
	Drop bool
}

// IsZero reports whether nothing is limited.
func (r Rate) IsZero() bool { return r.Records <= 0 && r.Bytes <= 0 }

// Bucket holds the tokens of one rate: up to those of a second. Its methods may
// be called from several goroutines at once.
type Bucket struct {
	rate Rate

	mu      sync.Mutex
	records float64
	bytes   float64
	last    time.Time
}

// NewBucket returns a full bucket.
func NewBucket(rate Rate) *Bucket {
	return &Bucket{rate: rate, records: rate.Records, bytes: rate.Bytes, last: time.Now()}
}

// Drops reports whether what is too much is to be dropped.
func (b *Bucket) Drops() bool { return b.rate.Drop }

// fill adds the tokens of the time since the last call. mu is held.
func (b *Bucket) fill() {
	now := time.Now()
	seconds := now.Sub(b.last).Seconds()
	b.last = now
	b.records = min(b.rate.Records, b.records+seconds*b.rate.Records)
	b.bytes = min(b.rate.Bytes, b.bytes+seconds*b.rate.Bytes)
}

// Admit reports whether a record of so many bytes may pass now, and takes its
// tokens if so. The last record before the bucket is empty may take more than is
// left, so that a record larger than a second's bytes passes now and then.
func (b *Bucket) Admit(size int) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.fill()
	if b.wait() > 0 {
		return false
	}
	b.take(1, size)
	return true
}

// Wait takes the tokens of a batch, and returns when the debts of those before
// it are paid, or when ctx is done, with its error; then it took nothing.
func (b *Bucket) Wait(ctx context.Context, records, size int) error {
	for {
		b.mu.Lock()
		b.fill()
		pause := b.wait()
		if pause <= 0 {
			b.take(records, size)
			b.mu.Unlock()
			return nil
		}
		b.mu.Unlock()
		timer := time.NewTimer(pause)
		select {
		case <-ctx.Done():
			timer.Stop()
			return ctx.Err()
		case <-timer.C:
		}
	}
}

// take takes tokens, more than there are if need be. mu is held.
func (b *Bucket) take(records, size int) {
	b.records -= float64(records)
	b.bytes -= float64(size)
}

// wait returns how long it takes until there are tokens of both kinds. mu is
// held.
func (b *Bucket) wait() time.Duration {
	var seconds float64
	if b.rate.Records > 0 && b.records < 1 {
		seconds = max(seconds, (min(1, b.rate.Records)-b.records)/b.rate.Records)
	}
	if b.rate.Bytes > 0 && b.bytes < 1 {
		seconds = max(seconds, (1-b.bytes)/b.rate.Bytes)
	}
	return time.Duration(math.Ceil(seconds * float64(time.Second)))
}
