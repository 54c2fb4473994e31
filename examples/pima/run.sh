#!/usr/bin/env bash
# From the Pima table to a service that answers and learns what came of it.
#
#   examples/pima/run.sh [TABLE] [--keep DIR]
#
# TABLE is the CSV, by default what HOMEOSTAT_PIMA names. Everything happens in a scratch folder that is removed at
# the end, or in the new folder DIR, which stays. The report is written to pima-report.html where you are.
set -euo pipefail
# shellcheck source=examples/steps.sh
. "$(dirname "${BASH_SOURCE[0]}")/../steps.sh"

report=$PWD/pima-report.html
begin "${HOMEOSTAT_PIMA:-}" "It is OpenML's data set 37, saved as CSV with a header and the outcome in the column Outcome:
examples/pima/run.sh TABLE, or HOMEOSTAT_PIMA=TABLE" "$@"

say "The last 100 patients are set aside: they arrive later"
split_table 100

say "homeostat init: a schema from the table, with reasons"
homeostat init known.csv --target Outcome --name pima

say "homeostat check: the table against the schema"
homeostat check known.csv

say "homeostat train: a search, a gate, and the first release in production"
homeostat train --reason "the example"

say "homeostat serve: the 100 patients arrive, then their outcomes"
start_service
send_arrivals Outcome

say "homeostat status"
homeostat status

say "homeostat report: one file that opens anywhere"
homeostat report -o "$report"
