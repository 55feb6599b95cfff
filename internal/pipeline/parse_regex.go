package pipeline

import "regexp"

func (o *Regex) compile(*compiler) (stage, error) {
	re, err := pattern("pattern", o.Pattern)
	if err != nil {
		return nil, err
	}
	names := re.SubexpNames()
	named := 0
	for _, name := range names {
		if name != "" {
			named++
		}
	}
	if named == 0 {
		return nil, wrong("pattern", "has no named group; write (?P<name>...) around what is to become an attribute")
	}
	return &parser{from: o.From, parse: func(text string, into *fieldList) error {
		places := re.FindStringSubmatchIndex(text)
		if places == nil {
			return fail("no_match", "does not match the pattern")
		}
		for i, name := range names {
			if name == "" || places[2*i] < 0 {
				continue
			}
			if err := into.add(name, guessed(text[places[2*i]:places[2*i+1]])); err != nil {
				return err
			}
		}
		return nil
	}}, nil
}

// pattern compiles a regular expression. The key is for the error.
func pattern(key, text string) (*regexp.Regexp, error) {
	if text == "" {
		return nil, wrong(key, "is empty; give a regular expression")
	}
	re, err := regexp.Compile(text)
	if err != nil {
		return nil, wrong(key, "%s", err)
	}
	return re, nil
}
