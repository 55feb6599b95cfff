package positions

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"maps"
	"math/rand/v2"
	"path"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"log_capturer/internal/health"
	"log_capturer/internal/vfs"
	"log_capturer/internal/vfs/vfstest"
)

func random(seed uint64) *rand.Rand { return rand.New(rand.NewPCG(seed, 0)) }

// written returns a disk with a journal of a snapshot (snap=0) and the commits
// a=1, b=2, a=3, c=4, the journal's bytes, and where each commit begins.
func written(t testing.TB) (disk *vfstest.Disk, data []byte, commits []int) {
	disk = vfstest.NewDisk()
	j := open(t, disk, "boot")
	put(t, j, "snap", "0")
	check(t, j.compact())
	for _, c := range []string{"a1", "b2", "a3", "c4"} {
		commits = append(commits, int(j.end))
		put(t, j, c[:1], c[1:])
	}
	disk.Kill()
	data, _ = disk.ReadFile(journalFile(t, disk))
	return disk, data, append(commits, len(data))
}

func TestDamage(t *testing.T) {
	all := []string{"snap", "0", "a", "3", "b", "2", "c", "4"}
	for _, test := range []struct {
		name     string
		damage   func(data []byte, commits []int) []byte
		want     []string
		torn     int64
		setAside bool
	}{
		{"none", func(data []byte, _ []int) []byte { return data }, all, 0, false},
		{"incomplete last record", func(data []byte, _ []int) []byte { return data[:len(data)-1] },
			[]string{"snap", "0", "a", "3", "b", "2"}, 12, false},
		{"incomplete frame", func(data []byte, c []int) []byte { return data[:c[3]+3] },
			[]string{"snap", "0", "a", "3", "b", "2"}, 3, false},
		{"bad bytes in the last record", func(data []byte, c []int) []byte { data[c[3]+10] ^= 1; return data },
			[]string{"snap", "0", "a", "3", "b", "2"}, 13, false},
		{"zeros at the end", func(data []byte, _ []int) []byte { return append(data, make([]byte, 100)...) }, all, 100, false},
		{"a huge length at the end", func(data []byte, _ []int) []byte {
			return append(data, 0xff, 0xff, 0xff, 0xff, 1, 2, 3, 4, kindChanges)
		}, all, 9, false},
		{"a bad byte in a record with others after it", func(data []byte, c []int) []byte { data[c[1]+10] ^= 1; return data },
			[]string{"snap", "0", "a", "3", "c", "4"}, 0, true},
		{"a bad length in a record with others after it", func(data []byte, c []int) []byte { data[c[1]+2] = 0xff; return data },
			[]string{"snap", "0", "a", "3", "c", "4"}, 0, true},
		{"a removed stretch", func(data []byte, c []int) []byte { return append(data[:c[1]+5], data[c[2]:]...) },
			[]string{"snap", "0", "a", "3", "c", "4"}, 0, true},
		{"zeros over two records", func(data []byte, c []int) []byte { clear(data[c[0]:c[2]]); return data },
			[]string{"snap", "0", "a", "3", "c", "4"}, 0, true},
		{"a bad byte in the snapshot", func(data []byte, _ []int) []byte { data[headerSize+10] ^= 1; return data },
			[]string{"a", "3", "b", "2", "c", "4"}, 0, true},
		{"cut in the snapshot", func(data []byte, _ []int) []byte { return data[:headerSize+10] }, nil, 0, true},
		{"cut before the snapshot", func(data []byte, _ []int) []byte { return data[:headerSize] }, nil, 0, true},
		{"a bad byte in the header", func(data []byte, _ []int) []byte { data[20] ^= 1; return data }, all, 0, true},
		{"another magic", func(data []byte, _ []int) []byte { data[0] ^= 1; return data }, all, 0, true},
		{"empty", func([]byte, []int) []byte { return nil }, nil, 0, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			disk, data, commits := written(t)
			name := journalFile(t, disk)
			damaged := test.damage(bytes.Clone(data), commits)
			disk.WriteFile(name, damaged)

			j := open(t, disk, "boot")
			wantContent(t, j, test.want...)
			r := j.Recovery()
			if r.TornBytes != test.torn {
				t.Errorf("cut %d bytes, want %d", r.TornBytes, test.torn)
			}
			status := j.Health()[0]
			if test.setAside {
				if len(r.SetAside) != 1 || len(setAsideFiles(disk)) != 1 {
					t.Fatalf("set aside: %+v, files %q; want one", r.SetAside, setAsideFiles(disk))
				}
				if kept, _ := disk.ReadFile(r.SetAside[0].Path); !bytes.Equal(kept, damaged) {
					t.Error("the file that was set aside is not the damaged one")
				}
				if status.Status != health.Degraded || !strings.Contains(status.Reason, path.Base(r.SetAside[0].Path)) {
					t.Errorf("health = %+v, want degraded with the file's name", status)
				}
			} else if len(r.SetAside) != 0 || status.Status != health.Healthy {
				t.Errorf("set aside: %+v, health %+v", r.SetAside, status)
			}
			put(t, j, "new", "5")
			check(t, j.Close())

			again := open(t, disk, "boot")
			wantContent(t, again, append(test.want, "new", "5")...)
			if r := again.Recovery(); r.TornBytes != 0 || len(r.SetAside) != 0 {
				t.Errorf("the second recovery found %+v", r)
			}
			check(t, again.Close())
		})
	}
}

