"""The toy world's events in a text: in the world's own language, or in anybody's prose."""

import re

from toyworld.language import ACTIONS, COLOURS, SHAPES, Event

_COLOURS = {**dict(zip(COLOURS, COLOURS, strict=True)), "violet": "purple"}
_SHAPES = {
    **dict(zip(SHAPES, SHAPES, strict=True)),
    **dict.fromkeys(("disc", "disk", "ball", "dot", "circular shape", "round shape"), "circle"),
    "square shape": "square",
    **dict.fromkeys(("triangular shape", "triangle shape"), "triangle"),
    **dict.fromkeys(("star shape", "star-shaped object", "star-shaped figure"), "star"),
}
_ADJECTIVES = (
    "small|large|big|little|tiny|solid|filled|flat|plain|simple|single|bright|glowing|geometric"
    "|equilateral|five-pointed|pointed"
)


def _any(words: dict[str, str]) -> str:
    # Longest first: "star shape" must not be found as "star".
    return "|".join(sorted(words, key=len, reverse=True))


_SUBJECT = re.compile(
    rf"\b(?P<colour>{_any(_COLOURS)})(?:[- ]colou?red)?,?(?:\s+(?:{_ADJECTIVES}))*"
    rf"\s+(?P<shape>{_any(_SHAPES)})\b",
    flags=re.IGNORECASE,
)
# A sentence that goes on about the shape before it; any other has a subject of its own.
_GOES_ON = re.compile(
    r"\s*(?:(?:then|next|as),? )?(?:it|this|which|(?:the|this) (?:shape|object|figure|circle|square"
    r"|triangle|star))\b",
    flags=re.IGNORECASE,
)
_SENTENCE_END = re.compile(r"[.!?;\n]+")

_DIRECTIONS = {
    **dict.fromkeys(("left", "leftward", "leftwards", "left-hand"), "moves left"),
    **dict.fromkeys(("right", "rightward", "rightwards", "right-hand"), "moves right"),
    **dict.fromkeys(("up", "upward", "upwards", "top"), "moves up"),
    **dict.fromkeys(("down", "downward", "downwards", "bottom"), "moves down"),
}
_DIRECTION = re.compile(rf"\b(?:{_any(_DIRECTIONS)})\b", flags=re.IGNORECASE)
_WAY_WORDS = 8  # that may stand between a movement and where it goes, "slowly across the screen to"
_WAY = re.compile(rf"(?:\W+[\w-]+){{0,{_WAY_WORDS + 1}}}")
_FROM_TO = re.compile(
    rf"\s+(?:(?!{_DIRECTION.pattern})\w+\s+){{0,4}}from\b.*?\bto(?:wards?)?\b", flags=re.IGNORECASE
)

_ACTION = re.compile(
    r"""\b(?:
      (?P<grows> gr(?:ows?|ew|owing|own) \b
        | (?:gets?|getting|got|becom(?:es?|ing)|became) \s+ (?:bigger|larger) \b
        | expand(?:s|ed|ing)? \b | enlarg(?:es?|ed|ing) \b | swell(?:s|ed|ing)? \b
        | increas(?:es?|ed|ing) \s+ in \s+ size \b)
    | (?P<turns> (?:rotat(?:es?|ed|ing) | spin(?:s|ning)? | spun | revolv(?:es?|ed|ing)
        | twirl(?:s|ed|ing)?) \b
        # "turns into", "turns red", "turns to the left" are other things
        | turn(?:s|ed|ing)? \b (?! \s+ (?:to|into|left|right|back|off|on|COLOUR) \b))
    | (?P<up> (?:ris(?:es?|ing) | rose | ascend(?:s|ed|ing)? | climb(?:s|ed|ing)?) \b)
    | (?P<down> (?:fall(?:s|ing)? | fell | descend(?:s|ed|ing)? | drop(?:s|ped|ping)?
        | sink(?:s|ing)? | sank) \b)
    | (?P<moves> (?:mov(?:es?|ed|ing) | slid(?:es?|ing)? | drift(?:s|ed|ing)? | glid(?:es?|ed|ing)
        | shift(?:s|ed|ing)? | travel(?:s|led|ling|ed|ing)? | float(?:s|ed|ing)?
        | go(?:es|ing)? | went) \b)
    )""".replace("COLOUR", _any(_COLOURS)),
    flags=re.IGNORECASE | re.VERBOSE,
)


def find_events(text: str) -> list[Event]:
    """The events that a text tells of, each where it is first mentioned.

    A shape and the first thing that it does after its mention make an event; a shape that does
    nothing, does nothing of the world, or has no colour makes none.
    """
    subjects = list(_SUBJECT.finditer(text))
    ends = [*(subject.start() for subject in subjects), len(text)][1:]
    events = (
        Event(
            _COLOURS[subject["colour"].lower()],
            _SHAPES[" ".join(subject["shape"].lower().split())],
            action,
        )
        for subject, end in zip(subjects, ends, strict=True)
        if (action := _first_action(_about(text[subject.end() : end])))
    )
    return list(dict.fromkeys(events))


def _about(text: str) -> str:
    """What of the text behind a shape's mention is about it: its sentence, and those that go on."""
    for end in _SENTENCE_END.finditer(text):
        if not _GOES_ON.match(text, end.end()):
            return text[: end.start()]
    return text


def _first_action(text: str) -> str | None:
    """The first of ACTIONS in a text."""
    for verb in _ACTION.finditer(text):
        kind = verb.lastgroup
        action = f"moves {kind}" if kind in ("up", "down") else kind
        if kind == "moves":
            action = _goal(text[verb.end() :])
        if action in ACTIONS:
            return action
    return None


def _goal(way: str) -> str | None:
    """Where a movement goes, by the words behind it; where it comes from is passed over."""
    way = _SENTENCE_END.split(way)[0]
    if comes_from := _FROM_TO.match(way):
        way = way[comes_from.end() :]
    near = _WAY.match(way)
    direction = near and _DIRECTION.search(near[0])
    return _DIRECTIONS[direction[0].lower()] if direction else None
