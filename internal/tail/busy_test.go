package tail

import (
	"os"
	"strconv"
	"strings"
	"testing"
	"time"
)

// isMute reports whether the kernel tells nothing of writes in m's directory.
func isMute(m *Member) bool {
	w := m.set.watch
	w.mu.Lock()
	defer w.mu.Unlock()
	return m.watch.mute
}

// keepWriting writes numbered lines, beginning with first, until done, and returns
// all lines that the log has then.
func (r *setRig) keepWriting(name string, first int, done func() bool) string {
	r.t.Helper()
	var lines []string
	for n := range first - 1 {
		lines = append(lines, strconv.Itoa(n+1))
	}
	r.eventually("what "+name+" is written for", func() bool {
		if done() {
			return true
		}
		lines = append(lines, strconv.Itoa(len(lines)+1))
		r.write(name, lines[len(lines)-1]+"\n")
		return false
	})
	return strings.Join(lines, " ")
}

// Of a log that is written to all the time the kernel need not tell; it does again
// when the log has become quiet, and nothing is missed in between.
func TestSetSweepsBusyLogs(t *testing.T) {
	r := newSetRig(t, hours(SetOptions{Gather: 10 * time.Millisecond}))
	r.write("a", "")
	m := r.add("a")
	r.eventually("the directory is watched", m.Watched)
	lines := r.keepWriting("a", 1, func() bool { return isMute(m) })
	for range 3 {
		n := len(strings.Fields(lines))
		r.want("a", lines)
		r.eventually("writes are told of again", func() bool { return !isMute(m) })
		lines = r.keepWriting("a", n+1, func() bool { return isMute(m) })
	}

	// What is written behind the step that finds nothing, and before the kernel
	// tells again, is found as well.
	r.mu.Lock()
	r.idle = func() {
		if isMute(m) {
			r.write("a", "late\n")
		}
	}
	r.mu.Unlock()
	lines += " late"
	r.want("a", lines)

	// Rotations are told of all the time.
	must(t, os.Rename(r.path("a"), r.path("a.1")))
	r.write("a", "rotated\n")
	r.want("a", lines+" rotated")
	r.eventually("writes are told of again", func() bool { return !isMute(m) })
	r.write("a", "last\n")
	r.want("a", lines+" rotated last")
}

// What is read in a sweep has gathered; a line that comes alone has not.
func TestSetGathers(t *testing.T) {
	r := newSetRig(t, hours(SetOptions{Gather: 10 * time.Millisecond}))
	r.write("a", "")
	m := r.add("a")
	r.eventually("the directory is watched", m.Watched)
	lines := r.keepWriting("a", 1, func() bool { return isMute(m) && r.wasGathered("a") })
	r.eventually("a line that comes alone has not gathered", func() bool {
		time.Sleep(50 * time.Millisecond)
		lines += " alone"
		r.write("a", "alone\n")
		r.want("a", lines)
		return !r.wasGathered("a")
	})
}

// wasGathered reports whether the log's last data was read in a sweep.
func (r *setRig) wasGathered(name string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.gathered[name] > 0
}

// A log that is written to all the time does not hide another one's changes.
func TestSetHearsOfQuietLogsBesideBusyOnes(t *testing.T) {
	r := newSetRig(t, hours(SetOptions{Gather: 10 * time.Millisecond}))
	r.write("busy", "")
	busy := r.add("busy")
	r.eventually("the directory is watched", busy.Watched)
	lines := r.keepWriting("busy", 1, func() bool { return isMute(busy) })

	r.write("quiet", "")
	quiet := r.add("quiet")
	if isMute(busy) {
		t.Error("with a quiet log in the directory, its writes are not told of")
	}
	n := 0
	lines = r.keepWriting("busy", len(strings.Fields(lines))+1, func() bool {
		if n++; n%200 == 0 {
			r.write("quiet", strconv.Itoa(n)+"\n")
		}
		return n > 1000 && r.got("quiet") == "200 400 600 800 1000"
	})
	r.want("busy", lines)

	// Without the quiet one it is as before.
	quiet.Remove()
	lines = r.keepWriting("busy", len(strings.Fields(lines))+1, func() bool { return isMute(busy) })
	r.want("busy", lines)
	busy.Remove()
}
