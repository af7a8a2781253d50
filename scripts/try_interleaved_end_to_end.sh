#!/usr/bin/env bash
# Texts and images in turn from nothing to a table, offline, in the tiny world: items, both stages of training, 100 stories, scores, page.
#
#   scripts/try_interleaved_end_to_end.sh [--output FOLDER] [--build] [--quick]
#
#   --output FOLDER   where everything goes (runs/tiny_world)
#   --build           make the world's models, too, instead of taking those that ship (30 minutes more on one core)
#   --quick           a few updates and stories: that the way is whole, not what it leads to
#
# Started again it goes on where it stopped. At the end part of the stories is written once more, which must give the same bytes; times are
# told. MAGIC and PYTHON name the commands, if they are not `magic` and `python`.
set -euo pipefail
read -r -a magic <<< "${MAGIC:-magic}"
read -r -a python <<< "${PYTHON:-python}"
scripts=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
output=runs/tiny_world build='' stories=100 uas=1000 mls=800
while (($#)); do
    case $1 in
        --output) output=${2:?--output needs a folder}; shift 2 ;;
        --build) build=1; shift ;;
        --quick) stories=2 uas=3 mls=3; shift ;;
        -h | --help) sed -n '2,/^[^#]/{/^#/s/^# \{0,1\}//p}' "${BASH_SOURCE[0]}"; exit 0 ;;
        *) echo "try_interleaved_end_to_end: unexpected '$1'; see --help" >&2; exit 2 ;;
    esac
done
export HF_HUB_OFFLINE=1
models=$scripts/../magic_cli/interleaved/tiny parts=()
SECONDS=0
tell() { echo "try_interleaved_end_to_end: $* (after $SECONDS s)" >&2; }

if [[ $build ]]; then
    tell "the world's models"
    "${python[@]}" "$scripts/build_tiny_world.py" --output "$output/models" >&2
    models=$output/models
    for part in language_model vision diffusion; do parts+=("interleaved_model.$part.path=$models/$part"); done
fi
tell "items: to learn from, and of another seed to be tested on"
"${python[@]}" "$scripts/tiny_world.py" "$output/world" >&2
"${python[@]}" "$scripts/tiny_world.py" "$output/unseen" --seed 901 --captions 0 --tasks 0 --stories "$stories" >&2

tell "stage one"
"${magic[@]}" train-vokens stage=uas experiment=tiny_uas "optimizer.steps=$uas" "${parts[@]}" --items "$output/world/captions.jsonl" --output "$output/aligned" >&2
tell "stage two"
"${magic[@]}" train-vokens stage=mls experiment=tiny_mls "optimizer.steps=$mls" "${parts[@]}" --vokens "$output/aligned" --items "$output/world/all.jsonl" --output "$output/told" >&2

write() {
    "${magic[@]}" interleave --items "$output/unseen/last.jsonl" "${parts[@]}" --vokens "$output/told" steps=20 scheduler=ddim guidance=3 "$@"
}
tell "$stories stories: the last step's text and image, after the true ones before"
write "run.dir=$output/run" > /dev/null
write "run.dir=$output/again" dataset.limit=8 > /dev/null   # a batch, so that float32 rounds alike
tell "the same again"
cmp <(head -n 8 "$output/run/predictions.jsonl") "$output/again/predictions.jsonl"

tell "scores, by a judge that took no part in training"
judge=(image_text_model=clip_vit_b32 "image_text_model.path=$models/second_judge")
"${magic[@]}" evaluate "$output/run" metrics.names=[clip_i,clip_t,fid_image_text,bleu_words,rouge_f] "${judge[@]}" bootstrap.samples=1000
"${magic[@]}" table vist --row "vist_steps/minigpt5_lora=$output/run" metrics.names=[clip_i,clip_t,rouge_f] "${judge[@]}" bootstrap.samples=0 --format markdown > "$output/table.md"
tell "done: $output/table.md, and the page $output/run/index.html"
times >&2
