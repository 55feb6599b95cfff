package cli

import (
	"context"
	"errors"
	"flag"
	"io"
	"net/http"
	"os"

	"golang.org/x/term"

	"log_capturer/internal/client"
)

// apiUsage is the part of a usage that tells of agentFlags.
const apiUsage = `  --api ADDRESS   the agent's API, as host:port or a URL; without it
                  $LOG_CAPTURER_API, or server.listen of the configuration
  --config FILE   the configuration that the agent runs with
`

// agentFlags say where the running agent is.
type agentFlags struct{ api, config string }

func (a *agentFlags) define(flags *flag.FlagSet) {
	flags.StringVar(&a.api, "api", "", "")
	flags.StringVar(&a.config, "config", "", "")
}

// connect returns a client of the running agent. It returns false with the exit
// code when it is not known where that is.
func (c *call) connect(where agentFlags) (agent *client.Client, code int, ok bool) {
	address, err := c.apiAddress(where)
	if errors.Is(err, errNoAPI) {
		return nil, c.usageError("%s %v", where.config, err), false
	}
	if err != nil {
		return nil, c.configError(err), false
	}
	if agent, err = client.New(address); err != nil {
		return nil, c.usageError("%v", err), false
	}
	return agent, ExitOK, true
}

var errNoAPI = errors.New("turns the API off: server.enabled is false")

// apiAddress returns where the API is: what was named, else what the
// configuration says.
func (c *call) apiAddress(where agentFlags) (string, error) {
	if where.api != "" {
		return where.api, nil
	}
	if address, ok := c.LookupEnv("LOG_CAPTURER_API"); ok && address != "" && where.config == "" {
		return address, nil
	}
	cfg, err := c.load(where.config)
	if err != nil {
		return "", err
	}
	if !cfg.Server.Enabled {
		return "", errNoAPI
	}
	return cfg.Server.Listen, nil
}

// agentError says what went wrong with the running agent.
func (c *call) agentError(ctx context.Context, err error) int {
	if ctx.Err() != nil {
		return ExitOK // told to end
	}
	return c.failure(ExitUnreachable, err)
}

// isTerminal reports whether a stream is a terminal.
func isTerminal(stream any) bool {
	f, ok := stream.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// wantsColor reports whether what is written to w may be coloured: when it is a
// terminal, and neither NO_COLOR nor a dumb terminal says otherwise.
func (c *call) wantsColor(w io.Writer) bool {
	if value, ok := c.LookupEnv("NO_COLOR"); ok && value != "" {
		return false
	}
	if value, _ := c.LookupEnv("TERM"); value == "dumb" {
		return false
	}
	return isTerminal(w)
}

// asRefused returns the answer by which the agent said that the question was
// wrong.
func asRefused(err error) (*client.StatusError, bool) {
	refused, ok := errors.AsType[*client.StatusError](err)
	return refused, ok && refused.Code == http.StatusBadRequest
}
