"""The reproduction of TOPA: its language, shots, scores, a whole tiny seed, and the report."""

import random

import numpy as np
import orjson
import pytest
import torch
from transformers import AutoTokenizer

from prealignment.training.visits import Examples, Shares
from reproduction.claims import Claim, effect_and_verdict
from reproduction.prealignment import arms, clips, report, results, scoring, toylm
from reproduction.prealignment.bridges import (
    MisplacedExamples,
    StaleExamples,
    record_of,
    without_bridge,
)
from reproduction.prealignment.footage import open_footage
from reproduction.prealignment.language import (
    KINDS,
    STYLES,
    Asked,
    ask,
    build_model,
    by_kind,
    caption,
    caption_sample,
    draw_story,
    plain_row,
    read_words,
    word_of,
)
from reproduction.prealignment.scoring import Case, draw_cases, score
from reproduction.prealignment.trial import Size, Trial
from toyworld.language import Event

STORY = [
    Event("red", "star", "grows"),
    Event("orange", "circle", "moves left"),
    Event("blue", "square", "turns"),
]


@pytest.fixture(scope="module")
def llm(tmp_path_factory):
    """The folder of an untrained language model."""
    return build_model(
        tmp_path_factory.mktemp("llm"), 0, hidden_size=32, intermediate_size=64, num_hidden_layers=2
    )


@pytest.fixture(scope="module")
def tokenizer(llm):
    return AutoTokenizer.from_pretrained(llm)


def question(kind, events=STORY):
    return ask(by_kind(events)[kind][0], events, random.Random(0))


def test_an_event_is_told_in_many_styles():
    told = {caption(STORY[1], style) for style in range(len(STYLES))}
    assert len(told) == 168
    assert {
        "an orange circle moves left .",
        "here a circle of orange colour moves left again .",
    } < told


def test_a_story_has_questions_of_all_kinds_with_five_options():
    story = draw_story(random.Random(0), 5)
    asked = {kind: question(kind, story) for kind in by_kind(story)}
    assert set(asked) == set(KINDS)
    assert all(len(set(one.options)) == 5 for one in asked.values())
    assert asked["first"].options[asked["first"].right] == story[0].text


def test_plain_text_is_a_row_whose_slots_hold_a_word_for_each_event(tokenizer):
    row = plain_row(tokenizer, question("what_does").open, read_words(tokenizer, STORY, True))
    assert tokenizer.convert_ids_to_tokens(row.ids) == [
        *("<s>", "Instruction: Use the video to answer the question.\nVideo:"),
        *("<red star grows>", "<orange circle moves left>", "<blue square turns>"),
        *("Question: What does the", "▁red", "▁star", "do in this video?\nAnswer:"),
        *("grows", "▁.", "</s>"),
    ]
    assert row.slots == range(2, 5) and row.learned == range(9, 12)


def test_plain_text_may_also_spell_events_out(tokenizer):
    row = plain_row(tokenizer, caption_sample(STORY[:1]), read_words(tokenizer, STORY[:1], False))
    slots = row.ids[row.slots.start : row.slots.stop]
    assert tokenizer.convert_ids_to_tokens(slots) == ["▁a", "▁red", "▁star", "grows", "▁."]


def test_a_letter_is_one_token_where_it_is_listed_and_where_it_answers(tokenizer):
    row = plain_row(tokenizer, question("first").choice, [5, 6, 7])
    letters = [t for t in tokenizer.convert_ids_to_tokens(row.ids) if t.startswith("(")]
    assert letters == [
        "(A)",
        "(B)",
        "(C)",
        "(D)",
        "(E)",
        "({})".format(question("first").choice.answer),
    ]


def test_the_word_of_an_event_begins_near_its_parts(llm, tokenizer):
    model = without_bridge(llm).model
    toylm.compose(model, tokenizer)
    table = model.get_input_embeddings().weight.detach()

    def cosine(word, other):
        rows = [table[tokenizer.convert_tokens_to_ids(token)] for token in (word, other)]
        return torch.cosine_similarity(*rows, dim=0).item()

    assert cosine(word_of(STORY[0]), "▁red") > 0.4
    assert abs(cosine(word_of(STORY[0]), "▁blue")) < 0.4


def test_the_language_model_learns_plain_text(llm, tokenizer, monkeypatch):
    """A few steps lower the loss on what is learned."""
    monkeypatch.setattr(toylm, "STORIES", 4)
    monkeypatch.setattr(toylm, "RATE", 2e-2)  # which rises slowly
    model = without_bridge(llm).model.requires_grad_(True)
    rows = toylm.draw_rows(tokenizer, random.Random(1), 4)
    before = toylm.loss_of(model, rows).item()
    toylm.teach(model, tokenizer, 0, 12)
    assert toylm.loss_of(model, rows).item() < 0.9 * before


