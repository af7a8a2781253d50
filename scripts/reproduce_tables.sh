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
source "$(dirname "${BASH_SOURCE[0]}")/reproducing.sh"
output=runs/tables
retrieved=data/rocstories/retrieved.jsonl
images=() rows=()
read_options "$@"

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

if [[ -f $retrieved && " ${scoring[*]} " != *retrieved* ]]; then images=(--retrieved "$retrieved"); fi

for file in "$experiments"/table*/*.yaml; do
    name=${file#"$experiments"/} name=${name%.yaml}
    is_wanted "$name" || continue
    command=$(sed -n 's/^task: \([a-z]*\).*/\1/p' "$file")
    step "$name" "magic $command" "${magic[@]}" "$command" "experiment=$name" "run.dir=$output/$name" "${settings[@]}" || continue
    mapfile -t folders < <(runs_of "$output/$name")
    of_stories=()
    if [[ $command == story ]]; then of_stories=(metrics=stories "${images[@]}"); fi
    step "$name" "magic evaluate" "${magic[@]}" evaluate "${folders[@]}" "${of_stories[@]}" "${scoring[@]}" || continue
    for folder in "${folders[@]}"; do rows+=(--row "$(row_of "${name#*/}")=$folder"); done
done
require_found

"${magic[@]}" table all "${rows[@]}" "${images[@]}" "${scoring[@]}" || failed+=("magic table all ended with status $?")
finish
