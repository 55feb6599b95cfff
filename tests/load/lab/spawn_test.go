package main

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/moby/moby/client"

	"log_capturer/internal/testkit/enginetest"
	"log_capturer/internal/testkit/numbered"
)

func TestSpawnStartsContainersThatCount(t *testing.T) {
	engine := enginetest.New(t)
	dir := t.TempDir()
	stale := filepath.Join(dir, "lt-gone-01"+countsSuffix)
	check(t, numbered.CreateCounts(stale))
	// The containers go before the directory that they have mounted.
	t.Cleanup(func() { removeSpawned(t, engine, dir) })

	var out bytes.Buffer
	code := run(t.Context(), []string{"spawn", "--count", "3", "--rate", "0", "--lines", "20", "--streams", "both",
		"--parallel", "2", "--counts-dir", dir}, &out, &out)
	if code != 0 || !strings.Contains(out.String(), "3 of 3 containers") {
		t.Fatalf("exit status %d:\n%s", code, out.String())
	}
	if _, err := os.Stat(stale); err == nil {
		t.Error("the count file of a container that is gone is still there")
	}
	enginetest.Eventually(t, time.Minute, "all lines are counted", func() bool {
		w, err := readWritten(dir)
		check(t, err)
		return len(w) == 3 && w.total() == 3*2*20
	})
	if found := spawned(t, engine, dir); len(found) != 3 {
		t.Errorf("%d containers have the label, want 3", len(found))
	}
	// A second spawn keeps the counts of containers that are there.
	if code := run(t.Context(), []string{"spawn", "--count", "0", "--counts-dir", dir}, &out, &out); code != 0 {
		t.Fatalf("exit status %d:\n%s", code, out.String())
	}
	if w, err := readWritten(dir); err != nil || len(w) != 3 {
		t.Errorf("counts of %d containers, want 3 (%v)", len(w), err)
	}
}

// spawned returns the ids of the containers whose count files are in dir.
func spawned(t *testing.T, engine *enginetest.Engine, dir string) []string {
	t.Helper()
	files, err := countFiles(dir)
	check(t, err)
	list, err := engine.Client.ContainerList(context.Background(), client.ContainerListOptions{
		All: true, Filters: make(client.Filters).Add("label", loadLabel+"="+loadValue),
	})
	check(t, err)
	var ids []string
	for _, item := range list.Items {
		if files[item.Labels[runLabel]] != "" {
			ids = append(ids, item.ID)
		}
	}
	return ids
}

func removeSpawned(t *testing.T, engine *enginetest.Engine, dir string) {
	for _, id := range spawned(t, engine, dir) {
		if _, err := engine.Client.ContainerRemove(context.Background(), id, client.ContainerRemoveOptions{Force: true}); err != nil {
			t.Errorf("clean up: %v", err)
		}
	}
}