def test_shots_of_a_video_follow_one_another_and_are_kept(tmp_path, monkeypatch):
    made = open_footage(3, [2, 3], tmp_path)
    assert made.pictures.shape == (5, 16, 28, 28, 3)
    assert [len(rows) for rows in made.by_video(np.arange(5))] == [2, 3]
    assert made.stories[1] == made.events[2:]
    first, second = made.split(1)
    assert len(first.pictures) == 2 and second.events == made.events[2:]
    monkeypatch.setattr("reproduction.prealignment.footage.film", None)
    assert np.array_equal(open_footage(3, [2, 3], tmp_path).pictures, made.pictures)


def test_the_pixels_of_a_pair_are_six_channels():
    pictures = np.zeros((1, 2, 28, 28, 3), np.uint8)
    pictures[0, 1, 3, 4, 2] = 255
    values = clips.pixels(pictures)
    assert values.shape == (1, 6, 28, 28)
    assert values[0, 5, 3, 4] == 2 and values[0, 2, 3, 4] == -2


def examples(kind, tokenizer, records):
    def zeros(record):
        return np.zeros((3, 8), np.float32)

    return kind(records, zeros, tokenizer, Shares(0.0, 0.5), 4, 6, 100)


def test_misplaced_vectors_stand_over_the_end_of_the_instruction(tokenizer):
    records = [record_of(STORY, "a", 3, random.Random(0))]
    rows = [examples(Examples, tokenizer, records)[place] for place in range(2)]
    right = examples(Examples, tokenizer, records).collate(rows)["video_mask"].nonzero()
    wrong = examples(MisplacedExamples, tokenizer, records).collate(rows)["video_mask"].nonzero()
    assert right.tolist() == [[0, 2], [0, 3], [0, 4], [1, 2], [1, 3], [1, 4]]
    assert wrong.tolist() == [[0, 2], [0, 3], [0, 4], [1, 1], [1, 2], [1, 3]]


def test_stale_letters_are_right_at_the_first_visit_alone(tokenizer):
    record = record_of(STORY, "a", 7, random.Random(0))
    right = {q["question"]: q["answer_open_ended"] for q in record["QAs"]}

    def letters(kind, visit):
        """Whether the letter of each of many samples is that of the right option."""
        examples = kind([record], None, tokenizer, Shares(1.0, 0.0), 4, 6, 100)
        samples = [examples.draw(record, visit, random.Random(n)) for n in range(100)]
        return [s.options["ABCDE".index(s.answer)] == right[s.question] for s in samples]

    assert all(letters(Examples, 1)) and all(letters(StaleExamples, 0))
    assert 0.1 < np.mean(letters(StaleExamples, 1)) < 0.35
    asked_openly = StaleExamples([record], None, tokenizer, Shares(0.0, 0.0), 4, 6, 100)
    assert {asked_openly.draw(record, 1, random.Random(n)).task for n in range(9)} == {"open"}


def test_the_counts_of_what_is_answered_and_told(llm, monkeypatch):
    asked = Asked(
        "first", "What happens first?", ("a red star grows .", "a blue square turns ."), 0
    )
    case = Case(STORY, [asked, question("what_does")])
    monkeypatch.setattr(
        scoring,
        "SCORES",
        {
            "likelihood": lambda *_: iter([[-1.0, -2.0], [0.0] * 5]),
            "letter": lambda *_: iter([[-3.0, -2.0], [-1.0] * 5]),
        },
    )
    told = "first an orange circlemoves left . next a red stargrows . finally a red starturns ."
    monkeypatch.setattr(scoring, "describe", lambda *_: [told])
    counts = score(None, [case], [np.zeros((3, 8))])
    first_is_right = int(case.asked[1].right == 0)
    assert counts["order"] == [[1], [1]] and counts["letter_order"] == [[0], [1]]
    assert counts["what_does"] == [[first_is_right], [1]]
    assert counts["recall"] == [[2], [3]]  # the star that turns did not happen
    assert counts["told_order"] == [[0], [1]] and counts["whole"] == [[0], [1]]
    assert counts["pairs_in_order"] == [[0], [3]]


SMALL = Size(
    clip_stories=1,
    labelled_stories=3,
    test_videos=3,
    texts=12,
    films=10,
    steps=2,
    tuning=1,
    clip_steps=2,
    memory_rows=288,
)


