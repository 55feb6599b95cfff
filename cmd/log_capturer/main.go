// Command log_capturer captures every line that every container of a Docker
// host writes, and delivers it. 'log_capturer help' tells how it is used.
package main

import (
	"context"
	"os"

	"log_capturer/internal/app"
	"log_capturer/internal/cli"
	"log_capturer/internal/tools"
)

func main() {
	env := cli.Env{Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr, LookupEnv: os.LookupEnv}
	os.Exit(cli.Main(context.Background(), os.Args[1:], env, cli.Agent{Run: app.Run, Check: app.Check, Tools: tools.All()}))
}
