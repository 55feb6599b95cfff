package dispatcher_test

import (
	"context"
	"testing"
	"testing/synctest"

	"log_capturer/internal/delivery"
	"log_capturer/internal/delivery/deliverytest"
	"log_capturer/internal/dispatcher"
	"log_capturer/internal/lifetime"
	"log_capturer/internal/positions"
	"log_capturer/internal/record"
	"log_capturer/internal/record/recordtest"
	"log_capturer/internal/spool"
	"log_capturer/internal/vfs/vfstest"
)

// hooked calls before in front of a commit of a key.
type hooked struct {
	*deliverytest.Journal
	key    string
	before func()
}

func (h *hooked) Commit(changes ...positions.Change) error {
	if before := h.before; before != nil && len(changes) == 1 && changes[0].Key == h.key {
		h.before = nil
		before()
	}
	return h.Journal.Commit(changes...)
}

// Where a source begins for all sinks is durable before a spool takes anything of
// it, although the journal was made durable when it was said of some of them. A
// sink of which a loss of power takes that back would be taken for a new one, and
// begin behind what the other's spool has.
func TestBeginningIsDurableBeforeTheSpoolTakesAnything(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		journal := deliverytest.NewJournal()
		var durable map[string][]byte
		disk := vfstest.NewDisk()
		down := &deliverytest.Destination{Answer: func(_ context.Context, _ deliverytest.Attempt) error { return errDown }}
		first := delivery.New(options("first", down, journal, noDeadLetters{t}))
		stored, err := spool.Open("/data/spool/first", spool.Options{FS: disk, MaxBytes: 1 << 20})
		if err != nil {
			t.Fatal(err)
		}
		defer stored.Close()
		err = first.UseSpool(delivery.SpoolOptions{Spool: stored, SyncJournal: func() error {
			durable = journal.Snapshot()
			return nil
		}})
		if err != nil {
			t.Fatal(err)
		}
		hook := &hooked{Journal: journal, key: "cursor/second/container/b"}
		second := delivery.New(options("second", &deliverytest.Destination{}, hook, noDeadLetters{t}))
		door := dispatcher.New([]*delivery.Delivery{first, second})
		running := lifetime.NewGroup(t.Context())
		running.Go("delivery", first.Run)
		running.Go("delivery", second.Run)

		resume := func(source string) {
			if _, err := door.Resume(source, record.Cursor{}); err != nil {
				t.Fatal(err)
			}
		}
		a, b := recordtest.NewLog("container/a").Fill(1000), recordtest.NewLog("container/b").Fill(10)
		resume("container/a")
		reader := a.Read()
		// Between the first sink's word and the second's, another source makes the
		// journal durable.
		hook.before = func() {
			for first.Accounts().Spooled == 0 {
				if err := first.Enqueue(t.Context(), reader.Next(10)); err != nil {
					t.Fatal(err)
				}
			}
			if _, ok := durable["cursor/first/container/b"]; !ok {
				t.Error("the journal was not made durable in between: the test shows nothing")
			}
		}
		resume("container/b")
		if err := door.Accept(t.Context(), b.Read().Next(10)); err != nil {
			t.Fatal(err)
		}
		if _, ok := journal.Get("delivered/first/container/b"); !ok {
			t.Error("the spool has nothing of the source: the test shows nothing")
		}
		if _, ok := durable["cursor/second/container/b"]; !ok {
			t.Error("the spool has records of a source of which a loss of power takes the other sink's beginning")
		}
		running.Cancel()
		if err := running.Wait(); err != nil {
			t.Error(err)
		}
	})
}
