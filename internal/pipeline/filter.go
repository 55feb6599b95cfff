package pipeline

import (
	"regexp"
)

// reasonPattern is what a reason in a metric may be.
var reasonPattern = regexp.MustCompile(`^[a-z0-9_]{1,40}$`)

type filterStage struct {
	keepIf, dropIf *expression
	reason         string
}

func (o *Filter) compile(*compiler) (stage, error) {
	s := &filterStage{reason: o.Reason}
	if (o.Keep == "") == (o.Drop == "") {
		return nil, wrong("", "give either keep or drop")
	}
	if s.reason == "" {
		s.reason = "filter"
	}
	if !reasonPattern.MatchString(s.reason) {
		return nil, wrong("reason", "want up to 40 of a-z, 0-9 and _, not %q", shorten(o.Reason))
	}
	var err error
	if o.Keep != "" {
		s.keepIf, err = condition("keep", o.Keep)
	} else {
		s.dropIf, err = condition("drop", o.Drop)
	}
	return s, err
}

func (s *filterStage) open(r *Run) instance { return &filtering{s, r.env, r.dropper()} }

type filtering struct {
	*filterStage
	env *environment
	dropper
}

func (f *filtering) process(e *Event, next func(*Event)) error {
	x, pass := f.keepIf, true
	if x == nil {
		x, pass = f.dropIf, false
	}
	yes, err := x.bool(f.env, e)
	if err != nil {
		return err
	}
	if yes != pass {
		f.drop(e, f.reason)
		return nil
	}
	next(e)
	return nil
}

type sampleStage struct {
	oneIn uint64
	key   *expression
}

func (o *Sample) compile(*compiler) (stage, error) {
	if o.OneIn == 0 {
		return nil, wrong("one_in", "is missing; give of how many records one is kept")
	}
	s := &sampleStage{oneIn: uint64(o.OneIn)}
	var err error
	if o.Key != "" {
		s.key, err = value("key", o.Key)
	}
	return s, err
}

func (s *sampleStage) open(r *Run) instance {
	return &sampling{sampleStage: s, env: r.env, dropper: r.dropper()}
}

type sampling struct {
	*sampleStage
	env *environment
	dropper
	seen uint64
	text []byte
}

func (s *sampling) process(e *Event, next func(*Event)) error {
	number := s.seen
	if s.key != nil {
		var err error
		if s.text, err = s.key.appendText(s.text[:0], s.env, e); err != nil {
			return err
		}
		number = stableHash(s.text)
	} else {
		s.seen++
	}
	if number%s.oneIn != 0 {
		s.drop(e, "sample")
		return nil
	}
	next(e)
	return nil
}

// stableHash returns a hash of text that is the same in every process, so that
// the hosts of a fleet keep the same keys. FNV-1a alone is uneven in its low
// bits for short keys: they are mixed as MurmurHash3 ends.
func stableHash(text []byte) uint64 {
	h := uint64(14695981039346656037)
	for _, c := range text {
		h = (h ^ uint64(c)) * 1099511628211
	}
	h ^= h >> 33
	h *= 0xff51afd7ed558ccd
	h ^= h >> 33
	h *= 0xc4ceb9fe1a85ec53
	return h ^ h>>33
}
