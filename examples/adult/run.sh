#!/usr/bin/env bash
# From the Adult census (categories, missing text) to a service that answers and learns what came of it.
#
#   [ROWS=4000] examples/adult/run.sh [TABLE] [--keep DIR]
#
# TABLE is the CSV, compressed or not, by default what HOMEOSTAT_ADULT names. It is trained on the first 4,000 rows, for
# speed: ROWS is another number, or all. Everything happens in a scratch folder that is removed at the end, or in DIR,
# which is made and stays. The report is written to adult-report.html where you are.
set -euo pipefail
# shellcheck source=examples/steps.sh
. "$(dirname "${BASH_SOURCE[0]}")/../steps.sh"

report=$PWD/adult-report.html
rows=${ROWS:-4000}
begin "${HOMEOSTAT_ADULT:-}" "It is OpenML's data set 1590, saved as CSV with a header and the outcome in the column income:
examples/adult/run.sh TABLE, or HOMEOSTAT_ADULT=TABLE" "$@"

say "homeostat init: a schema from the whole table, read as it is"
homeostat init "$table" --target income --name adult

say "homeostat check: the whole table against the schema"
homeostat check "$table"

say "The last 100 people are set aside: they arrive later"
split_table 100
if [ "$rows" != all ]; then
    sed "$((rows + 2)),\$d" known.csv >first.csv && mv first.csv known.csv
fi

say "homeostat train: on $(($(wc -l <known.csv) - 1)) rows of it"
# The settings name the whole table; a variable wins over them.
export HOMEOSTAT_PROJECT__DATA='["known.csv"]'
homeostat train --reason "the example"

say "homeostat serve: the 100 people arrive, then their outcomes"
start_service
send_arrivals income

say "homeostat status"
homeostat status

say "homeostat report: one file that opens anywhere"
homeostat report -o "$report"
