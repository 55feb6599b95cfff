package splunk

import (
	"log_capturer/internal/record"
)

// appendDerivation appends what a pipeline made of a record as indexed fields:
// its level, its labels, and its attributes as texts.
func appendDerivation(dst []byte, d *record.Derivation) []byte {
	if d == nil {
		return dst
	}
	member := func(name, value string) {
		if dst[len(dst)-1] != '{' {
			dst = append(dst, ',')
		}
		dst = appendMember(dst, name, []byte(value))
	}
	if d.Level != "" {
		member("level", d.Level)
	}
	for _, list := range [...][]record.Attribute{d.Labels, d.Attributes} {
		for i := range list {
			member(list[i].Name, list[i].Value)
		}
	}
	return dst
}
