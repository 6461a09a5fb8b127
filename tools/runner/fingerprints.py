"""What a step's tables were made with: parameters, versions and input, in `<name>.meta.json`.

A run that would add to a table with anything else stops before it begins: nothing mixes silently.
A table that is rebuilt counts its builds, so that what was made from an earlier build is known to
be, also where the parameters are the same.
"""

import hashlib
from typing import TYPE_CHECKING, Any

import orjson

from tools.errors import UserError
from tools.store.dataset import annotation_of
from tools.store.files import read_json, write_json
from tools.store.jsonl import Table

if TYPE_CHECKING:
    from tools.runner.run import Step


def fingerprint(step: "Step") -> dict[str, Any]:
    """What shaped a step's output: parameters, versions and the fingerprint of what it reads."""
    upstream = read_json(step.reads.meta_path) or {}
    made = read_json(step.writes[0].meta_path) or {}
    document = {
        "step": step.name,
        "build": made.get("build", 1),
        "params": step.params(),
        "versions": {**step.versions(), "revision": str(step.revision)},
        "input": {step.reads.name: upstream.get("fingerprint")},
    }
    digest = hashlib.sha256(orjson.dumps(document, option=orjson.OPT_SORT_KEYS)).hexdigest()
    return {"fingerprint": digest[:16], **document}


def check_fingerprint(step: "Step") -> None:
    """Stop where the step's tables were made with other parameters or versions.

    The input's fingerprint is looked at by `sign`, when the step's turn has come: the step before
    it may have to write its own first.

    Raises:
        UserError: they were; the text names the first thing that differs.
    """
    now = fingerprint(step)
    for table in step.writes:
        made = read_json(table.meta_path)
        if made is None or "step" not in made:
            continue
        for kind in ("params", "versions"):
            then_values, now_values = _flat(made[kind]), _flat(now[kind])
            for key in sorted(then_values.keys() | now_values.keys()):
                then_value, now_value = then_values.get(key), now_values.get(key)
                if then_value != now_value:
                    raise UserError(
                        f"{table.path.name} was made with {key}={_short(then_value)}, this run has"
                        f" {key}={_short(now_value)}: give the old value, or rebuild with"
                        f" --redo {step.name}"
                    )


def _flat(values: dict[str, Any]) -> dict[str, Any]:
    """Nested parameters under names like `sampling.top_p`."""
    flat: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, dict):
            flat |= {f"{key}.{name}": inner for name, inner in _flat(value).items()}
        else:
            flat[key] = value
    return flat


def sign(step: "Step") -> str:
    """Leave the fingerprint beside the step's tables, and return it.

    Raises:
        UserError: they were made from another input.
    """
    now = fingerprint(step)
    for table in step.writes:
        made = read_json(table.meta_path)
        if made is None and table.exists():
            print(f"{table.path.name}: made by other scripts (no fingerprint), kept as it is")
            write_json(table.meta_path, now | {"note": "holds records made by other scripts"})
        elif made is None or "step" not in made:
            table.clear()
            write_json(table.meta_path, now)
        elif made["input"] != now["input"]:
            raise UserError(
                f"{table.path.name} was made from another {step.reads.path.name} than there is"
                f" now: rebuild with --redo {step.name}"
            )
    return str(now["fingerprint"])


def forget(table: Table) -> None:
    """Delete a table's records for another build; a kill half way is made good by `sign`."""
    build = (read_json(table.meta_path) or {}).get("build", 1)
    write_json(table.meta_path, {"build": build + 1})
    table.clear()


def check_origin(table: Table) -> None:
    """Was a table, and all that it was made from, made from what is there now?

    Raises:
        UserError: something before it has been rebuilt since.
    """
    made = read_json(table.meta_path)
    if not made or "step" not in made:
        return
    for name, fingerprint_then in made["input"].items():
        upstream = annotation_of(table, name)
        now = read_json(upstream.meta_path) or {}
        if now.get("fingerprint") != fingerprint_then:
            raise UserError(
                f"{table.path.name} was made from another {upstream.path.name} than there is now:"
                f" rebuild it with --redo {made['step']}"
            )
        check_origin(upstream)


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 60 else text[:57] + "..."
