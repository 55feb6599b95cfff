package pipeline

type limitStage struct {
	lines, bytes, burst float64
	key                 *expression
	maxKeys             int
}

func (o *Limit) compile(*compiler) (stage, error) {
	if o.Lines == 0 && o.Bytes == 0 {
		return nil, wrong("", "give lines_per_second, bytes_per_second or both")
	}
	s := &limitStage{lines: float64(o.Lines), bytes: float64(o.Bytes), burst: float64(o.Burst), maxKeys: o.MaxKeys}
	var err error
	if o.Key != "" {
		s.key, err = value("key", o.Key)
	}
	return s, err
}

func (s *limitStage) open(r *Run) instance {
	return &limiting{limitStage: s, env: r.env, dropper: r.dropper(), buckets: map[string]*bucket{}}
}

type limiting struct {
	*limitStage
	dropper
	env     *environment
	buckets map[string]*bucket
	shared  *bucket
	text    []byte
}

// bucket holds what may still come: tokens that fill up with time.
type bucket struct {
	lines, bytes float64
	at           int64
}

func (l *limiting) process(e *Event, next func(*Event)) error {
	l.text = l.text[:0]
	if l.key != nil {
		var err error
		if l.text, err = l.key.appendText(l.text, l.env, e); err != nil {
			return err
		}
	}
	b := l.bucket(e.Captured)
	if elapsed := float64(e.Captured-b.at) / 1e9; elapsed > 0 {
		b.lines = min(b.lines+elapsed*l.lines, l.lines*l.burst)
		b.bytes = min(b.bytes+elapsed*l.bytes, l.bytes*l.burst)
		b.at = e.Captured
	}
	size := float64(len(e.Line))
	// A line of more bytes than a full bucket has passes when it is full.
	if l.lines > 0 && b.lines < 1 || l.bytes > 0 && b.bytes < min(size, l.bytes*l.burst) {
		l.drop(e, "limit")
		return nil
	}
	b.lines--
	b.bytes -= size
	next(e)
	return nil
}

// bucket returns the bucket of the key in l.text.
func (l *limiting) bucket(now int64) *bucket {
	if b := l.buckets[string(l.text)]; b != nil {
		return b
	}
	full := &bucket{lines: l.lines * l.burst, bytes: l.bytes * l.burst, at: now}
	if len(l.buckets) < l.maxKeys && len(l.text) <= MaxNameBytes {
		l.buckets[string(l.text)] = full
		return full
	}
	if l.shared == nil {
		l.shared = full
	}
	return l.shared
}
