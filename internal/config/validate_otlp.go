package config

import (
	"maps"
	"slices"
)

func (v validator) otlp(o *OTLP, path string) {
	example := "http://collector:4318"
	if o.Protocol == "grpc" {
		example = "http://collector:4317"
	}
	v.url(o.URL, o.Connection, path, "the destination", example, true)
	for _, name := range slices.Sorted(maps.Keys(o.ResourceAttributes)) {
		key := path + ".resource_attributes." + shorten(name)
		if name == "" {
			v.wrong(key, "an attribute needs a name")
		}
		if t := v.template(key, o.ResourceAttributes[name], nil); t != nil && (t.UsesTime() || t.UsesStream()) {
			v.wrong(key, "{stream}, {date} and {hour} have no place here: a record has its stream and its time by itself")
		}
	}
	v.httpAuth(o.Auth, path)
	v.headers(o.Auth, o.Connection, path)
	v.tls(&o.Connection.TLS, path+".tls")
}
