"""Questions about videos: the frames shown, the options with their probabilities, what models
answer, and which answers are right."""

from collections.abc import Sequence

import numpy as np
import streamlit as st

from qa.options import LETTERS
from qa.records import Question
from tools.errors import UserError
from visualize.answers import (
    DIFFER,
    OUTCOMES,
    RIGHT,
    WRONG,
    ModelAnswers,
    Split,
    Stamp,
    Wanted,
    answer_files,
    judged_files,
    outcomes,
    read_answers,
    read_split,
    select,
    stamp,
    teacher_files,
)
from visualize.parts.address import Change, go, heading_with_steps
from visualize.parts.asked import (
    show_context,
    show_lines,
    show_options,
    show_texts,
    show_video,
)
from visualize.parts.filters import ANY, BOUND, release_focus
from visualize.parts.style import badge, counted, faint, note, unmarked
from visualize.session import Session

PAGE_ROWS = 50
NOBODY = "nobody"
ABOUT_OUTCOMES = (
    "An open answer is right where its judge says so or, without a judge, where it contains the"
    " right answer. `unanswered`: there is none, or it names no option (scores count it as wrong)."
)


def show() -> None:
    """The page."""
    session: Session = st.session_state["session"]
    splits = session.dataset.question_splits()
    if not splits:
        note(
            "This dataset has no questions: python -m qa.read and python -m toyworld --qa write"
            " them."
        )
        return
    with st.sidebar:
        name = st.selectbox("Split", splits, key="split", bind=BOUND)
        of_split = stamp(session.dataset.questions(name))
        split = _split(session, name, of_split)
        answers = _answers_of(session, name)
        wanted = _wanted(split, list(answers))
    compared = []
    if wanted.outcome:
        compared = [_compared(split, own, of_split, of_own) for own, of_own in answers.items()]
    places = _selection(split, compared, wanted, of_split, tuple(answers.values()))
    current = split.places.get(st.query_params.get("question", ""))
    # A link may open a question outside the filters; after a change of filters, one that passes.
    changed = (name, wanted) != st.session_state.get("wanted", (name, wanted))
    st.session_state["wanted"] = name, wanted
    if changed and len(places) and current not in places:
        current = None
        go(question=None)
    elif current is None and "question" in st.query_params:
        note(f"There is no such question in {name}: {st.query_params['question']}")
    if current is None and not len(places):
        note("No question passes these filters.")
    elif st.query_params.get("list") == "yes":
        _list(split, list(answers), places)
    else:
        beside = list(answers)
        if any(model.is_student for model in beside):
            known = {model.name for model in beside}
            beside += [own for own in _taught_by(session, name) if own.name not in known]
        _one(session, split, beside, places, int(places[0]) if current is None else current)


@st.cache_resource(max_entries=4, show_spinner="Reading the questions")
def _split(_session: Session, name: str, of_split: Stamp) -> Split:
    return read_split(_session.dataset, name)


@st.cache_resource(max_entries=6, show_spinner="Reading the answers")
def _answers(_session: Session, split: str, name: str, of_answers: Stamp) -> ModelAnswers:
    return read_answers(_session.dataset, split, name)


@st.cache_resource(max_entries=6, show_spinner="Comparing all answers with the right ones")
def _compared(
    _split: Split, _answers: ModelAnswers, of_split: Stamp, of_answers: Stamp
) -> np.ndarray:
    return outcomes(_split, _answers)


@st.cache_resource(max_entries=12, show_spinner=False)
def _selection(
    _split: Split,
    _compared: list[np.ndarray],
    wanted: Wanted,
    of_split: Stamp,
    of_answers: tuple[Stamp, ...],
) -> np.ndarray:
    return select(_split, wanted, _compared)


def _answers_of(session: Session, split: str) -> dict[ModelAnswers, Stamp]:
    """The predictions of the one or two files that the side bar names, and of which state of the
    files they are."""
    paths = answer_files(session.dataset, split)
    names = list(paths)
    if not names:
        st.caption("No model has answered these questions: evaluate_model.py qa asks one.")
        return {}
    first = st.selectbox("Answers of", names, key="by", bind=BOUND)
    second = st.selectbox("Beside", [NOBODY, *names], key="beside", bind=BOUND)
    answers = {}
    for name in dict.fromkeys([first, second]):
        if name == NOBODY:
            continue
        judged = judged_files(session.dataset, split, name).values()
        files = stamp(paths[name], *judged)
        try:
            answers[_answers(session, split, name, files)] = files
        except UserError as error:
            note(error)
    return answers