// TestOneBadByteAnywhere: wherever one byte is wrong, at most the record that
// holds it is lost.
func TestOneBadByteAnywhere(t *testing.T) {
	disk, data, commits := written(t)
	name := journalFile(t, disk)
	for at := range data {
		damaged := bytes.Clone(data)
		damaged[at] ^= 0x40
		disk.WriteFile(name, damaged)
		j, err := Open(dir, Options{FS: disk, BootID: "boot"})
		check(t, err)
		lost := 0
		got := content(j)
		for _, pair := range [][2]string{{"snap", "0"}, {"a", "3"}, {"b", "2"}, {"c", "4"}} {
			if got[pair[0]] != pair[1] {
				lost++
			}
		}
		if lost > 1 {
			t.Errorf("byte %d: the journal holds %q", at, got)
		}
		r := j.Recovery()
		if last := at >= commits[3]; last && r.TornBytes == 0 || !last && len(r.SetAside) == 0 {
			t.Errorf("byte %d: recovery = %+v", at, r)
		}
		check(t, j.Close())
		for _, f := range disk.Files(dir) {
			check(t, disk.Remove(f))
		}
	}
}

// TestPowerLossOutOfOrder: damage before whole records that no fsync had saved is
// what a loss of power does, and no corruption.
func TestPowerLossOutOfOrder(t *testing.T) {
	for _, test := range []struct {
		boot     string
		after    []string // what was committed after the record that is damaged
		want     []string
		setAside int
	}{
		{"next boot", []string{"d", "1"}, []string{"a", "1", "b", "1"}, 0},
		{"next boot", nil, []string{"a", "1", "b", "1"}, 0},
		{"boot", []string{"d", "1"}, []string{"a", "1", "b", "1", "d", "1"}, 1},
	} {
		disk := vfstest.NewDisk()
		j := open(t, disk, "boot")
		put(t, j, "a", "1")
		check(t, j.Sync())
		put(t, j, "b", "1")
		at := j.end
		put(t, j, "c", "1")
		check(t, j.Commit(changes(test.after...)...))
		check(t, j.Sync()) // leaves a mark before its fsync, which is taken not to have been
		name := journalFile(t, disk)
		data, _ := disk.ReadFile(name)
		clear(data[at : at+13])
		disk.Kill()
		disk.WriteFile(name, data)

		for range 2 {
			j = open(t, disk, test.boot)
			wantContent(t, j, test.want...)
			if n := len(setAsideFiles(disk)); n != test.setAside {
				t.Errorf("%s: %d files set aside, want %d", test.boot, n, test.setAside)
			}
			disk.Kill()
		}
	}
}

