"""What a judge of answers is asked; `judge.yaml` holds the wording."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tools.errors import UserError
from tools.text.prompts import Message, fingerprint

_WORDING = yaml.safe_load(Path(__file__).with_name("judge.yaml").read_text(encoding="utf-8"))
FORMS: tuple[str, ...] = tuple(_WORDING["forms"])
UNREADABLE: str = _WORDING["unreadable"]
PLACEHOLDER = re.compile(r"\{\w+\}")
REQUIRED = ("{question}", "{answer}", "{prediction}")
FORM = "{form}"


@dataclass(frozen=True)
class JudgePrompt:
    """The two turns with which a judge is asked; `judge.yaml` says what they hold."""

    system: str = _WORDING["system"]
    user: str = _WORDING["user"]

    @property
    def digest(self) -> str:
        """Twelve hex digits that change with the wording."""
        return fingerprint(self.system, self.user, FORMS[0], UNREADABLE)

    @property
    def forms(self) -> int:
        """How many orders of the reply's keys this prompt can ask for."""
        return len(FORMS) if FORM in self.user else 1

    def messages(self, question: str, answer: str, prediction: str, form: int = 0) -> list[Message]:
        """Ask for the verdict on one prediction.

        Args:
            form: which of the orders of the reply's keys is asked for.
        """
        values = {
            **dict(zip(REQUIRED, (question, answer, prediction), strict=True)),
            FORM: FORMS[form],
        }
        # In one pass, since a prediction may hold a placeholder's name.
        user = PLACEHOLDER.sub(lambda match: values[match[0]], self.user)
        system = [_turn("system", self.system)] if self.system else []
        return [*system, _turn("user", user)]


def follow_up(messages: list[Message], reply: str, fault: str) -> list[Message]:
    """Go on with a conversation whose last reply cannot be read, saying why."""
    complaint = UNREADABLE.replace("{fault}", fault)
    return [*messages, _turn("assistant", reply), _turn("user", complaint)]


def read_judge_prompt(path: str) -> JudgePrompt:
    """Read a YAML file with the texts `system` (may be absent or empty) and `user`.

    Raises:
        UserError: it cannot be read, has another key, or a placeholder is missing or unknown.
    """
    try:
        values = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise UserError(f"{path} cannot be read: {' '.join(str(error).split())}") from None
    if not isinstance(values, dict) or not {"user"} <= values.keys() <= {"user", "system"}:
        raise UserError(f"{path} must have the key user, and may have the key system")
    prompt = JudgePrompt(**{"system": "", **{key: value or "" for key, value in values.items()}})
    for key, allowed in (("system", ()), ("user", (*REQUIRED, FORM))):
        text = getattr(prompt, key)
        if not isinstance(text, str):
            raise UserError(f"{path}: {key} must be text, and is {text!r}")
        for name in PLACEHOLDER.findall(text):
            if name not in allowed:
                raise UserError(f"{path}: {key} has the placeholder {name}, which nothing fills")
    if missing := [name for name in REQUIRED if name not in prompt.user]:
        raise UserError(f"{path}: user lacks the placeholder {', '.join(missing)}")
    return prompt


def _turn(role: str, text: str) -> dict[str, Any]:
    return {"role": role, "content": [{"type": "text", "text": text}]}
