#!/usr/bin/env bash
# Starts the containers of the load test: 55 of them with the label
# test=loadtest, each writing one numbered line a second. See --help.
set -euo pipefail
cd "$(dirname "$0")/../.."
exec go run ./tests/load/lab spawn "$@"