// TestSyncedDamageIsCorruption: a restart of the machine is no excuse for damage
// of what was fsynced before.
func TestSyncedDamageIsCorruption(t *testing.T) {
	disk := vfstest.NewDisk()
	j := open(t, disk, "boot")
	put(t, j, "a", "1")
	at := j.end
	put(t, j, "b", "1")
	for _, key := range []string{"c", "d"} {
		put(t, j, key, "1")
		check(t, j.Sync())
	}
	name := journalFile(t, disk)
	data, _ := disk.ReadFile(name)
	clear(data[at : at+13])
	disk.Kill()
	disk.WriteFile(name, data)
	j = open(t, disk, "next boot")
	wantContent(t, j, "a", "1", "c", "1", "d", "1")
	if len(j.Recovery().SetAside) != 1 {
		t.Errorf("recovery = %+v, want a file set aside", j.Recovery())
	}
	check(t, j.Close())
}

// TestNewestFileCounts: older files, back after a loss of power, are removed.
func TestNewestFileCounts(t *testing.T) {
	disk := vfstest.NewDisk()
	j := open(t, disk, "boot")
	disk.Inject(vfstest.Fault{Op: vfstest.Remove, Err: syscall.EIO})
	for i := range 12 {
		put(t, j, "key", fmt.Sprint(i))
		check(t, j.compact())
	}
	check(t, j.Commit(Change{Key: "key"}))
	disk.Kill()
	disk.Heal()
	wantContent(t, open(t, disk, "boot"))
	journalFile(t, disk)
}

func TestAnotherVersionIsRefused(t *testing.T) {
	disk, data, _ := written(t)
	binary.LittleEndian.PutUint32(data[8:], fileVersion+1)
	binary.LittleEndian.PutUint32(data[headerSize-4:], crc32.Checksum(data[:headerSize-4], castagnoli))
	name := journalFile(t, disk)
	disk.WriteFile(name, data)
	_, err := Open(dir, Options{FS: disk, BootID: "boot"})
	wantErr(t, err, errVersion)
	if kept, _ := disk.ReadFile(name); !bytes.Equal(kept, data) {
		t.Error("the file was changed")
	}
	if n := disk.OpenFiles(); n != 0 {
		t.Errorf("%d files left open", n)
	}
}

// TestReadErrorIsNoDamage: a disk that cannot be read now is no reason to give up
// what it holds.
func TestReadErrorIsNoDamage(t *testing.T) {
	disk, data, _ := written(t)
	name := journalFile(t, disk)
	for after := range 4 {
		disk.Inject(vfstest.Fault{Op: vfstest.Read, After: after, Times: 1, Err: syscall.EIO})
		_, err := Open(dir, Options{FS: disk, BootID: "boot"})
		if err != nil && !errors.Is(err, syscall.EIO) || err == nil && after < 3 {
			t.Errorf("Open = %v, want EIO", err)
		}
		disk.Heal()
		disk.Kill()
	}
	if kept, _ := disk.ReadFile(name); !bytes.Equal(kept, data) {
		t.Error("the file was changed")
	}
}

// TestInterruptedSetAside: a damaged file is found again when the agent died
// after it had written the new one.
func TestInterruptedSetAside(t *testing.T) {
	disk, data, commits := written(t)
	data[commits[1]+10] ^= 1
	disk.WriteFile(journalFile(t, disk), data)
	disk.Inject(vfstest.Fault{Op: vfstest.Rename, After: 1, Err: syscall.EIO})
	_, err := Open(dir, Options{FS: disk, BootID: "boot"})
	wantErr(t, err, syscall.EIO)
	disk.Heal()
	j := open(t, disk, "boot")
	wantContent(t, j, "snap", "0", "a", "3", "c", "4")
	if len(setAsideFiles(disk)) != 1 || len(j.Recovery().SetAside) != 1 {
		t.Errorf("files set aside: %q, recovery %+v; want one", setAsideFiles(disk), j.Recovery())
	}
	check(t, j.Close())
}

// TestDamagedFileOverAnOlderOne: what the newest file has lost is taken from the
// one before, if that is still there.
func TestDamagedFileOverAnOlderOne(t *testing.T) {
	disk := vfstest.NewDisk()
	j := open(t, disk, "boot")
	put(t, j, "a", "1", "b", "1")
	disk.Inject(vfstest.Fault{Op: vfstest.Remove, Err: syscall.EIO})
	check(t, j.compact())
	put(t, j, "b", "2")
	disk.Kill()
	disk.Heal()
	newest := path.Join(dir, fileName(2))
	data, ok := disk.ReadFile(newest)
	if !ok {
		t.Fatalf("files: %q", disk.Files(dir))
	}
	data[headerSize+10] ^= 1
	disk.WriteFile(newest, data)
	j = open(t, disk, "boot")
	wantContent(t, j, "a", "1", "b", "2")
	check(t, j.Close())
	journalFile(t, disk) // the older ones are gone
}

