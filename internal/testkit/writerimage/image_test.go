package writerimage

import (
	"testing"

	"github.com/moby/moby/client"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestEnsureLoadsTheImageOnce(t *testing.T) {
	cli, err := client.New(client.FromEnv)
	if err != nil {
		t.Fatal(err)
	}
	defer cli.Close()
	inspect := func() (id, hash string) {
		t.Helper()
		if err := Ensure(t.Context(), cli); err != nil {
			t.Fatal(err)
		}
		found, err := cli.ImageInspect(t.Context(), Name)
		if err != nil {
			t.Fatal(err)
		}
		return found.ID, found.Config.Labels[hashLabel]
	}
	first, hash := inspect()
	if second, _ := inspect(); second != first || len(hash) != 64 {
		t.Errorf("images %s and %s, hash %q", first, second, hash)
	}
}
