#!/usr/bin/env bash
# Proof on a CUDA device: the same tokens as on the CPU and as the released code, then speed and memory.
#
#   scripts/check_gpu.sh pack     here: what a machine without network lacks goes into .gpu/ (20 MiB)
#   scripts/check_gpu.sh parity   there: parity cases, batches, lazy and tree, every method, killed training
#   scripts/check_gpu.sh speed    there: captions a second beside the released algorithm, memory
#   scripts/check_gpu.sh more     there: 16-bit weights, compiled models, batches by memory, one epoch of training, MiniGPT-5
#
# Each of the three parts takes at most four minutes. They end with 1 if a token differs or a test is skipped, as it is without the parity
# cases. That machine needs Python, torch, transformers, accelerate, pytest and matplotlib, and a copy
# of this folder with .gpu/. Where the folder `shared` lies beside the checkout its parity cases are packed, too. PYTHON names the interpreter,
# FOR_PYTHON (3.12) the version that wheels are packed for, OUTPUT the folder of the reports (runs/gpu).
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
python=${PYTHON:-python3} output=${OUTPUT:-runs/gpu}
packages='hydra-core omegaconf clip-anytorch open_clip_torch ftfy wcwidth pycocotools setuptools diffusers importlib_metadata zipp'
sources='antlr4-python3-runtime efficientnet-lite-pytorch'   # these have no wheel, and no compiled part

pinned() { for name in "$@"; do grep -i "^$name==" requirements.lock; done; }

pack() {
    rm -rf .gpu && mkdir -p .gpu/wheels
    # shellcheck disable=SC2046
    "$python" -m pip download --quiet --no-deps --only-binary=:all: --python-version "${FOR_PYTHON:-3.12}" --platform manylinux_2_28_x86_64 \
        --platform manylinux_2_17_x86_64 --platform manylinux2014_x86_64 --dest .gpu/wheels $(pinned $packages)
    # shellcheck disable=SC2046
    "$python" -m pip wheel --quiet --no-deps --wheel-dir .gpu/wheels $(pinned $sources)
    if [[ -d ../shared/parity ]]; then
        mkdir -p .gpu/shared/data/photos
        cp -r ../shared/parity .gpu/shared/
        cp -r ../shared/data/photos/{coco_test,story} .gpu/shared/data/photos/
    fi
    du -sh .gpu
}

unpack() {
    if [[ -d .gpu/wheels ]]; then
        site=$(mktemp -d)
        "$python" -m pip install --quiet --no-index --no-deps --no-compile --target "$site" .gpu/wheels/*.whl
        export PYTHONPATH=$PWD:$site
    fi
    if [[ -d .gpu/shared && ! -e ../shared ]]; then ln -s "$PWD/.gpu/shared" ../shared; fi
    "$python" -c "import torch, transformers; print('torch', torch.__version__, 'transformers', transformers.__version__, torch.cuda.get_device_name())"
}

# all tests pass, and none is skipped: what was not looked at is not shown
tests() {
    mkdir -p "$output"
    "$python" -m pytest -m gpu -rs --durations 5 "${@:2}" | tee "$output/$1.out"
    if grep -q '^SKIPPED' "$output/$1.out"; then
        echo "check_gpu.sh: tests were skipped, so this proves nothing; see the reasons above" >&2
        return 1
    fi
}

bench() {
    echo "== $1: magic bench ${*:2}"
    "$python" -m magic_cli bench "${@:2}" run.device=cuda --output "$output/$1" > "$output/$1.out" 2> "$output/$1.err" || { cat "$output/$1.err"; return 1; }
    cat "$output/$1.out"
}

case ${1:---help} in
    pack) pack ;;
    parity)
        unpack
        tests parity tests/shared/test_parity.py tests/unit/decoding/test_devices.py tests/commands/test_devices.py tests/commands/test_finetune_lm_going_on.py
        ;;
    speed)
        unpack
        mkdir -p "$output"
        bench small --parts captions "batch_sizes=[1,8]" texts=8 checked_texts=3 repeats=3
        bench large --parts captions,memory "batch_sizes=[64,256]" texts=256 checked_texts=2 repeats=2 run.batch_size=256
        ;;
    more)
        unpack
        tests more tests/unit/runs/test_batch_size.py tests/commands/test_batch_size.py
        bench variants --parts variants "variants=[bfloat16]" texts=64 "batch_sizes=[64]" run.batch_size=64 repeats=2
        "$python" scripts/check_device.py --device cuda --output "$output/device"
        ;;
    *) sed -n '2,/^[^#]/{/^#/s/^# \{0,1\}//p}' "${BASH_SOURCE[0]}"; [[ ${1:---help} == --help ]] || exit 2 ;;
esac
