"""The commands about this machine: its speed, and what is installed."""

from __future__ import annotations

from magic_cli.cli.command import Command, Flag

BENCH = Command(
    name="bench",
    summary="how fast decoding is here: against the released algorithm, and against the processor",
    settings_class="magic_cli.benchmark.settings.BenchSettings",
    flags={
        "--full": Flag("full", "everything, with stories, growth, variants and memory (about 45 minutes)", value="true"),
        "--parts": Flag(
            "parts", "only these: captions, stories, embedded, variants, growth, memory, zerocap", "NAMES", is_list=True
        ),
        "--output": Flag("output", "where bench.json, report.md and growth.png, .svg are written", "FOLDER", True),
        "--photos": Flag("photos", "photos for the embedded models", "FOLDER", True),
    },
    examples=(
        "magic bench run.threads=2",
        "magic bench --full --output runs/bench/mine",
        "magic bench --parts embedded --photos holiday/",
        "magic bench --parts captions language_models=[natural,random] batch_sizes=[1,8,32] texts=32",
        "magic bench --parts zerocap zerocap.num_texts=32 zerocap.decoding_len=5",
        "magic bench --parts stories repeats=5 stories.k=5 stories.decoding_len=100",
    ),
)
DOCTOR = Command(
    name="doctor",
    summary="show what is installed and cached, or what is wrong with a model, each problem with its remedy",
    resumes=True,  # what --fetch has downloaded is kept
    flags={
        "--fetch": Flag("fetch", "download what pip cannot install: spice"),
        "--from": Flag("source", "a folder or jar to take it from", "PLACE", True),
        "--model": Flag("model", "check a model's folder or file: weights, tokenizer, numbers", "PLACE", True),
    },
    examples=("magic doctor", "magic doctor --fetch spice", "magic doctor --model my_model/"),
)
