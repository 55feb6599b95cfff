package localfile

import (
	"sync"
	"sync/atomic"

	"log_capturer/internal/record"
)

// sourceCache keeps what follows from a source alone, made once for each
// Source. It may be used from several goroutines at once.
type sourceCache struct {
	paths *pathTemplate
	infos sync.Map // of *record.Source to *sourceInfo
	count atomic.Int64
}

// maxSources bounds the cache. Sources are not told when they end, so a full
// cache is emptied, and those still in use come in again.
const maxSources = 4096

// sourceInfo is what follows from a source alone.
type sourceInfo struct {
	src *record.Source
	// fields is the end of the source's JSON lines.
	fields []byte
	// groups are the keys of Grouper.
	groups [record.NumStreams]string
	// targets are the paths last rendered, used by Send alone.
	targets [record.NumStreams]target
}

// target is a path, and the span of record times that it is for, in Unix
// nanoseconds; the bounds are zero when it is for all times.
type target struct {
	path        string
	from, until int64
}

func (c *sourceCache) get(src *record.Source) *sourceInfo {
	if info, ok := c.infos.Load(src); ok {
		return info.(*sourceInfo)
	}
	info := &sourceInfo{src: src, fields: sourceFields(src)}
	for i := range info.groups {
		info.groups[i] = c.paths.render(src, record.Stream(i), 0)
	}
	if c.count.Add(1) > maxSources {
		c.infos.Clear()
		c.count.Store(1)
	}
	c.infos.Store(src, info)
	return info
}

// target returns where a record of this stream and time goes.
func (info *sourceInfo) target(paths *pathTemplate, stream record.Stream, unixNano int64) *target {
	t := &info.targets[stream]
	if t.path == "" || t.until != 0 && (unixNano < t.from || unixNano >= t.until) {
		t.path = paths.render(info.src, stream, unixNano)
		t.from, t.until = paths.bounds(unixNano)
	}
	return t
}
