package positions

import (
	"errors"
	"maps"
	"path"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"log_capturer/internal/vfs/vfstest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// dir is where the tests' journals are, on a simulated disk.
const dir = "/data/positions"

func open(t testing.TB, disk *vfstest.Disk, boot string) *Journal {
	t.Helper()
	j, err := Open(dir, Options{FS: disk, BootID: boot})
	check(t, err)
	return j
}

// content returns what the journal holds.
func content(j *Journal) map[string]string {
	m := map[string]string{}
	for key, value := range j.All("") {
		m[key] = string(value)
	}
	return m
}

func wantContent(t testing.TB, j *Journal, pairs ...string) {
	t.Helper()
	want := map[string]string{}
	for i := 0; i < len(pairs); i += 2 {
		want[pairs[i]] = pairs[i+1]
	}
	if got := content(j); !maps.Equal(got, want) {
		t.Errorf("journal holds %q, want %q", got, want)
	}
}

func put(t testing.TB, j *Journal, pairs ...string) {
	t.Helper()
	check(t, j.Commit(changes(pairs...)...))
}

func changes(pairs ...string) []Change {
	var cs []Change
	for i := 0; i < len(pairs); i += 2 {
		cs = append(cs, Change{pairs[i], []byte(pairs[i+1])})
	}
	return cs
}

// journalFile returns the name of the only journal file.
func journalFile(t testing.TB, disk *vfstest.Disk) string {
	t.Helper()
	var names []string
	for _, name := range disk.Files(dir) {
		if strings.HasSuffix(name, fileSuffix) {
			names = append(names, name)
		}
	}
	if len(names) != 1 {
		t.Fatalf("journal files: %q, want one", names)
	}
	return names[0]
}

// setAsideFiles returns the base names of damaged files that were kept.
func setAsideFiles(disk *vfstest.Disk) []string {
	var names []string
	for _, name := range disk.Files(dir) {
		if strings.Contains(name, ".corrupt-") {
			names = append(names, path.Base(name))
		}
	}
	return names
}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func wantErr(t testing.TB, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Errorf("error = %v, want %v", err, want)
	}
}
