package app

import (
	"context"

	"log_capturer/internal/dispatcher"
	"log_capturer/internal/livetail"
	"log_capturer/internal/record"
)

// tapped is the dispatcher, with those who watch looking on.
type tapped struct {
	*dispatcher.Processor
	tail livetail.Place
}

// Accept hands b to the dispatcher, and shows it once it was accepted: what was
// not comes again.
func (t tapped) Accept(ctx context.Context, b *record.Batch) error {
	if !t.tail.Watched() {
		return t.Processor.Accept(ctx, b)
	}
	b.Retain(1)
	defer b.Release()
	if err := t.Processor.Accept(ctx, b); err != nil {
		return err
	}
	t.tail.Publish(b)
	return nil
}
