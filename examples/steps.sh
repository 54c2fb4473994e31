# The steps that the examples share: the table, the folder, the service and its end. Sourced by a run.sh, no program.
# shellcheck shell=bash
set -euo pipefail

examples=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# In a clone the command is made by `make demo` or `make test`.
command -v homeostat >/dev/null || PATH="$examples/../.venv/bin:$PATH"

# A search of 3 configurations and no MLflow store: the example is in a hurry. Set a variable to take another value.
export HOMEOSTAT_TRAINING__TRIALS="${HOMEOSTAT_TRAINING__TRIALS:-3}"
export HOMEOSTAT_TRAINING__FOLDS="${HOMEOSTAT_TRAINING__FOLDS:-3}"
export HOMEOSTAT_TRAINING__REPEATS="${HOMEOSTAT_TRAINING__REPEATS:-1}"
export HOMEOSTAT_STORE__TRACKING="${HOMEOSTAT_STORE__TRACKING:-none}"

table="" folder="" keep="" service=""

fail() { # fail SENTENCE...
    printf '%s\n' "$@" >&2
    exit 2
}

say() { # say WHAT COMES NOW
    printf '\n== %s\n' "$*"
}

# Set `table`, and go to the project's folder: a scratch folder, or the one that --keep names.
begin() { # begin DEFAULT_TABLE WHERE_TO_GET_IT [TABLE] [--keep DIR]
    local where=$2
    table=$1
    shift 2
    while [ $# -gt 0 ]; do
        case $1 in
            --keep) keep=${2:?--keep needs a folder} && shift 2 ;;
            -*) fail "There is no option $1. Usage: run.sh [TABLE] [--keep DIR]" ;;
            *) table=$1 && shift ;;
        esac
    done
    [ -n "$table" ] || fail "No table was named." "$where"
    [ -f "$table" ] || fail "There is no file $table." "$where"
    command -v homeostat >/dev/null || fail "There is no command homeostat: install it, or run make demo in the clone."
    table=$(cd "$(dirname "$table")" && pwd)/$(basename "$table")
    [ -z "$keep" ] || [ ! -e "$keep" ] || fail "There is a $keep already: --keep makes a new folder."
    trap end EXIT
    folder=${keep:-$(mktemp -d "${TMPDIR:-/tmp}/homeostat-example-XXXXXX")}
    mkdir -p "$folder" && cd "$folder"
}

# The last rows are kept away from the training, as the ones that arrive later: known.csv and arrivals.csv.
split_table() { # split_table ARRIVALS
    local lines
    gzip -cdf "$table" >whole.csv # a file that is not compressed goes through as it is
    lines=$(wc -l <whole.csv)
    sed "$((lines - $1 + 1)),\$d" whole.csv >known.csv
    sed "2,$((lines - $1))d" whole.csv >arrivals.csv
    rm whole.csv
}

# Start the service on a free port, and set `address` to what it prints.
start_service() {
    : >address.txt
    homeostat serve --port 0 >>address.txt &
    service=$!
    until address=$(grep http address.txt); do
        kill -0 "$service" || fail "The service ended before it answered."
        sleep 0.1
    done
    echo "The service answers at $address"
}

post() { # post ROUTE FILE
    curl --silent --show-error --fail --data-binary "@$2" "$address$1"
}

# Send the arrivals, and then what came of them. Without curl the rows are scored by the command, and stay unknown to the log.
send_arrivals() { # send_arrivals TARGET
    if ! command -v curl >/dev/null; then
        homeostat predict arrivals.csv -o scores.csv
        return
    fi
    python3 "$examples/bodies.py" rows arrivals.csv "$1" >rows.json
    post /v1/predict rows.json >answers.json
    echo "$(grep -o '"probability"' answers.json | wc -l) rows answered. The first: $(head -c 130 answers.json) ..."
    python3 "$examples/bodies.py" labels arrivals.csv "$1" answers.json >labels.json
    post /v1/labels labels.json >outcomes.json
    echo "$(grep -o '"recorded"' outcomes.json | wc -l) outcomes recorded"
}

# Stop the service, also after a failure, and leave nothing behind but what was asked for.
end() {
    if [ -n "$service" ]; then
        kill "$service" 2>/dev/null || true
        wait "$service" || true
    fi
    cd "$examples"
    [ -n "$keep" ] || rm -rf "$folder"
}
