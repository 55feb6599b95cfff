package cli

import (
	"context"
	_ "embed"
	"flag"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"time"

	"log_capturer/internal/client"
)

const completionUsage = `Usage: log_capturer completion bash|zsh|fish

Prints a script that makes the shell complete commands, flags, values, and the
names of the containers that a running agent knows. To have it in every shell:

  bash   log_capturer completion bash > /etc/bash_completion.d/log_capturer
  zsh    log_capturer completion zsh > "${fpath[1]}/_log_capturer"
  fish   log_capturer completion fish > ~/.config/fish/completions/log_capturer.fish

or, in the present shell: source <(log_capturer completion bash)

Exit codes: 0 done, 2 wrong usage.
`

//go:embed completion/bash.sh
var bashCompletion string

//go:embed completion/zsh.sh
var zshCompletion string

//go:embed completion/fish.fish
var fishCompletion string

// completion prints the script of a shell.
func completion(_ context.Context, c *call) int {
	rest, code, ok := c.parseFlags(1, func(*flag.FlagSet) {})
	if !ok {
		return code
	}
	scripts := map[string]string{"bash": bashCompletion, "zsh": zshCompletion, "fish": fishCompletion}
	if len(rest) == 0 || scripts[rest[0]] == "" {
		return c.usageError("want a shell: bash, zsh or fish")
	}
	fmt.Fprint(c.Stdout, scripts[rest[0]])
	return ExitOK
}

// completeCommand is the word by which the scripts ask for candidates. It is no
// command for people, and is not listed.
const completeCommand = "__complete"

// completeFile is the candidate that stands for the names of files.
const completeFile = ":file"

// completeTimeout bounds what a running agent may take to answer, so that a key
// does not hang for long.
const completeTimeout = 5 * time.Second

// subcommands are the words that may follow a command which has commands of its
// own.
var subcommands = map[string][]string{
	"config":       {"print", "convert"},
	"positions":    {"show", "export", "import", "reset"},
	"completion":   {"bash", "zsh", "fish"},
	"spool":        {"list", "check", "dump"},
	"dead-letters": {"list", "show", "replay", "purge"},
}

// values are what may follow a flag.
var values = map[string][]string{
	"--config":   {completeFile},
	"--data-dir": {completeFile},
	"--output":   {completeFile},
	"--from":     {"promtail"},
	"--to":       {"new", "beginning"},
	"--state":    states,
	"--stream":   {"stdout", "stderr"},
	"--color":    {"auto", "always", "never"},
}

// flagLine is how a usage tells of a flag: two spaces, the flag, what follows
// it, and what it means.
var flagLine = regexp.MustCompile(`(?m)^  (--[a-z-]+)(?: ([A-Z]+))?  +(.*)`)

// candidate is a word that may come next, and what it means.
type candidate struct{ word, meaning string }

// complete prints the candidates for the last of the words that follow the
// program's name, one a line, with a tab and the meaning where there is one.
func complete(ctx context.Context, c *call) int {
	// Bash takes an equals sign for a word.
	words := slices.DeleteFunc(slices.Clone(c.args), func(word string) bool { return word == "=" })
	if len(c.args) > 0 && c.args[len(c.args)-1] == "=" {
		words = append(words, "")
	}
	if len(words) == 0 {
		return ExitOK
	}
	current := words[len(words)-1]
	prefix := ""
	// Other shells complete the whole of --flag=value.
	if name, value, ok := strings.Cut(current, "="); ok && strings.HasPrefix(name, "--") {
		words = append(words[:len(words)-1], name, value)
		prefix, current = name+"=", value
	}
	for _, candidate := range c.candidates(ctx, words) {
		switch {
		case candidate.word == completeFile:
			fmt.Fprintln(c.Stdout, completeFile)
		case strings.HasPrefix(candidate.word, current) && candidate.meaning != "":
			fmt.Fprintf(c.Stdout, "%s%s\t%s\n", prefix, candidate.word, candidate.meaning)
		case strings.HasPrefix(candidate.word, current):
			fmt.Fprintln(c.Stdout, prefix+candidate.word)
		}
	}
	return ExitOK
}

// candidates returns what may stand in the place of the last word.
func (c *call) candidates(ctx context.Context, words []string) []candidate {
	before, current := words[:len(words)-1], words[len(words)-1]
	about := c.find("run")
	if len(before) > 0 && !strings.HasPrefix(before[0], "-") {
		if about = c.find(before[0]); about == nil {
			return nil
		}
	}
	flags := map[string]candidate{}
	takesValue := map[string]bool{}
	for _, match := range flagLine.FindAllStringSubmatch(about.usage, -1) {
		flags[match[1]] = candidate{match[1], match[3]}
		takesValue[match[1]] = match[2] != ""
	}
	if len(before) > 0 {
		if last := before[len(before)-1]; takesValue[last] {
			return plainCandidates(values[last])
		}
	}
	switch {
	case strings.HasPrefix(current, "-"):
		var list []candidate
		for _, name := range slices.Sorted(maps.Keys(flags)) {
			list = append(list, flags[name])
		}
		return list
	case len(before) == 0:
		var list []candidate
		for _, command := range c.all {
			list = append(list, candidate{command.name, command.summary})
		}
		return list
	case len(before) == 1 && subcommands[about.name] != nil:
		return plainCandidates(subcommands[about.name])
	case about.name == "help" && len(before) == 1:
		return c.candidates(ctx, []string{current})
	case about.name == "config" && before[1] == "convert", about.name == "positions" && before[1] == "import":
		return plainCandidates([]string{completeFile})
	case about.name == "tail":
		return c.containerNames(ctx, before)
	}
	return nil
}

func plainCandidates(words []string) []candidate {
	list := make([]candidate, len(words))
	for i, word := range words {
		list[i].word = word
	}
	return list
}

// containerNames returns the containers of the agent that the words before tell
// of, or none when it does not answer.
func (c *call) containerNames(ctx context.Context, before []string) []candidate {
	var where agentFlags
	for i, word := range before[:len(before)-1] {
		switch word {
		case "--api":
			where.api = before[i+1]
		case "--config":
			where.config = before[i+1]
		}
	}
	address, err := c.apiAddress(where)
	if err != nil {
		return nil
	}
	agent, err := client.New(address)
	if err != nil {
		return nil
	}
	defer agent.Close()
	ctx, cancel := context.WithTimeout(ctx, completeTimeout)
	defer cancel()
	containers, err := agent.Containers(ctx)
	if err != nil {
		return nil
	}
	list := make([]candidate, len(containers))
	for i := range containers {
		list[i] = candidate{printable(containers[i].Name), string(containers[i].State)}
	}
	return list
}
