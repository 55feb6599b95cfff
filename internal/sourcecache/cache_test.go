package sourcecache

import (
	"testing"

	"go.uber.org/goleak"

	"log_capturer/internal/record"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// The cache stays bounded however many containers come and go, and does not
// forget those in use.
func TestBoundedAndKept(t *testing.T) {
	type made struct {
		name   string
		stream record.Stream
	}
	c := New(func(src *record.Source, stream record.Stream) *made { return &made{src.ContainerName, stream} })
	used := &record.Source{ContainerName: "used"}
	first := c.Of(used, record.Stderr)
	if *first != (made{"used", record.Stderr}) {
		t.Fatalf("made %+v", first)
	}
	for range 5 * Generation {
		c.Of(&record.Source{ContainerName: "short-lived"}, record.Stdout)
		if c.Of(used, record.Stderr) != first {
			t.Fatal("an entry in use was forgotten")
		}
	}
	if n := c.Len(); n > 2*Generation {
		t.Errorf("%d entries are kept", n)
	}
}
