"""Describe videos in a sentence, and score the sentences against references.

    python -m prealignment.caption msrvtt 8 --checkpoint exp/topa/llama2_7b --memory textvid
    python -m prealignment.caption vatex 8 --checkpoint exp/topa/llama2_7b --memory textvid \\
        --max_new_tokens 15

The words are the likeliest ones, up to the first full stop. The captions are in
data/<dataset>/anno/video_captions_NAME.jsonl, and as predictions of the split in
qa/predictions/SPLIT/NAME.jsonl. After a Ctrl-C or a crash, run the same command again.
"""

from collections.abc import Sequence
from dataclasses import replace

from prealignment.model.config import CaptionSettings
from prealignment.scores.cider import cider, words_of
from qa.predictions import Prediction, benchmark_digest, write_predictions
from qa.records import read_questions
from tools.cli import add_dataset, add_settings, run_script, script_parser, settings_from
from tools.errors import UserError
from tools.runner.options import Options
from tools.store.dataset import open_dataset


def bleu_4(captions: Sequence[str], references: Sequence[Sequence[str]]) -> float:
    """BLEU-4 over all captions (Papineni et al., 2002), by nltk."""
    from nltk.translate.bleu_score import SmoothingFunction, corpus_bleu

    hypotheses = [words_of(caption) for caption in captions]
    wanted = [[words_of(text) for text in texts] for texts in references]
    smoothing = SmoothingFunction().method1  # else a set without a common 4-gram is an error
    return float(corpus_bleu(wanted, hypotheses, smoothing_function=smoothing))


def main(argv: Sequence[str] | None = None) -> None:
    """Describe the videos of a split, and score the captions."""
    parser = script_parser(__doc__)
    add_dataset(parser, argv)
    add_settings(parser, Options)
    add_settings(parser, CaptionSettings)
    args = parser.parse_args(argv)
    settings = settings_from(args, CaptionSettings)
    settings = replace(settings, name=settings.name or settings.checkpoint.resolve().name)
    dataset = open_dataset(args.dataset, args.data_root)
    questions = {q.unit: q for q in read_questions(dataset, settings.split) if q.answer}
    if not questions:
        raise UserError(f"{dataset.name}/{settings.split} has no references")

    from prealignment.model.captioning import CaptionStep
    from prealignment.vectors.sources import memory_of, open_memory, real_source
    from prealignment.weights.alignments import read_settings
    from tools.runner.run import run

    about = read_settings(settings.checkpoint, settings.llm)
    source = real_source(dataset, about.features)
    source.check_width([*questions.values()], about.alignment.width)
    memory = memory_of(settings.memory, source.clip, args.data_root)
    open_memory(memory, source.clip)  # what is wrong with it is said before any work
    step = CaptionStep(dataset, settings, source, memory, about.alignment.frames, questions)
    run([step], dataset, settings_from(args, Options), prepare=step.write_videos)
    made = {
        record["video_id"]: record["caption"]
        for record in step.writes[0].read()
        if record["video_id"] in questions
    }
    if not made:
        raise UserError(f"no video of {dataset.name}/{settings.split} has a caption")
    path = dataset.predictions(settings.split, str(settings.name))
    predictions = [Prediction(questions[key].id, caption) for key, caption in made.items()]
    meta = {
        "dataset": dataset.name,
        "split": settings.split,
        "model": settings.name,
        "benchmark": benchmark_digest(questions.values()),
        "made_by": step.params(),
    }
    write_predictions(path, predictions, meta)
    references = {key: [str(questions[key].answer), *questions[key].references] for key in made}
    scores = cider(made, references)
    bleu = bleu_4(list(made.values()), list(references.values()))
    mean = sum(scores.values()) / len(scores)
    print(f"{len(made)} of {len(questions)} videos: CIDEr {mean:.3f}, BLEU-4 {bleu:.3f}")
    print(path)


if __name__ == "__main__":
    run_script(main)