func TestUnfinishedSnapshotIsRemoved(t *testing.T) {
	disk, _, _ := written(t)
	disk.WriteFile(path.Join(dir, fileName(99)+tempSuffix), []byte("half"))
	disk.WriteFile(path.Join(dir, "notes.txt"), []byte("not ours"))
	j := open(t, disk, "boot")
	wantContent(t, j, "snap", "0", "a", "3", "b", "2", "c", "4")
	check(t, j.Close())
	if _, ok := disk.ReadFile(path.Join(dir, fileName(99)+tempSuffix)); ok {
		t.Error("the unfinished snapshot is still there")
	}
	if _, ok := disk.ReadFile(path.Join(dir, "notes.txt")); !ok {
		t.Error("a file that is not the journal's is gone")
	}
}

// TestHostileLengths: recovery takes memory for what is in a file, not for what
// the file says, and time in proportion.
func TestHostileLengths(t *testing.T) {
	frame := []byte{0, 0, 0, 1, 0, 0, 0, 0, kindChanges} // a length of 16 MiB
	small := []byte{0, 0, 8, 0, 0, 0, 0, 0, kindChanges} // of 512 KiB
	for name, content := range map[string][]byte{
		"beyond the end": bytes.Repeat(frame, 1<<10),
		"plausible":      bytes.Repeat(small, 2<<20/len(small)),
	} {
		t.Run(name, func(t *testing.T) {
			disk, _, _ := written(t)
			name := journalFile(t, disk)
			disk.WriteFile(name, content)
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			file, err := disk.OpenFile(name, 0, 0)
			check(t, err)
			f := &finding{file: file, lastChanges: -1, damageAt: -1}
			check(t, f.read())
			runtime.ReadMemStats(&after)
			if grown := after.TotalAlloc - before.TotalAlloc; grown > 4<<20 {
				t.Errorf("reading %d bytes allocated %d", len(content), grown)
			}
			if f.damagedBytes != int64(len(content)) {
				t.Errorf("%d bytes damaged, want %d", f.damagedBytes, len(content))
			}
		})
	}
}

func FuzzRecover(f *testing.F) {
	_, data, commits := written(f)
	f.Add([]byte{})
	f.Add(data)
	f.Add(data[:len(data)-5])
	f.Add(data[:headerSize])
	f.Add(data[headerSize:])
	f.Add(append(bytes.Clone(data[:commits[1]+4]), data[commits[2]:]...))
	f.Add(append(bytes.Clone(data), appendMark(nil, mark{boot: 7, covered: int64(commits[1]), synced: 40})...))
	f.Fuzz(func(t *testing.T, data []byte) {
		for _, boot := range []string{"boot", "next boot"} {
			disk := vfstest.NewDisk()
			check(t, vfs.MakeDir(disk, dir, 0o700))
			disk.WriteFile(path.Join(dir, fileName(1)), data)
			j, err := Open(dir, Options{FS: disk, BootID: boot})
			if errors.Is(err, errVersion) {
				return
			}
			check(t, err)
			first := content(j)
			check(t, j.Close())

			j = open(t, disk, boot)
			if got := content(j); !maps.Equal(got, first) {
				t.Errorf("the second recovery holds %q, the first one %q", got, first)
			}
			if r := j.Recovery(); r.TornBytes != 0 || r.UncoveredRecords != 0 || len(r.SetAside) != 0 {
				t.Errorf("the second recovery found %+v", r)
			}
			put(t, j, "new", fmt.Sprint(len(data)))
			check(t, j.Close())
			disk.PowerLoss(random(uint64(len(data))))
			first["new"] = fmt.Sprint(len(data))
			if got := content(open(t, disk, "last boot")); !maps.Equal(got, first) {
				t.Errorf("after a commit the journal holds %q, want %q", got, first)
			}
		}
	})
}
