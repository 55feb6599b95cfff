package tools

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"log_capturer/internal/cli"
)

const lettersUsage = `Usage: log_capturer dead-letters ACTION [FLAGS] [ID...]

Shows what destinations refused for good and the running agent keeps, and what
becomes of it.

  list     a line for each letter
  show     the letters with all that is known of them, as lines of JSON
  replay   deliver letters again; those that are accepted are removed, and those
           that are refused again are kept anew. Waits for the end
  purge    remove letters

  ID...            numbers of letters, as list shows them
  --sink NAME      letters that were for this sink
  --reason REASON  letters that were refused for this reason
  --all            all letters; replay and purge want it where nothing else is said
  --limit N        list and show: at most so many, 100 by default, 0 for all
  --to NAME        replay: deliver to this sink, and not to the one they were for
  --config FILE    the configuration, in YAML, for the address of the API
  --api URL        the address of the API

Exit codes: 0 done, 1 not done, 2 wrong usage, 3 invalid configuration.
`

// letters is a use of the command dead-letters.
type letters struct {
	env          cli.Env
	api          string
	ids          []string
	sink, reason string
	to           string
	all          bool
	limit        int
}

// runLetters carries out the command dead-letters.
func runLetters(ctx context.Context, env cli.Env, args []string) error {
	what, args, err := action(args, "list", "show", "replay", "purge")
	if err != nil {
		return err
	}
	l := letters{env: env}
	var file string
	flags := newFlags(&file)
	flags.StringVar(&l.sink, "sink", "", "")
	flags.StringVar(&l.reason, "reason", "", "")
	flags.StringVar(&l.to, "to", "", "")
	flags.StringVar(&l.api, "api", "", "")
	flags.BoolVar(&l.all, "all", false, "")
	flags.IntVar(&l.limit, "limit", 100, "")
	if l.ids, err = parse(flags, args); err != nil {
		return err
	}
	for _, id := range l.ids {
		if _, err := strconv.ParseUint(id, 10, 64); err != nil {
			return cli.UsageError(fmt.Sprintf("want the number of a letter, not %q", id))
		}
	}
	if some := len(l.ids) > 0 || l.sink != "" || l.reason != ""; (what == "replay" || what == "purge") && !some && !l.all {
		return cli.UsageError("say which letters, or --all")
	}
	if l.api == "" {
		cfg, err := load(env, file)
		if err != nil {
			return err
		}
		l.api = "http://" + cfg.Server.Listen
	}
	switch what {
	case "list":
		return l.list(ctx)
	case "show":
		return l.show(ctx)
	case "replay":
		return l.replay(ctx)
	}
	return l.purge(ctx)
}

// call asks the API, and decodes its answer.
func (l *letters) call(ctx context.Context, method, path string, query url.Values, body, answer any) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	var content io.Reader
	if body != nil {
		encoded, err := json.Marshal(body)
		if err != nil {
			return err
		}
		content = bytes.NewReader(encoded)
	}
	req, err := http.NewRequestWithContext(ctx, method, strings.TrimSuffix(l.api, "/")+path+"?"+query.Encode(), content)
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	res, err := client.Do(req)
	if err != nil {
		return fmt.Errorf("ask the agent (does it run, and is server.listen right?): %w", err)
	}
	defer res.Body.Close()
	if res.StatusCode >= 300 {
		var refused struct{ Error string }
		if err := json.NewDecoder(res.Body).Decode(&refused); err != nil || refused.Error == "" {
			refused.Error = res.Status
		}
		return fmt.Errorf("the agent says: %s", refused.Error)
	}
	if err := json.NewDecoder(res.Body).Decode(answer); err != nil {
		return fmt.Errorf("decode the agent's answer: %w", err)
	}
	return nil
}

const lettersPath = "/api/v1/dead-letters"

func (l *letters) query() url.Values {
	q := url.Values{}
	for _, id := range l.ids {
		q.Add("id", id)
	}
	if l.sink != "" {
		q.Set("sink", l.sink)
	}
	if l.reason != "" {
		q.Set("reason", l.reason)
	}
	if l.all {
		q.Set("all", "true")
	}
	return q
}

