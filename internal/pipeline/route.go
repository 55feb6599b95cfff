package pipeline

import (
	"errors"
	"fmt"
)

type routeStage struct {
	rules       []compiledRule
	def         SinkSet
	none        bool
	fallThrough bool
}

type compiledRule struct {
	when  *expression
	sinks SinkSet
}

func (o *Route) compile(c *compiler) (stage, error) {
	s := &routeStage{fallThrough: o.FallThrough}
	var errs []error
	for i, rule := range o.Rules {
		key := fmt.Sprintf("rules[%d]", i)
		when, err := condition(key+".if", rule.If)
		errs = append(errs, err)
		set, err := c.sinkSet(key+".sinks", rule.Sinks)
		errs = append(errs, err)
		if len(rule.Sinks) == 0 {
			errs = append(errs, wrong(key+".sinks", "is empty; give the names of sinks"))
		}
		s.rules = append(s.rules, compiledRule{when, set})
	}
	switch o.Default {
	case "":
		errs = append(errs, wrong("default", "is missing; say where a record goes that no rule matches: all, none or the name of a sink"))
	case "all":
	case "none":
		s.none = true
	default:
		set, err := c.sinkSet("default", []string{o.Default})
		if err != nil {
			err = wrong("default", "%s", OptionErrors(err)[0].Message)
		}
		errs = append(errs, err)
		s.def = set
	}
	return s, errors.Join(errs...)
}

func (s *routeStage) open(r *Run) instance { return &routing{s, r.env, r.dropper()} }

type routing struct {
	*routeStage
	env *environment
	dropper
}

func (r *routing) process(e *Event, next func(*Event)) error {
	var set SinkSet
	for i := range r.rules {
		yes, err := r.rules[i].when.bool(r.env, e)
		if err != nil {
			return err
		}
		if yes {
			set |= r.rules[i].sinks
			if !r.fallThrough {
				break
			}
		}
	}
	if set == 0 {
		if r.none {
			r.drop(e, "unrouted")
			return nil
		}
		set = r.def
	}
	e.Sinks = set
	next(e)
	return nil
}
