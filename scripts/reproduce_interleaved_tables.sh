#!/usr/bin/env bash
# Run the rows of MiniGPT-5's tables that magic can run, evaluate them, and print the tables, with the few printed numbers that are known.
#
#   scripts/reproduce_interleaved_tables.sh [--rows PATTERN] [--variant NAME] [SETTING=VALUE ...] [-- WORD ...]
#
#   --rows PATTERN   only these experiments of configs/experiment/minigpt5/, such as 'vist_*'
#   --variant NAME   which vokens interleaved_model.vokens names: lora (the default), prefix, 16 (vokens), one_stage; they have rows of their own
#   SETTING=VALUE    for every run, such as interleaved_model=minigpt5_7b interleaved_model.vokens=FOLDER run.device=cuda
#   -- WORD ...      for `magic table`, such as -- metrics.fid.weights=FILE image_text_model=open_clip
#
# Rows are run one after the other into runs/interleaved_tables/VARIANT/; those without vokens (two_stage, sd2) need one variant only.
# Started again it goes on where it stopped. A row that fails does not stop the others; what failed is told at the end, and makes the exit
# status 1. The tables hold the runs of other variants that are there, too. MAGIC names the command, if it is not `magic`. How the variants are
# trained: configs/experiment/minigpt5_training/.
variant=lora
source "$(dirname "${BASH_SOURCE[0]}")/reproducing.sh"
output=runs/interleaved_tables
read_options "$@"
case $variant in lora | prefix | 16 | one_stage) ;; *) tell "--variant $variant: unknown; allowed: lora, prefix, 16, one_stage"; exit 2 ;; esac

# The row of an experiment as `magic table` knows it, with a variant's own name; empty where the variant has none.
row_of() {
    local row
    row=$(sed -n 's/.*row \([a-z0-9_]*\/[a-z0-9_]*\) of `magic table.*/\1/p' "$experiments/minigpt5/$1.yaml")
    case $2 in
        lora) echo "$row" ;;
        16 | prefix | one_stage)
            case $row in
                */two_stage | */sd2) return ;;
                vist_steps/*) if [[ $2 == 16 ]]; then return; fi ;;
                mmdialog/* | cc3m/*) if [[ $2 != 16 ]]; then return; fi ;;
            esac
            if [[ $2 == one_stage ]]; then echo "${row%/*}/one_stage"; else echo "${row%/*}/minigpt5_$2"; fi ;;
    esac
}

declare -A rows=()
for file in "$experiments"/minigpt5/*.yaml; do
    name=$(basename "$file" .yaml)
    [[ -n $(row_of "$name" "$variant") ]] && is_wanted "$name" || continue
    folder=$output/$variant/$name
    step "$name" "magic interleave" "${magic[@]}" interleave "experiment=minigpt5/$name" "run.dir=$folder" "${settings[@]}" || continue
    rows[${name%%_*}]+="--row $(row_of "$name" "$variant")=$folder "
done
require_found

for file in "$output"/*/*/predictions.jsonl; do
    folder=${file%/*} name=$(basename "${file%/*}") other=$(basename "${file%/*/*}")
    [[ $other != "$variant" && -f $experiments/minigpt5/$name.yaml ]] || continue
    row=$(row_of "$name" "$other")
    [[ -n $row ]] && rows[${name%%_*}]+="--row $row=$folder "
done
for table in vist mmdialog cc3m; do
    read -r -a words <<< "${rows[$table]:-}"
    "${magic[@]}" table "$table" "${words[@]}" "${scoring[@]}" || failed+=("magic table $table ended with status $?")
done
finish
