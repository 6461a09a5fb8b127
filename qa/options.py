"""Which option a written answer names.

The first rule that names exactly one option decides:

1. the whole answer, or its first line, is an option's text (both normalised);
2. it begins with an option's letter, bare or in brackets, and its line ends there or goes on with
   ".", ")", ":" or that option's own text;
3. "answer is B", "option B", where the letter is no article: what follows it is punctuation, "or",
   "and", that option's own text or nothing;
4. exactly one option's text occurs in it, as whole words and outside of longer options.

Anything else names none, which is wrong and is counted as unanswered: no option is drawn at random,
and neither an empty answer nor the article "a" is taken for an option.
"""

import re
import string
from collections.abc import Iterator, Sequence

from qa.matching import normalise, occurs

LETTERS = string.ascii_uppercase
_LETTER = r"[(\[]?([{letters}])(?![\w'\u2019])[)\]]?"
# "e.g." names no option E.
_BEGINNING = r"\s*[(\[]?([{letters}])(?:[)\]]|[.:](?!\w)|(?<=[A-Z])[.:]|[^\S\n]*(?:\n|$)|\s+(.*))"
_NAMED = (
    r"\b(?i:answer|option|choice)s?(?i:\s+is\b)?\s*:?\s*"
    r"({letter}(?:\W*(?:\b(?:or|and)\b|[,/&])\W*{letter})*)"
)
# "The answer is A man opens it": an article, which no such word follows.
_AFTER_ARTICLE = re.compile(r"\s+(?!(?:because|since|as|is|or|and)\b)\w", re.IGNORECASE)
_EMPHASIS = re.compile(r"[*`]")


def chosen_option(text: str, choices: Sequence[str]) -> int | None:
    """The position of the option that an answer names; None: it names none, or more than one."""
    texts = [normalise(choice) for choice in choices]
    letters = LETTERS[: len(choices)]
    for named in _by_rule(_EMPHASIS.sub("", text).strip(), texts, letters):
        if len(named) == 1:
            return named.pop()
    return None


def _by_rule(text: str, texts: Sequence[str], letters: str) -> Iterator[set[int]]:
    """The options that each rule names, in the rules' order."""
    for part in (text, *text.splitlines()[:1]):
        yield {place for place, option in enumerate(texts) if option and option == normalise(part)}
    beginning = _BEGINNING.format(letters=letters + letters.lower())
    if match := re.match(beginning, text, flags=re.DOTALL):
        place, following = letters.index(match[1].upper()), match[2]
        own = following is None or normalise(following) == texts[place]
        yield {place} if own else set()
    letter = _LETTER.format(letters=letters)
    named = set()
    for match in re.finditer(_NAMED.format(letter=letter), text):
        places = [letters.index(name) for name in re.findall(f"[{letters}]\\b", match[1])]
        following = text[match.end() :]
        if places[-1] == 0 and match[1].endswith("A") and _AFTER_ARTICLE.match(following):
            is_own = f"{normalise(following)} ".startswith(f"{texts[0]} ")
            places = places if is_own else places[:-1]
        named.update(places)
    yield named
    yield set(_occurring(normalise(text).split(), texts))


def _occurring(tokens: list[str], texts: Sequence[str]) -> Iterator[int]:
    """The options whose texts occur in an answer's tokens; what a longer option covers is taken."""
    for place in sorted(range(len(texts)), key=lambda place: -len(texts[place].split())):
        run = texts[place].split()
        while (start := occurs(tokens, run)) is not None:
            yield place
            tokens = [*tokens[:start], "", *tokens[start + len(run) :]]
