#!/usr/bin/env bash
# Run the rows of MiniGPT-5's tables that magic can run, evaluate them, and print the tables, with the few printed numbers that are known.
#
#   scripts/reproduce_interleaved_tables.sh [--rows PATTERN] [SETTING=VALUE ...] [-- WORD ...]
#
#   --rows PATTERN   only these experiments of configs/experiment/minigpt5/, such as 'vist_*'
#   SETTING=VALUE    for every run, such as interleaved_model=minigpt5_7b interleaved_model.vokens=FOLDER run.device=cuda
#   -- WORD ...      for `magic table`, such as -- metrics.fid.weights=FILE image_text_model=open_clip
#
# Rows are run one after the other into runs/interleaved_tables/. Started again it goes on where it stopped. A row that fails does not stop
# the others; what failed is told at the end, and makes the exit status 1. MAGIC names the command, if it is not `magic`. Runs of other
# models or variants go to the same tables with `magic table vist --row vist_both/minigpt5_prefix=RUN ...`.
set -uo pipefail
read -r -a magic <<< "${MAGIC:-magic}"
experiments=$(cd "$(dirname "${BASH_SOURCE[0]}")/../configs/experiment/minigpt5" && pwd)
output=runs/interleaved_tables
pattern='*' settings=() scoring=() failed=()
declare -A rows=()

while (($#)); do
    case $1 in
        --rows) pattern=${2:?--rows needs a pattern}; shift 2 ;;
        --rows=*) pattern=${1#--rows=}; shift ;;
        --) shift; scoring=("$@"); break ;;
        -h | --help) sed -n '2,/^set /{/^set /!s/^# \{0,1\}//p}' "${BASH_SOURCE[0]}"; exit 0 ;;
        *=*) settings+=("$1"); shift ;;
        *) echo "reproduce_interleaved_tables: unexpected '$1'; see --help" >&2; exit 2 ;;
    esac
done

found=0
for file in "$experiments"/*.yaml; do
    name=$(basename "$file" .yaml)
    # shellcheck disable=SC2254 # the pattern is one
    case $name in $pattern) found=1 ;; *) continue ;; esac
    echo "reproduce_interleaved_tables: $name" >&2
    status=0
    "${magic[@]}" interleave "experiment=minigpt5/$name" "run.dir=$output/$name" "${settings[@]}" >&2 || status=$?
    ((status == 130 || status == 143)) && exit $status
    ((status)) && failed+=("$name: magic interleave ended with status $status")
    ((status == 0 || status == 3)) || continue   # 3: some items could not be written
    row=$(sed -n 's/.*row \([a-z0-9_]*\/[a-z0-9_]*\) of `magic table.*/\1/p' "$file")
    rows[${name%%_*}]+="--row $row=$output/$name "
done
((found)) || { echo "reproduce_interleaved_tables: --rows $pattern: no such experiment in $experiments" >&2; exit 2; }

for table in vist mmdialog cc3m; do
    read -r -a words <<< "${rows[$table]:-}"
    "${magic[@]}" table "$table" "${words[@]}" "${scoring[@]}" || failed+=("magic table $table ended with status $?")
done
for line in "${failed[@]}"; do echo "reproduce_interleaved_tables: $line" >&2; done
((${#failed[@]} == 0))
