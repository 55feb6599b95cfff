package file

import (
	"strings"

	"log_capturer/internal/record"
)

// describePod adds what the path of a container's log says of its pod. The
// kubelet names these files
//
//	/var/log/pods/<namespace>_<pod>_<uid>/<container>/<restarts>.log
//	/var/log/containers/<pod>_<namespace>_<container>-<container id>.log
//
// the second being a link to the first (kuberuntime's helpers, and its legacy
// log symlinks).
func describePod(src *record.Source) {
	parts := strings.Split(src.FilePath, "/")
	n := len(parts)
	if n >= 4 && parts[n-4] == "pods" {
		names := strings.Split(parts[n-3], "_")
		if len(names) != 3 || !strings.HasSuffix(parts[n-1], ".log") {
			return
		}
		src.Namespace, src.Pod, src.PodUID, src.ContainerName = names[0], names[1], names[2], parts[n-2]
		return
	}
	if n >= 2 && parts[n-2] == "containers" {
		name, ok := strings.CutSuffix(parts[n-1], ".log")
		names := strings.Split(name, "_")
		if !ok || len(names) != 3 {
			return
		}
		dash := strings.LastIndexByte(names[2], '-')
		if dash < 1 || len(names[2])-dash-1 != idLength {
			return
		}
		src.Pod, src.Namespace = names[0], names[1]
		src.ContainerName, src.ContainerID = names[2][:dash], names[2][dash+1:]
	}
}

// idLength is the number of digits of a container's id.
const idLength = 64