def test_a_tiny_seed_end_to_end_and_again(tmp_path, llm, monkeypatch):
    monkeypatch.setattr("reproduction.prealignment.bridges.ROWS", 4)
    monkeypatch.setattr(scoring, "LONGEST_STORY", 4)
    tiny = Trial(3, tmp_path / "seed_3", llm, SMALL)
    names = ["words", "projected", "raw", "blind", "shuffled", "video", "lora", "tuned_10"]
    tiny.run(names[:3])
    tiny.run(names)
    lines = (tiny.folder / "results.jsonl").read_bytes().splitlines()
    rows = {row["arm"]: row for row in map(orjson.loads, lines)}
    assert [*rows] == names
    for row in rows.values():
        assert row["counts"]["what_does"][1] == [4, 5, 6]  # each thing is asked about
        assert (
            row["counts"]["order"][1] == [2, 2, 2] and row["counts"]["letter_after"][1] == [1] * 3
        )
    assert rows["projected"]["gap"] == rows["raw"]["gap"] > 0
    again = Trial(3, tmp_path / "seed_3", llm, SMALL)
    again.run(names)
    assert (tiny.folder / "results.jsonl").read_bytes().splitlines() == lines
    monkeypatch.setattr("reproduction.prealignment.trial.train", None)
    assert again.row("video")["counts"] == rows["video"]["counts"]  # from the bridge that was kept
    kept = results.collect(tmp_path, [1, 3], 3)
    assert kept["arms"]["video"]["seeds"]["3"]["phases"] == [{"counts": rows["video"]["counts"]}]


def test_blind_vectors_are_zero_and_shuffled_ones_are_projected_ones(tmp_path, llm):
    trial = Trial(3, tmp_path / "seed_3", llm, SMALL)
    unit = np.eye(4, dtype=np.float32)
    texts = clips.Texts.__new__(clips.Texts)
    texts.vectors = unit
    space = type("Space", (), {"test": [unit[[0, 1, 2]]], "texts": texts, "mean": torch.zeros(4)})
    assert not trial.vectors("blind", space)[0].any()
    ordered, [mixed] = trial.vectors("projected", space)[0], trial.vectors("shuffled", space)
    assert np.allclose(ordered, unit[[0, 1, 2]], atol=1e-6)
    assert sorted(mixed.argmax(1)) == [0, 1, 2]
    assert trial.vectors("one", space)[0].argmax(1).tolist() == [1]


def made(**shares):
    """Results of 2 seeds and 4 videos; arm -> how many of the 4 it has right."""
    answers = {"asked": {"videos": ["0", "1", "2", "3"], "events": [4] * 4}, "arms": {}}
    answers |= {"machine": "a machine", "versions": {"python": "3"}, "seconds": {}}
    for arm, right in shares.items():
        counts = {"what_does": [[1] * right + [0] * (4 - right), [1] * 4]}
        run = {"phases": [{"counts": counts}], "gap": 0.7, "retrieval": 0.9}
        answers["arms"][arm] = {"label": arms.ARMS[arm].label, "seeds": {"1": run, "2": run}}
    return answers


def test_a_claim_may_ask_for_more_than_a_difference_above_0():
    answers = made(projected=4, blind=0, video=4)
    assert (
        effect_and_verdict(answers, Claim("", "", "projected", "blind", "what_does", above=0.65))[1]
        == "supported"
    )
    assert (
        effect_and_verdict(answers, Claim("", "", "projected", "blind", "what_does", above=1.5))[1]
        == "refuted"
    )
    assert (
        effect_and_verdict(answers, Claim("", "", "projected", "video", "what_does"))[1]
        == "undecided"
    )
    near = Claim("", "", "projected", "video", "what_does", above=-0.05)
    assert effect_and_verdict(answers, near)[1] == "supported"


def test_every_claim_names_known_arms_and_bridges():
    metrics = {*report.MEASURES, *KINDS}
    for claim in report.CLAIMS:
        assert {claim.better, claim.worse} <= set(arms.ARMS) and claim.metric in metrics, claim
    assert {arm.bridge for arm in arms.ARMS.values()} == {*arms.BRIDGES, "words"}


def test_the_report_shows_what_plain_text_gives_beside_each_claim(tmp_path):
    answers = made(words=3, projected=4, raw=0, blind=0)
    (tmp_path / "prealignment.json").write_bytes(orjson.dumps(answers))
    report.write_report(tmp_path)
    text = (tmp_path / "prealignment.md").read_text()
    assert "| logit scale 100 | 0.70, 0.70 | 0.90, 0.90 |" in text
    [line] = [
        line
        for line in text.splitlines()
        if line.startswith("| projection helps | paper | content |")
    ]
    assert "| 0.750 | 2 | +1.000 [+1.000, +1.000] | **supported** |" in line
    [claim, *_] = orjson.loads((tmp_path / "claims.json").read_bytes())
    assert (claim["above"], claim["verdict"]) == (0.65, "supported")
    assert "Not run yet: text vectors" in text


def test_cases_depend_on_the_seed_alone():
    assert draw_cases([STORY], 1) == draw_cases([STORY], 1) != draw_cases([STORY], 2)
