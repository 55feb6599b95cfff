package cli

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"

	"log_capturer/internal/promtail"
)

const configUsage = `Usage: log_capturer config print [--config FILE]
       log_capturer config convert --from promtail [--output FILE] FILE

print: prints the configuration that is in effect: every key, with the file's
value or the default. Variables of the environment are put in. Secrets are not
printed: what is not in a file of its own is "<redacted>".

convert: prints a configuration that does what FILE has Promtail do ("-" is
standard input): containers and files, relabelling, pipelines and clients. What
is not carried over is listed on standard error, each with its line. Secrets in
FILE are in the result. Variables, ${NAME}, stay variables, as with Promtail's
-config.expand-env.

  --config FILE   the configuration, in YAML; without it the defaults are printed
  --from KIND     what FILE is: promtail
  --output FILE   where to write the result, instead of standard output; the file
                  must not exist

Exit codes: 0 done, also when something is not carried over; 1 failure, 2 wrong
usage, 3 invalid configuration.
`

// configure carries out the commands around a configuration.
func configure(ctx context.Context, c *call) int {
	return c.sub(ctx, map[string]func(context.Context, *call) int{"print": printConfig, "convert": convertConfig})
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

// maxConvert bounds what is read of a configuration to convert, in bytes.
const maxConvert = 16 << 20

// convertConfig prints the configuration that corresponds to that of another
// agent.
func convertConfig(_ context.Context, c *call) int {
	var from, output string
	rest, code, ok := c.parseFlags(1, func(flags *flag.FlagSet) {
		flags.StringVar(&from, "from", "", "")
		flags.StringVar(&output, "output", "", "")
	})
	if !ok {
		return code
	}
	if from != "promtail" {
		return c.usageError("--from says what the file is, which can be promtail")
	}
	if len(rest) == 0 {
		return c.usageError("the file to convert is missing")
	}
	text, notes, err := c.convert(rest[0])
	if err != nil {
		return c.failure(ExitConfig, fmt.Errorf("convert %s: %w", rest[0], err))
	}
	if err := c.writeNew(output, text); err != nil {
		return c.failure(ExitFailure, fmt.Errorf("write the configuration: %w", err))
	}
	for _, note := range notes {
		fmt.Fprintf(c.Stderr, "%s:%d: %s: %s\n", rest[0], note.Line, note.Path, note.Message)
	}
	return ExitOK
}

func (c *call) convert(file string) (text []byte, notes []promtail.Note, err error) {
	in := c.Stdin
	if file != "-" {
		f, err := os.Open(file)
		if err != nil {
			return nil, nil, err
		}
		defer f.Close() //nolint:errcheck // a file that was read
		in = f
	}
	data, err := io.ReadAll(io.LimitReader(in, maxConvert))
	if err != nil {
		return nil, nil, err
	}
	return promtail.Convert(data)
}

// writeNew writes a file that does not exist yet, or to standard output when it
// has no name. Nobody else may read it, since it may hold secrets.
func (c *call) writeNew(file string, text []byte) error {
	if file == "" {
		_, err := c.Stdout.Write(text)
		return err
	}
	f, err := os.OpenFile(file, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(text)
	return errors.Join(err, f.Close())
}