def _taught_by(session: Session, split: str) -> list[ModelAnswers]:
    """All that have judged the questions, which stand beside a student."""
    paths = teacher_files(session.dataset, split)
    return [_answers(session, split, name, stamp(path)) for name, path in paths.items()]


def _wanted(split: Split, answers: Sequence[ModelAnswers]) -> Wanted:
    """The filters in the side bar."""
    types: list[str] = []
    if names := sorted({*split.types} - {""}):
        types = st.multiselect("Type", names, key="type", bind=BOUND, placeholder=ANY)
    result = ANY
    if answers:
        results = [ANY, *(outcome for outcome in OUTCOMES if outcome != DIFFER or len(answers) > 1)]
        result = st.selectbox(
            "The answer is", results, key="answer", bind=BOUND, help=ABOUT_OUTCOMES
        )
    text = st.text_input("Text", key="q", type="search", placeholder="words in it", bind=BOUND)
    wanted = Wanted(tuple(sorted(types)), "" if result == ANY else result, text.strip())
    release_focus(repr((wanted, [model.name for model in answers])))
    return wanted


def _one(
    session: Session,
    split: Split,
    answers: Sequence[ModelAnswers],
    places: np.ndarray,
    current: int,
) -> None:
    def step_to(others: np.ndarray) -> Change | None:
        ids = [split.question(int(place)).id for place in others]
        return {"question": ids[0], "clip": None} if ids else None

    question = split.question(current)
    number = int(np.searchsorted(places, current))
    if number < len(places) and places[number] == current:
        where = f"{number + 1:,} of {len(places):,}"
        before, after = places[max(0, number - 1) : number], places[number + 1 : number + 2]
    else:
        where, before, after = f"not among {len(places):,}", places[:0], places[:1]
    labels = [badge(question.type, "accent")] if question.type else []
    for model in answers:
        result = model.outcome(question)
        kind = {RIGHT: "accent", WRONG: "warn"}.get(result, "")
        labels.append(badge(f"{model.name}: {result}", kind))
    labels.append(faint(question.id))
    buttons = heading_with_steps(question.question, labels, where, step_to(before), step_to(after))
    buttons.button("List", icon=":material/list:", on_click=go, kwargs={"list": "yes"})
    show_video(session, question, answers)
    show_lines(session, question, answers)
    if question.answer is None:
        note("The right answer is not public.")
    show_options(question, answers)
    show_texts(question, answers)
    show_context(question)
    origin = ", ".join(
        f"{key} {value}" for key, value in question.origin.items() if key != "sha256"
    )
    st.caption(unmarked(f"{question.video or 'no video'} · read from {origin or 'nowhere known'}"))


def _list(split: Split, answers: Sequence[ModelAnswers], places: np.ndarray) -> None:
    pages = max(1, -(-len(places) // PAGE_ROWS))
    word = st.query_params.get("page", "")
    page = min(pages, max(1, int(word) if word.isdecimal() else 1))
    buttons = heading_with_steps(
        counted(len(places), "question"),
        [],
        f"page {page:,} of {pages:,}",
        {"page": str(page - 1)} if page > 1 else None,
        {"page": str(page + 1)} if page < pages else None,
    )
    buttons.button("Question", icon=":material/quiz:", on_click=go, kwargs={"list": None})
    shown = [
        split.question(int(place)) for place in places[(page - 1) * PAGE_ROWS : page * PAGE_ROWS]
    ]
    chosen = st.dataframe(
        [
            {
                "id": question.id,
                "type": question.type or "",
                **{model.name: model.outcome(question) for model in answers},
                "question": question.question,
                "answer": question.answer or "",
                **{f"{model.name} answers": _short(model, question) for model in answers},
            }
            for question in shown
        ],
        hide_index=True,
        height="content",
        on_select="rerun",
        selection_mode="single-row",
        column_config={"question": st.column_config.TextColumn(width="medium")},
    )
    if chosen["selection"]["rows"]:
        question = shown[chosen["selection"]["rows"][0]]
        go(question=question.id, list=None, clip=None)
        st.rerun()


def _short(answers: ModelAnswers, question: Question) -> str:
    """What a model answers, in a cell."""
    place = answers.chosen(question)
    if place is not None and question.choices:
        return f"{LETTERS[place]} {question.choices[place]}"
    prediction = answers.prediction(question)
    return (prediction and prediction.prediction) or ""
