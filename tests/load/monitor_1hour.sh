#!/usr/bin/env bash
# Watches a running agent under the load test, for an hour unless told
# otherwise, and ends with a verdict. See --help.
set -euo pipefail
cd "$(dirname "$0")/../.."
exec go run ./tests/load/lab monitor "$@"
