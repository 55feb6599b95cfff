package cli

import (
	"context"
	"flag"
	"fmt"
)

const configUsage = `Usage: log_capturer config print [--config FILE]

print: prints the configuration that is in effect: every key, with the file's
value or the default. Variables of the environment are put in. Secrets are not
printed: what is not in a file of its own is "<redacted>".

  --config FILE   the configuration, in YAML; without it the defaults are printed

Exit codes: 0 done, 1 failure, 2 wrong usage, 3 invalid configuration.
`

// configure carries out the commands around a configuration.
func configure(ctx context.Context, c *call) int {
	return c.sub(ctx, map[string]func(context.Context, *call) int{"print": printConfig})
}

// printConfig prints the configuration that is in effect.
func printConfig(_ context.Context, c *call) int {
	var file string
	if _, code, ok := c.parseFlags(0, func(flags *flag.FlagSet) { flags.StringVar(&file, "config", "", "") }); !ok {
		return code
	}
	cfg, err := c.load(file)
	if err != nil {
		return c.configError(err)
	}
	text, err := cfg.YAML()
	if err != nil {
		return c.failure(ExitFailure, err)
	}
	if _, err := fmt.Fprintf(c.Stdout, "%s", text); err != nil {
		return c.failure(ExitFailure, err)
	}
	return ExitOK
}
