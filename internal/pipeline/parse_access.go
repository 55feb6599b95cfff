package pipeline

import "strings"

func (o *AccessLog) compile(*compiler) (stage, error) {
	format := o.Format
	return &parser{from: o.From, parse: func(text string, into *fieldList) error {
		return parseAccess(text, format, into)
	}}, nil
}

// parseAccess reads the formats "common" and "combined" of Apache's
// mod_log_config, which nginx writes as well:
//
//	client ident user [time] "method path protocol" status bytes "referer" "agent"
func parseAccess(text, format string, into *fieldList) error {
	not := func(what string) error { return fail("not_access_log", "%s", what) }
	client, rest, ok := strings.Cut(text, " ")
	if !ok || client == "" {
		return not("no client")
	}
	_, rest, ok = strings.Cut(rest, " ") // the identity, which nobody asks for
	if !ok {
		return not("no user")
	}
	// A user's name may hold spaces.
	user, rest, ok := strings.Cut(rest, " [")
	if !ok {
		return not("no time in brackets")
	}
	stamp, rest, ok := strings.Cut(rest, `] "`)
	if !ok {
		return not("no request in quotes")
	}
	request, n := cutQuoted(`"` + rest)
	if n == 0 {
		return not("the request has no end")
	}
	rest, ok = strings.CutPrefix(rest[n-1:], " ")
	if !ok {
		return not("no status")
	}
	status, rest, _ := strings.Cut(rest, " ")
	if len(status) != 3 || !isNumber(status) {
		return not("the status is no number of three digits")
	}
	bytes, rest, more := strings.Cut(rest, " ")
	if bytes != "-" && !isNumber(bytes) {
		return not("the number of bytes is none")
	}
	var referer, agent string
	if format != "common" {
		if more {
			if referer, rest, ok = quotedWord(rest); ok {
				agent, _, ok = quotedWord(strings.TrimPrefix(rest, " "))
			}
			more = ok
		}
		if !more && format == "combined" {
			return not("no referer and user agent")
		}
	}
	method, path, protocol := cutRequest(request)
	for _, f := range [...]struct{ name, text string }{
		{"client", client}, {"user", user}, {"timestamp", stamp}, {"method", method}, {"path", path},
		{"protocol", protocol}, {"referer", referer}, {"user_agent", agent},
	} {
		if f.text == "" || f.text == "-" {
			continue
		}
		if err := into.add(f.name, TextValue(f.text)); err != nil {
			return err
		}
	}
	if err := into.add("status", guessed(status)); err != nil || bytes == "-" {
		return err
	}
	return into.add("bytes", guessed(bytes))
}

func quotedWord(text string) (word, rest string, ok bool) {
	if !strings.HasPrefix(text, `"`) {
		return "", text, false
	}
	word, n := cutQuoted(text)
	return word, text[n:], n > 0
}

// cutRequest cuts "GET /path HTTP/1.1". What is no such line is the path alone:
// scanners send anything.
func cutRequest(request string) (method, path, protocol string) {
	first, last := strings.IndexByte(request, ' '), strings.LastIndexByte(request, ' ')
	if first < 0 || first == last || !strings.HasPrefix(request[last+1:], "HTTP/") {
		return "", request, ""
	}
	return request[:first], request[first+1 : last], request[last+1:]
}
