package container

import (
	"os"
	"regexp"
)

// A container's own id shows in where its engine mounts its hosts file from,
// and, with version 1 of cgroups, in its cgroup.
var (
	mountID  = regexp.MustCompile(`/containers/([0-9a-f]{64})/(?:hostname|hosts|resolv\.conf)`)
	cgroupID = regexp.MustCompile(`(?m)^\d+:[^:]*:.*[/-]([0-9a-f]{64})(?:\.scope)?$`)
)

// SelfID returns the id of the container that this process runs in, and "" when
// it runs in none.
func SelfID() string {
	mounts, _ := os.ReadFile("/proc/self/mountinfo")
	cgroup, _ := os.ReadFile("/proc/self/cgroup")
	return selfID(mounts, cgroup)
}

func selfID(mounts, cgroup []byte) string {
	if m := mountID.FindSubmatch(mounts); m != nil {
		return string(m[1])
	}
	if m := cgroupID.FindSubmatch(cgroup); m != nil {
		return string(m[1])
	}
	return ""
}
