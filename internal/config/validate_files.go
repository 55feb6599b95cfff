package config

import (
	"fmt"
	"maps"
	"slices"

	"log_capturer/internal/glob"
)

func (v validator) fileMonitor(c *Config) {
	const section = "file_monitor"
	m := &c.FileMonitor
	if len(m.Files) > 0 && m.MaxLineBytes > c.Dispatcher.WindowBytes {
		v.contradiction([]string{section + ".max_line_bytes", "dispatcher.window_bytes"},
			"a line of file_monitor.max_line_bytes (%s) does not fit into dispatcher.window_bytes (%s)",
			m.MaxLineBytes, c.Dispatcher.WindowBytes)
	}
	for i := range m.Files {
		f, path := &m.Files[i], fmt.Sprintf("%s.files[%d]", section, i)
		if len(f.Include) == 0 {
			v.wrong(path+".include", "is empty; give the files to capture, as in /var/log/*.log")
		}
		for j, pattern := range f.Include {
			at := fmt.Sprintf("%s.include[%d]", path, j)
			p, err := glob.Compile(pattern)
			if err != nil {
				v.wrong(at, "%s", err)
				continue
			}
			for _, name := range p.Names() {
				v.labelName(at, name)
				if _, both := f.Labels[name]; both {
					v.wrong(at, "{%s} is in labels as well", name)
				}
			}
		}
		for j, pattern := range f.Exclude {
			if _, err := glob.CompileExclude(pattern); err != nil {
				v.wrong(fmt.Sprintf("%s.exclude[%d]", path, j), "%s", err)
			}
		}
		for _, name := range slices.Sorted(maps.Keys(f.Labels)) {
			v.labelName(path+".labels."+shorten(name), name)
		}
		if _, ok := f.StartAge(); !ok && f.StartAt != StartAtBeginning && f.StartAt != StartAtEnd {
			v.wrong(path+".start_at", "want beginning, end or a duration such as 24h, not %q", shorten(f.StartAt))
		}
	}
}
