package config

import (
	"maps"
	"regexp"
	"slices"
)

var guid = regexp.MustCompile(`^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$`)

func (v validator) splunk(s *Splunk, path string) {
	v.url(s.URL, s.Connection, path, "the HTTP Event Collector", "https://splunk:8088", true)
	if s.Token.IsZero() && s.TokenFile == "" {
		v.wrong(path+".token", "token is missing; give the collector's token, or token_file")
	}
	if s.Channel != "" && !guid.MatchString(s.Channel) {
		v.wrong(path+".channel", "want a GUID, as in 00000000-0000-0000-0000-000000000000")
	}
	// Fields of their own have no place in a raw request; the default's are left
	// out there.
	if s.Endpoint == "raw" {
		if v.isSet(path+".fields") && len(s.Fields) > 0 {
			v.contradiction([]string{path + ".fields", path + ".endpoint"}, "the raw endpoint takes no fields; leave them out")
		}
		s.Fields = nil
	}
	timeless := func(key, text string) {
		if t := v.template(key, text, nil); t != nil && t.UsesTime() {
			v.wrong(key, "{date} and {hour} have no place here: Splunk keeps the time of every record")
		}
	}
	timeless(path+".host", s.Host)
	timeless(path+".source", s.Source)
	timeless(path+".sourcetype", s.SourceType)
	timeless(path+".index", s.Index)
	for _, name := range slices.Sorted(maps.Keys(s.Fields)) {
		key := path + ".fields." + shorten(name)
		if name == "" || slices.Contains([]string{"cut", "continued", "unterminated", "line_base64"}, name) {
			v.wrong(key, "a field cannot have the name %q; rename it", shorten(name))
		}
		timeless(key, s.Fields[name])
	}
	v.headers(HTTPAuth{BearerToken: s.Token}, s.Connection, path)
	v.tls(&s.Connection.TLS, path+".tls")
}
