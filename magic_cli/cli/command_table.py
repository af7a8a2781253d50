"""The commands: one small module each, with ``run(settings) -> exit status``. This list is all that ``--help`` needs."""

from __future__ import annotations

from magic_cli.cli.command import Action, Command, Flag, Words
from magic_cli.cli.looking_commands import LIVE, REPORT

_OWN_LANGUAGE_MODEL = {
    "folder": "language_model.path={}", "file": "language_model.path={}", "hub": "--language-model gpt2 language_model.name={}",
}  # fmt: skip
_OWN_IMAGE_TEXT_MODEL = {
    "folder": "--image-text-model clip_vit_b32 image_text_model.path={} (or siglip, open_clip, as it is one)",
    "file": "--image-text-model openai_clip image_text_model.path={} (or open_clip, as it is one)",
    "hub": "--image-text-model clip_vit_b32 image_text_model.name={} (or siglip, as it is one)",
}
_OWN_IMAGES = {
    "folder": "--images {}",
    "image": "--image {}",
    "file": "--dataset coco_captions dataset.annotations={} dataset.root=FOLDER",
}
_OWN_EXPERIMENT = {"file": "--config-dir FOLDER experiment=NAME, with the file in FOLDER/experiment/NAME.yaml"}

COMMANDS = {
    command.name: command
    for command in (
        Command(
            name="caption",
            summary="write captions for images",
            resumes=True,
            settings_class="magic_cli.runs.settings.CaptionSettings",
            flags={
                "--image": Flag("dataset.paths", "caption this image (repeat for more)", "FILE", True, "dataset=files", True),
                "--images": Flag(
                    "dataset.root",
                    "caption all images below this folder; -: those that lines of stdin name",
                    "FOLDER",
                    True,
                    "dataset=photos",
                ),
                "--dataset": Flag("dataset", "whose images", instead=_OWN_IMAGES),
                "--decoding": Flag("decoding", "how words are chosen"),
                "--base": Flag(
                    "decoding@decoding.base", "who writes the candidates: top_k, nucleus or typical", condition="decoding=rerank"
                ),
                "--language-model": Flag("language_model", "who writes", instead=_OWN_LANGUAGE_MODEL),
                "--image-text-model": Flag("image_text_model", "who looks", instead=_OWN_IMAGE_TEXT_MODEL),
                "--experiment": Flag("experiment", "one row of a table, e.g. table1/coco_magic", instead=_OWN_EXPERIMENT),
                "--prompt": Flag("prompt", "words that open every caption", "TEXT"),
                "--run-dir": Flag("run.dir", "where the run is written", "FOLDER", True),
            },
            examples=(
                "magic caption --image my.jpg",
                "magic caption --images holiday/ decoding.beta=1 run.trace=true",
                "magic caption --dataset coco",
                "magic caption --dataset coco --decoding nucleus run.repeats=3",
                "magic caption --image my.jpg --decoding rerank --base top_k decoding.num=32",
                "magic caption -m --dataset coco decoding.alpha=0.1,0.3 decoding.beta=1,2 decoding.k=25,45",
                "magic caption --image my.jpg language_model.path=DIR image_text_model=siglip",
            ),
        ),
        Command(
            name="story",
            summary="write stories for titles, fitting to images",
            resumes=True,
            settings_class="magic_cli.runs.settings.StorySettings",
            flags={
                "--title": Flag(
                    "dataset.title", "write about this title (repeat for more)", "TEXT", also="dataset=title", is_list=True
                ),
                "--titles": Flag("dataset.titles", "a file of title<TAB>story, or JSON lines", "FILE", True, "dataset=titles"),
                "--dataset": Flag("dataset", "whose titles", instead={"file": "--titles {}"}),
                "--image": Flag("dataset.image", "the image of --title", "FILE", True),
                "--retrieved": Flag(
                    "dataset.retrieved", "images of the titles, from `magic retrieve-images query`", "FILE", True
                ),
                "--decoding": Flag("decoding", "how words are chosen"),
                "--language-model": Flag("language_model", "who writes", instead=_OWN_LANGUAGE_MODEL),
                "--image-text-model": Flag("image_text_model", "who looks", instead=_OWN_IMAGE_TEXT_MODEL),
                "--experiment": Flag("experiment", "one row of a table, e.g. table3/story_magic", instead=_OWN_EXPERIMENT),
                "--prompt": Flag("prompt", "what opens every story, with {title} in it", "TEXT"),
                "--run-dir": Flag("run.dir", "where the run is written", "FOLDER", True),
            },
            examples=(
                'magic story --title "Sand Volleyball" --image beach.jpg',
                "magic story --titles titles.txt --retrieved retrieved.jsonl",
                "magic story --dataset rocstories --retrieved retrieved.jsonl",
                "magic story --dataset rocstories --decoding contrastive",
                "magic story --dataset rocstories --decoding nucleus run.repeats=3",
            ),
        ),
        LIVE,
        Command(
            name="interleave",
            summary="write texts and draw images in turn: one step, or an illustrated story",
            resumes=True,
            settings_class="magic_cli.interleaved.run_settings.InterleaveSettings",
            renamed={"prompt_form": "prompt_form@prompt"},
            flags={
                "--part": Flag(
                    "dataset.parts",
                    "a text, or image:FILE, to go on from (repeat for more, in their order)",
                    "TEXT",
                    also="dataset=parts",
                    is_list=True,
                ),
                "--items": Flag("dataset.items", "JSON lines of items or stories", "FILE", True, "dataset=items"),
                "--dataset": Flag("dataset", "whose texts and images"),
                "--experiment": Flag("experiment", "one row of a table, e.g. minigpt5/vist_both", instead=_OWN_EXPERIMENT),
                "--decoding": Flag("decoding", "how words are chosen"),
                "--base": Flag(
                    "decoding@decoding.base", "who writes the candidates: top_k, nucleus or typical", condition="decoding=rerank"
                ),
                "--interleaved-model": Flag("interleaved_model", "who writes, looks and draws"),
                "--vokens": Flag("interleaved_model.vokens", "what `magic train-vokens` wrote", "FOLDER", True),
                "--image-text-model": Flag("image_text_model", "who guides magic and rerank", instead=_OWN_IMAGE_TEXT_MODEL),
                "--run-dir": Flag("run.dir", "where the run is written", "FOLDER", True),
            },
            examples=(
                'magic interleave --part "draw a red circle" guidance=3',
                'magic interleave --part "a circle" --part image:circle.png --part "what comes next ?" dataset.num_steps=5 "dataset.again=what comes next ?" history=self',
                "magic interleave --items stories.jsonl --vokens vokens/ history=self guidance=3 steps=20 scheduler=ddim",
                "magic interleave -m --items stories.jsonl context=none,text,image,both",
                "magic interleave --dataset vist dataset.annotations=val_cleaned.json dataset.limit=100",
            ),
        ),
        Command(
            name="evaluate",
            summary="score captions and stories of any tool: BLEU to SPICE, CLIPScore, MAUVE",
            settings_class="magic_cli.evaluation.settings.EvaluateSettings",
            words=Words("systems", "RUN...", "run folders or prediction files, also as patterns ('runs/caption/*')"),
            flags={
                "--references": Flag("references", "reference captions, where the predictions bring none", "FILE", True),
                "--split": Flag("split", "only images of this split of the references"),
                "--metrics": Flag("metrics.names", "only these, e.g. --metrics bleu,cider", "NAMES", is_list=True),
                "--compare": Flag("compare", "test the other systems against the first", value="true"),
                "--plot": Flag("plot", "draw the numbers with their intervals, too, as PNG and SVG", "FILE", True),
                "--common": Flag("only_common", "only the images that all systems captioned", value="true"),
                "--format": Flag("format", "terminal, markdown, latex, csv or json"),
                "--output": Flag("output", "where metrics.json and per_item.jsonl are written", "FOLDER", True),
                "--images": Flag("images", "folder of the images, for CLIPScore", "FOLDER", True),
                "--retrieved": Flag("retrieved", "images of stories written without one, for CLIPScore", "FILE", True),
                "--human": Flag("human", "score the stories that people wrote, too", value="true"),
                "--image-text-model": Flag(
                    "image_text_model", "who looks, for CLIPScore (a run's own, else clip_vit_b32)", instead=_OWN_IMAGE_TEXT_MODEL
                ),
                "--spice-lib": Flag("metrics.spice.lib", "folder with the CoreNLP 3.6.0 jars", "FOLDER", True),
            },
            examples=(
                "magic evaluate runs/caption/coco-magic-1a2b3c4d",
                "magic evaluate preds.json --references captions_val2014.json",
                "magic evaluate preds.jsonl --references refs.jsonl --metrics bleu,cider --format markdown",
                "magic evaluate A.json B.json --references refs.json --compare --plot differences.png",
                "magic evaluate 'released/coco/*.json.gz' --format csv",
                "magic evaluate RUN --metrics clip_score,ref_clip_score --images data/coco",
                "magic evaluate runs/story/rocstories-magic-1a2b3c4d metrics=stories --human",
                "magic evaluate 'runs/story/*' metrics=stories --retrieved retrieved.jsonl",
            ),
        ),
        Command(
            name="table",
            summary="the paper's tables: measured numbers beside the printed ones; and the points of a sweep",
            settings_class="magic_cli.evaluation.settings.TableSettings",
            words=Words(
                "words",
                "NUMBER [RUN...]",
                "1, 2, 3, all, vist, mmdialog, cc3m or sweep; then run folders, prediction files, or folders of them",
            ),
            flags={
                "--metric": Flag("metric", "of a sweep: cider, or another measure that the runs were evaluated by"),
                "--plot": Flag(
                    "plot", "draw it, too, as PNG and SVG: numbers with intervals; of a sweep heat map and lines", "FILE", True
                ),
                "--output": Flag("output", "where files are written", "FOLDER", True),
                "--row": Flag(
                    "rows", "measured file of a row, e.g. --row coco/magic=FILE (repeat for more)", "ROW=FILE", is_list=True
                ),
                "--human-scores": Flag(
                    "human_scores", "what `magic human-eval score` wrote, for table 3 (stories) or vist (pairs)", "FILE", True
                ),
                "--retrieved": Flag("retrieved", "images of stories written without one, for CLIPScore", "FILE", True),
                "--images": Flag("images", "folder of the images, for CLIPScore", "FOLDER", True),
                "--format": Flag("format", "terminal, markdown, latex, csv or json"),
                "--metrics": Flag("metrics.names", "only these, e.g. --metrics bleu,cider", "NAMES", is_list=True),
                "--references": Flag("references", "reference captions, where the predictions bring none", "FILE", True),
                "--spice-lib": Flag("metrics.spice.lib", "folder with the CoreNLP 3.6.0 jars", "FOLDER", True),
            },
            examples=(
                "magic table 1",
                "magic table 1 runs/caption",
                "magic table all released/ --format markdown",
                "magic table 1 --row coco/magic=preds.json --format latex",
                "magic table 3 runs/story --retrieved retrieved.jsonl --human-scores scored.json",
                "magic table vist --row vist_both/minigpt5_lora=RUN metrics.fid.weights=FILE",
                "magic table sweep 'runs/caption/coco-magic-*' --metric bleu_4 --plot plots/bleu",
            ),
        ),
        REPORT,
        Command(
            name="human-eval",
            summary="people judge stories, or two systems side by side: blinded forms that work offline, and the scores of their answers",
            settings_class="magic_cli.human_eval.settings.HumanEvalSettings",
            action=Action("action", ("make", "score"), "write the forms and their key, or score the answers that came back"),
            words=Words("files", "FILE...", "make: run folders, story files; score: answer files; also as patterns"),
            flags={
                "--system": Flag(
                    "systems", "make: a file and the name that the scores will show (repeat for more)", "NAME=FILE", is_list=True
                ),
                "--human": Flag("human", "make: also the stories that people wrote, where the files hold them", value="true"),
                "--images": Flag("images", "make: folder of the photos", "FOLDER", True),
                "--key": Flag("key", "score: the key.json that make wrote", "FILE", True),
                "--format": Flag("format", "score: terminal, markdown, latex, csv or json"),
                "--output": Flag("output", "where forms and key.json, or scores.json, are written", "FOLDER", True),
            },
            examples=(
                "magic human-eval make --system magic=runs/story/A --system contrastive=runs/story/B --human --output forms",
                "magic human-eval make magic.jsonl nucleus.jsonl items=20 annotators=3",
                "magic human-eval make kind=pairs --system minigpt5=runs/interleave/A --system two_stage=runs/interleave/B --output forms",
                "magic human-eval score answers-*.json --key forms/key.json",
            ),
        ),
        Command(
            name="retrieve-images",
            summary="build an index of images, and find the images that fit titles or other texts",
            resumes=True,
            settings_class="magic_cli.retrieval.image_settings.RetrieveImagesSettings",
            action=Action("action", ("build", "query"), "build an index of images, or find the images of one that fit texts"),
            words=Words(
                "files", "FILE...", "build: folders, lists of image files, webdataset shards (*.tar); query: files of texts"
            ),
            flags={
                "--index": Flag("index", "folder of the index", "FOLDER", True),
                "--query": Flag("queries", "look for this (repeat for more)", "TEXT", is_list=True),
                "--top-k": Flag("top_k", "images a query", "NUMBER"),
                "--kind": Flag("search.kind", "exact, ivf or hnsw"),
                "--output": Flag("output", "where a query's results are written", "FOLDER", True),
                "--image-text-model": Flag("image_text_model", "who looks", instead=_OWN_IMAGE_TEXT_MODEL),
            },
            examples=(
                "magic retrieve-images build photos/ --index bank",
                'magic retrieve-images query --index bank --query "a dog on the beach"',
                "magic retrieve-images build 'cc3m/*.tar' --index cc3m --kind ivf --image-text-model clip_vit_b32",
                "magic retrieve-images query rocstories_test.txt --index cc3m --kind ivf --image-text-model clip_vit_b32",
            ),
        ),
        Command(
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
        ),
        Command(
            name="finetune-lm",
            summary="adapt a language model to texts: maximum likelihood and SimCTG's contrastive loss",
            resumes=True,
            settings_class="magic_cli.training.settings.FinetuneSettings",
            renamed={"dataset": "training_texts@dataset"},
            flags={
                "--dataset": Flag("training_texts@dataset", "whose texts", instead={"file": "--texts {}"}),
                "--texts": Flag(
                    "dataset.path",
                    "own texts: a line each, .jsonl, .csv or .tsv; or a run folder",
                    "FILE",
                    True,
                    "training_texts@dataset=text",
                ),
                "--language-model": Flag("language_model", "what is adapted", instead=_OWN_LANGUAGE_MODEL),
                "--experiment": Flag("experiment", "the paper's settings, e.g. finetune_coco", instead=_OWN_EXPERIMENT),
                "--output": Flag("run.dir", "the run's folder, in the end the model's", "FOLDER", True),
            },
            examples=(
                "magic finetune-lm experiment=finetune_coco",
                "magic finetune-lm --texts my.txt --language-model embedded --output my_model",
                "magic finetune-lm dataset=bundled_coco fresh.layers=4 optimizer.lr=1e-3 objective.margin=0",
                "accelerate launch -m magic_cli finetune-lm experiment=finetune_flickr30k run.dtype=bfloat16",
            ),
        ),
        Command(
            name="train-vokens",
            summary="teach a language model to draw: vokens and mapper (stage=uas), then texts and images in turn (stage=mls)",
            resumes=True,
            settings_class="magic_cli.interleaved.training.settings.TrainVokensSettings",
            renamed={"prompt_form": "prompt_form@prompt"},
            flags={
                "--items": Flag("dataset.path", "training items: JSON lines of texts and images", "FILE", True),
                "--validation": Flag("dataset.validation", "items that choose the best checkpoint", "FILE", True),
                "--vokens": Flag("interleaved_model.vokens", "what is gone on from: the folder of stage one", "FOLDER", True),
                "--interleaved-model": Flag("interleaved_model", "who writes, looks and draws"),
                "--adapter": Flag("adapter.kind", "lora or prefix", condition="stage=mls"),
                "--output": Flag("run.dir", "the run's folder, in the end that of the trained vokens", "FOLDER", True),
            },
            examples=(
                "magic train-vokens stage=uas --items captions.jsonl --output aligned",
                "magic train-vokens stage=mls --vokens aligned --items stories.jsonl --output story_model",
                "magic train-vokens stage=mls --vokens aligned --items stories.jsonl --adapter prefix optimizer.steps=800",
                "accelerate launch -m magic_cli train-vokens stage=uas --items cc3m.jsonl --interleaved-model minigpt5_7b interleaved_model.vision.projection=FILE",
            ),
        ),
        Command(
            name="doctor",
            summary="show what is installed and cached, or what is wrong with a model, each problem with its remedy",
            resumes=True,  # what --fetch has downloaded is kept
            flags={
                "--fetch": Flag("fetch", "bring what cannot be installed with pip: spice"),
                "--from": Flag("source", "a folder or jar to take it from", "PLACE", True),
                "--model": Flag("model", "check a model's folder or file: weights, tokenizer, numbers", "PLACE", True),
            },
            examples=("magic doctor", "magic doctor --fetch spice", "magic doctor --model my_model/"),
        ),
    )
}
