package container

import (
	"strings"
	"testing"
)

func TestGlob(t *testing.T) {
	f := func(pattern, s string, want bool) {
		t.Helper()
		if got := glob(pattern, s); got != want {
			t.Errorf("glob %q of %q: %v, want %v", pattern, s, got, want)
		}
	}
	f("web", "web", true)
	f("web", "web_1", false)
	f("web*", "web_1", true)
	f("*", "", true)
	f("*", "a/b/c", true)
	f("registry/*", "registry/team/app:1", true)
	f("registry/*/app:*", "registry/team/app:1", true)
	f("w?b", "web", true)
	f("a?b", "a/b", true)
	f("w[ae]b", "wab", true)
	f("w[ae]b", "wib", false)
	f("[", "[", false)
	f("", "", true)
}

func TestFilter(t *testing.T) {
	web := Info{ID: "1", Name: "web_1", Image: "registry/shop/web:2", Labels: map[string]string{"tier": "front", "empty": ""}}
	f := func(what string, filter Filter, c Info, want string) {
		t.Helper()
		if got := filter.excluded(c); got != want && (want == "" || !strings.Contains(got, want)) {
			t.Errorf("%s: %q, want %q", what, got, want)
		}
	}
	names := func(n ...string) Selection { return Selection{Names: n} }
	f("no filter", Filter{}, web, "")
	f("included by name", Filter{Include: names("db", "web*")}, web, "")
	f("not included", Filter{Include: names("db")}, web, "not in container_monitor.include")
	f("included by image", Filter{Include: Selection{Images: []string{"*/web:*"}}}, web, "")
	f("included by label's key", Filter{Include: Selection{Labels: []string{"tier"}}}, web, "")
	f("included by an empty label", Filter{Include: Selection{Labels: []string{"empty"}}}, web, "")
	f("included by label's value", Filter{Include: Selection{Labels: []string{"tier=fr*"}}}, web, "")
	f("another value", Filter{Include: Selection{Labels: []string{"tier=back"}}}, web, "not in container_monitor.include")
	f("no such label", Filter{Include: Selection{Labels: []string{"other=*"}}}, web, "not in container_monitor.include")
	f("one of several kinds is enough", Filter{Include: Selection{Names: []string{"db"}, Labels: []string{"tier"}}}, web, "")
	f("turned off by its label", Filter{}, Info{Name: "web_1", Labels: map[string]string{"log_capturer.enable": "false"}}, "turned off by its label")
	f("turned off by Elastic's label", Filter{}, Info{Name: "web_1", Labels: map[string]string{"co.elastic.logs/enabled": "false"}}, "turned off by its label co.elastic.logs/enabled")
	f("turned off by logspout's label", Filter{}, Info{Name: "web_1", Labels: map[string]string{"LOGSPOUT": "ignore"}}, "turned off by its label LOGSPOUT")
	f("turned off by logspout's variable", Filter{}, Info{Name: "web_1", Ignored: true}, "turned off by LOGSPOUT=ignore in its environment")
	f("a label goes before the variable", Filter{}, Info{Name: "web_1", Ignored: true, Labels: map[string]string{"log_capturer.enable": "true"}}, "")
	promtail := Filter{Include: Selection{Labels: []string{"logging=promtail"}}}
	f("meant for another collector", promtail, Info{Labels: map[string]string{"logging": "promtail"}}, "")
	f("meant for none", promtail, web, "not in container_monitor.include")
	f("turned on by its label", Filter{}, Info{Name: "web_1", Labels: map[string]string{"log_capturer.enable": "true"}}, "")
	f("excluded", Filter{Exclude: names("web_?")}, web, "container_monitor.exclude")
	f("excluded by label", Filter{Exclude: Selection{Labels: []string{"tier=front"}}}, web, "container_monitor.exclude")
	f("exclude beats include", Filter{Include: names("web*"), Exclude: names("*_1")}, web, "container_monitor.exclude")
	f("own id", Filter{Self: "1", Include: names("web*")}, web, "own container")
	f("another id", Filter{Self: "2"}, web, "")
	f("own label", Filter{}, Info{Labels: map[string]string{SelfLabel: "true"}}, "own container")
	f("own label unset", Filter{}, Info{Labels: map[string]string{SelfLabel: "false"}}, "")
}

func TestSelfID(t *testing.T) {
	id := strings.Repeat("0123456789abcdef", 4)
	other := strings.Repeat("f", 64)
	f := func(what, mounts, cgroup, want string) {
		t.Helper()
		if got := selfID([]byte(mounts), []byte(cgroup)); got != want {
			t.Errorf("%s: %q, want %q", what, got, want)
		}
	}
	mount := func(root, point string) string {
		return "700 680 8:1 " + root + " " + point + " rw,relatime - ext4 /dev/sda1 rw\n"
	}
	overlay := "680 500 0:50 / / rw,relatime - overlay overlay rw,lowerdir=/var/lib/docker/overlay2/l/A:/var/lib/docker/overlay2/l/B\n"
	hosts := overlay + mount("/var/lib/docker/containers/"+id+"/hosts", "/etc/hosts")
	f("nothing", "", "", "")
	f("a process of the host, cgroup v2", mount("/", "/"), "0::/user.slice/user-1000.slice/session-2.scope\n", "")
	f("a process of the host, cgroup v1", mount("/", "/"), "12:pids:/user.slice\n1:name=systemd:/user.slice\n", "")
	f("cgroup v2 with a namespace of its own", hosts, "0::/\n", id)
	f("resolv.conf", mount("/var/lib/docker/containers/"+id+"/resolv.conf", "/etc/resolv.conf"), "0::/\n", id)
	f("hostname, data root elsewhere", mount("/srv/d/containers/"+id+"/hostname", "/etc/hostname"), "0::/\n", id)
	f("cgroup v1", overlay, "12:pids:/docker/"+id+"\n1:name=systemd:/docker/"+id+"\n", id)
	f("cgroup v1 with systemd", overlay, "5:memory:/system.slice/docker-"+id+".scope\n", id)
	f("cgroup v1 of an orchestrator", overlay, "3:cpu:/kubepods/burstable/pod1/"+id+"\n", id)
	f("cgroup v2 with systemd", overlay, "0::/system.slice/docker-"+id+".scope\n", id)
	f("mounts come first", hosts, "12:pids:/docker/"+other+"\n", id)
	f("a short id is none", mount("/var/lib/docker/containers/"+id[:12]+"/hosts", "/etc/hosts"), "1:pids:/docker/"+id[:12]+"\n", "")
	f("another file of the directory", mount("/var/lib/docker/containers/"+id+"/mounts/shm", "/dev/shm"), "0::/\n", "")
}
