"""Text videos of the toy world, made of templates and without a model.

Number n of a seed tells the story of the video toy_<n>.mp4 that `python -m toyworld --events 5-10`
renders from the same seed: whoever trains on these texts must test on videos of another seed.
"""

from random import Random

from prealignment.texts.parsing import Tideo
from qa.options import LETTERS
from tools.text.tideo_prompts import FEWEST_FRAMES, OPTIONS
from toyworld.language import narrate, options
from toyworld.questions import choose_questions
from toyworld.stories import plan_story

EVENTS = range(FEWEST_FRAMES, 11)  # of a story, a frame each
QUESTIONS = 5


def toy_tideo(seed: int, number: int) -> Tideo:
    """The text of story `number` (from 0), as a model would write it, with at most QUESTIONS
    questions that have five options."""
    plan = plan_story(seed, number, EVENTS[number % len(EVENTS)])
    events = [shot.event for shot in plan.shots if shot.event]
    questions = []
    for question in choose_questions(events, number, seed, 3 * QUESTIONS):
        choices = options(question, events, OPTIONS, Random(f"{seed}/{number}/{question.text}"))
        if len(choices) == OPTIONS:  # there are but four shapes, and yes and no
            questions.append(
                {
                    "question": question.text,
                    "options": choices,
                    "answer": LETTERS[choices.index(question.answer)],
                    "answer_open_ended": question.answer,
                }
            )
    return {
        "frames": [{"caption": event.text, event.shape: f"{event.thing} ."} for event in events],
        "global_video_caption": narrate([event.text for event in events]),
        "QAs": questions[:QUESTIONS],
    }