// listed is the API's list.
type listed struct {
	Total   int
	Letters []struct {
		ID     uint64
		Letter json.RawMessage
	}
	Replay struct {
		Running         bool
		Total, Accepted int
		Error           string
	}
}

func (l *letters) get(ctx context.Context, limit int) (listed, error) {
	q := l.query()
	q.Set("limit", strconv.Itoa(limit))
	var got listed
	return got, l.call(ctx, http.MethodGet, lettersPath, q, nil, &got)
}

func (l *letters) list(ctx context.Context) error {
	got, err := l.get(ctx, l.limit)
	if err != nil {
		return err
	}
	out := tabwriter.NewWriter(l.env.Stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(out, "ID\tTIME\tSINK\tREASON\tCONTAINER\tDETAIL")
	for _, one := range got.Letters {
		var o struct {
			Time   time.Time
			Sink   string
			Reason string
			Detail string
			Name   string `json:"container_name"`
		}
		if err := json.Unmarshal(one.Letter, &o); err != nil {
			o.Detail = "the letter cannot be read: " + err.Error()
		}
		detail := []rune(strings.Join(strings.Fields(o.Detail), " "))
		fmt.Fprintf(out, "%d\t%s\t%s\t%s\t%s\t%s\n", one.ID, o.Time.Format(time.RFC3339), o.Sink, o.Reason, o.Name, string(detail[:min(len(detail), 100)]))
	}
	if err := out.Flush(); err != nil {
		return err
	}
	if more := got.Total - len(got.Letters); more > 0 {
		fmt.Fprintf(l.env.Stdout, "and %d more; --limit 0 lists all\n", more)
	}
	return nil
}

func (l *letters) show(ctx context.Context) error {
	got, err := l.get(ctx, l.limit)
	if err != nil {
		return err
	}
	encoder := json.NewEncoder(l.env.Stdout)
	encoder.SetEscapeHTML(false)
	for _, one := range got.Letters {
		err := encoder.Encode(struct {
			ID     uint64          `json:"id"`
			Letter json.RawMessage `json:"letter"`
		}{one.ID, one.Letter})
		if err != nil {
			return err
		}
	}
	return nil
}

func (l *letters) purge(ctx context.Context) error {
	var answer struct{ Purged int }
	if err := l.call(ctx, http.MethodDelete, lettersPath, l.query(), nil, &answer); err != nil {
		return err
	}
	fmt.Fprintf(l.env.Stdout, "%d letters purged\n", answer.Purged)
	return nil
}

func (l *letters) replay(ctx context.Context) error {
	order := struct {
		IDs    []uint64 `json:"ids,omitempty"`
		Sink   string   `json:"sink,omitempty"`
		Reason string   `json:"reason,omitempty"`
		To     string   `json:"to,omitempty"`
	}{Sink: l.sink, Reason: l.reason, To: l.to}
	for _, id := range l.ids {
		n, _ := strconv.ParseUint(id, 10, 64) // was checked
		order.IDs = append(order.IDs, n)
	}
	var asked struct{ Selected int }
	if err := l.call(ctx, http.MethodPost, lettersPath+"/replay", nil, order, &asked); err != nil {
		return err
	}
	fmt.Fprintf(l.env.Stdout, "%d letters selected\n", asked.Selected)
	progress := l.env.Progress()
	defer progress("")
	for asked.Selected > 0 {
		got, err := l.get(ctx, 1)
		if err != nil {
			return err
		}
		r := got.Replay
		progress(fmt.Sprintf("%d of %d letters replayed ...", r.Accepted, r.Total))
		if !r.Running {
			progress("")
			fmt.Fprintf(l.env.Stdout, "%d of %d letters replayed\n", r.Accepted, r.Total)
			if r.Error != "" {
				return fmt.Errorf("replay ended early: %s", r.Error)
			}
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(200 * time.Millisecond):
		}
	}
	return nil
}
