"""How a step's tables were made: parameters, versions and input, in `<name>.meta.json`.

A run that would add to a table with other parameters stops before it begins: nothing mixes
silently. A table that is rebuilt counts its builds, so that what was made from an earlier build is
known to be out of date, also where the parameters are the same.
"""

import hashlib
from typing import Any

import orjson

from tools.errors import UserError
from tools.runner.step import Step
from tools.store.dataset import annotation_of
from tools.store.files import read_json, write_json
from tools.store.jsonl import Table

Differences = dict[str, tuple[Any, Any]]


def fingerprint(step: Step) -> dict[str, Any]:
    """How a step would make its tables now: parameters, and the fingerprint of what it reads.

    The versions of libraries are noted beside them, and are no part of the digest.
    """
    upstream = read_json(step.reads.meta_path) or {}
    made = read_json(step.writes[0].meta_path) or {}
    document = {
        "step": step.name,
        "build": made.get("build", 1),
        "revision": str(step.revision),
        "params": step.params(),
        "input": {step.reads.name: upstream.get("fingerprint")},
    }
    digest = hashlib.sha256(orjson.dumps(document, option=orjson.OPT_SORT_KEYS)).hexdigest()
    return {"fingerprint": digest[:16], **document, "versions": step.versions()}


def compare(then: dict[str, Any], now: dict[str, Any]) -> tuple[Differences, Differences]:
    """What differs between two fingerprints: name -> (then, now) of what shapes the output, and of
    the versions of libraries that both name.

    Fingerprints of earlier releases hold their revision among the versions, and some versions
    among the parameters, and the reverse: what the other one calls a version is one.
    """
    then_values, now_values = _values(then), _values(now)
    libraries = {*then.get("versions", {}), *now.get("versions", {})} - {"revision"}
    libraries -= _flat(now.get("params", {})).keys()
    shaping: Differences = {}
    versions: Differences = {}
    for name in sorted(then_values.keys() | now_values.keys()):
        pair = then_values.get(name), now_values.get(name)
        if pair[0] == pair[1]:
            continue
        if name not in libraries:
            shaping[name] = pair
        elif None not in pair:
            versions[name] = pair
    return shaping, versions


def _values(made: dict[str, Any]) -> dict[str, Any]:
    revision = {"revision": made["revision"]} if "revision" in made else {}
    return {**made.get("versions", {}), **_flat(made.get("params", {})), **revision}


def _flat(values: dict[str, Any]) -> dict[str, Any]:
    """Nested parameters under names like `sampling.top_p`."""
    flat: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, dict):
            flat |= {f"{key}.{name}": inner for name, inner in _flat(value).items()}
        else:
            flat[key] = value
    return flat


def check_fingerprint(step: Step) -> None:
    """Stop where the step's tables were made with other parameters; show other versions.

    `sign` looks at the input's fingerprint when the step's turn has come: the step before it may
    have to write its own first.

    Raises:
        UserError: they were; the text names the first thing that differs.
    """
    now = fingerprint(step)
    notes: Differences = {}
    for table in step.writes:
        made = read_json(table.meta_path)
        if made is None or "step" not in made:
            continue
        shaping, versions = compare(made, now)
        for name, values in shaping.items():
            before, after = map(_short, values)
            raise UserError(
                f"{table.path.name} was made with {name}={before}, this run has {name}={after}:"
                f" give the old value, or rebuild with --redo {step.name}"
            )
        notes |= versions
    for name, (before, after) in notes.items():
        print(f"note: {step.name} was made with {name} {before}, this run has {name} {after}")


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 60 else text[:57] + "..."


def sign(step: Step) -> None:
    """Leave the fingerprint beside the step's tables.

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
            raise _out_of_date(table, step.reads, step.name)


def forget(table: Table) -> None:
    """Delete a table's records for another build; `sign` completes what a kill leaves half done."""
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
            raise _out_of_date(table, upstream, made["step"])
        check_origin(upstream)


def _out_of_date(table: Table, upstream: Table, step: str) -> UserError:
    return UserError(
        f"{table.path.name} is out of date: {upstream.path.name} has been rebuilt since; run again"
        f" with --redo {step}"
    )
