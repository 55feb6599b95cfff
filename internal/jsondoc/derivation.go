package jsondoc

import "log_capturer/internal/record"

// AppendDerivation appends the members of what a pipeline made of a record, each
// with a comma before it: "level", "fields" with the attributes, "labels". It
// appends nothing where d is nil.
func AppendDerivation(dst []byte, d *record.Derivation) []byte {
	if d == nil {
		return dst
	}
	if d.Level != "" {
		dst = append(dst, `,"level":"`...)
		dst = append(dst, d.Level...)
		dst = append(dst, '"')
	}
	dst = appendAttributes(dst, `,"fields":`, d.Attributes)
	return appendAttributes(dst, `,"labels":`, d.Labels)
}

// appendAttributes appends an object with its name, nothing where it has no
// members.
func appendAttributes(dst []byte, name string, list []record.Attribute) []byte {
	if len(list) == 0 {
		return dst
	}
	dst = append(dst, name...)
	for i := range list {
		separator := byte(',')
		if i == 0 {
			separator = '{'
		}
		dst = append(dst, separator)
		dst, _ = AppendString(dst, []byte(list[i].Name))
		dst = append(dst, ':')
		if list[i].JSON {
			dst = append(dst, list[i].Value...)
		} else {
			dst, _ = AppendString(dst, []byte(list[i].Value))
		}
	}
	return append(dst, '}')
}
