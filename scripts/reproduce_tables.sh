#!/usr/bin/env bash
# Run every row of the paper's tables, evaluate it, and print the tables, measured numbers beside the printed ones.
#
#   scripts/reproduce_tables.sh [--rows PATTERN] [SETTING=VALUE ...] [-- WORD ...]
#
#   --rows PATTERN   only these experiments, such as 'table1/*' or '*_magic'
#   SETTING=VALUE    for every run, such as run.device=cuda run.batch_size=32
#   -- WORD ...      for `magic evaluate` and `magic table`, such as -- --spice-lib JARS
#
# Rows are run one after the other, as configs/experiment/ describes them, into runs/tables/. Started again it goes on where
# it stopped. A row that fails does not stop the others; what failed is told at the end, and makes the exit status 1. MAGIC
# names the command, if it is not `magic`. The authors' released files are scored by scripts/check_released_files.py.
#
# Table 3 needs the images of its titles in data/rocstories/retrieved.jsonl (configs/experiment/table3/story_magic.yaml says how
# they are found); methods that look at no image are scored with the best one. Another file: -- --retrieved FILE.
set -uo pipefail
read -r -a magic <<< "${MAGIC:-magic}"
experiments=$(cd "$(dirname "${BASH_SOURCE[0]}")/../configs/experiment" && pwd)
output=runs/tables
retrieved=data/rocstories/retrieved.jsonl
pattern='*' settings=() scoring=() images=() failed=() rows=()

while (($#)); do
    case $1 in
        --rows) pattern=${2:?--rows needs a pattern}; shift 2 ;;
        --rows=*) pattern=${1#--rows=}; shift ;;
        --) shift; scoring=("$@"); break ;;
        -h | --help) sed -n '2,/^set /{/^set /!s/^# \{0,1\}//p}' "${BASH_SOURCE[0]}"; exit 0 ;;
        *=*) settings+=("$1"); shift ;;
        *) echo "reproduce_tables: unexpected '$1'; see --help" >&2; exit 2 ;;
    esac
done

# coco_to_flickr30k_magic -> coco_to_flickr30k/magic, the row as `magic table` knows it
row_of() {
    local section
    for section in coco_to_flickr30k flickr30k_to_coco coco flickr30k story; do
        if [[ $1 == "${section}"_* ]]; then echo "$section/${1#"${section}"_}"; return; fi
    done
}

# The run folders of a row: its own, or one for each repeat.
runs_of() {
    find "$1" -maxdepth 2 -name manifest.json -exec dirname {} \; 2> /dev/null | sort
}

# Run a command with its output on stderr; status 3 means that some images could not be read: told, and gone on with.
step() {
    local name=$1 what=$2 status=0
    shift 2
    "$@" >&2 || status=$?
    ((status == 130 || status == 143)) && exit $status
    ((status)) && failed+=("$name: $what ended with status $status")
    ((status == 0 || status == 3))
}

if [[ -f $retrieved && " ${scoring[*]} " != *retrieved* ]]; then images=(--retrieved "$retrieved"); fi

found=0
for file in "$experiments"/table*/*.yaml; do
    name=${file#"$experiments"/} name=${name%.yaml}
    # shellcheck disable=SC2254 # the pattern is one
    case $name in $pattern) found=1 ;; *) continue ;; esac
    command=$(sed -n 's/^task: \([a-z]*\).*/\1/p' "$file")
    echo "reproduce_tables: $name" >&2
    step "$name" "magic $command" "${magic[@]}" "$command" "experiment=$name" "run.dir=$output/$name" "${settings[@]}" || continue
    mapfile -t folders < <(runs_of "$output/$name")
    of_stories=()
    if [[ $command == story ]]; then of_stories=(metrics=stories "${images[@]}"); fi
    step "$name" "magic evaluate" "${magic[@]}" evaluate "${folders[@]}" "${of_stories[@]}" "${scoring[@]}" || continue
    for folder in "${folders[@]}"; do rows+=(--row "$(row_of "${name#*/}")=$folder"); done
done
((found)) || { echo "reproduce_tables: --rows $pattern: no such experiment in $experiments" >&2; exit 2; }

"${magic[@]}" table all "${rows[@]}" "${images[@]}" "${scoring[@]}" || failed+=("magic table all ended with status $?")
for line in "${failed[@]}"; do echo "reproduce_tables: $line" >&2; done
((${#failed[@]} == 0))
