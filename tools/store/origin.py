"""What a table was made from, as its `<name>.meta.json` says."""

from collections.abc import Iterator
from typing import Any

from tools.errors import UserError
from tools.store.dataset import annotation_of
from tools.store.jsonl import Table

# Versions of these are noted, and shown where they differ; they refuse nothing by themselves.
LIBRARIES = {
    "av",
    "opencv",
    "opencv-python-headless",
    "openvino",
    "scenedetect",
    "torch",
    "torchvision",
    "transformers",
    "vllm",
}


def differences(then: dict[str, Any], now: dict[str, Any]) -> dict[str, tuple[Any, Any]]:
    """name -> (then, now) of the parameters and versions in which two fingerprints differ."""
    before, after = (
        dict(_flat({**made.get("versions", {}), **made.get("params", {})})) for made in (then, now)
    )
    pairs = {name: (before.get(name), after.get(name)) for name in sorted({*before, *after})}
    return {name: pair for name, pair in pairs.items() if pair[0] != pair[1]}


def _flat(values: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Nested parameters under names like `sampling.top_p`."""
    for name, value in values.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield prefix + name, value


def check_origin(table: Table) -> None:
    """Raise UserError where a table, or one that it was made from, was made from what has been
    rebuilt since."""
    made = table.meta()
    for name, fingerprint_then in made.get("input", {}).items():
        upstream = annotation_of(table, name)
        if upstream.meta().get("fingerprint") != fingerprint_then:
            raise out_of_date(table, upstream, made["step"])
        check_origin(upstream)


def check_alike(table: Table, other: Table) -> None:
    """Raise UserError where two shards' tables of one name, or those that they were made from, were
    made with different parameters."""
    made, made_other = table.meta(), other.meta()
    for name in made.get("input", {}):
        check_alike(annotation_of(table, name), annotation_of(other, name))
    differing = differences(made, made_other).keys() - LIBRARIES
    if differing and "step" in made and "step" in made_other:
        raise UserError(
            f"{other.path} and {table.path} were not made alike ({', '.join(sorted(differing))}"
            f" differ): run one of these shards again with --redo {made['step']}"
        )


def out_of_date(table: Table, upstream: Table, step: str) -> UserError:
    """The error of a table whose input has been rebuilt since."""
    return UserError(
        f"{table.path.name} is out of date: {upstream.path.name} has been rebuilt since; run again"
        f" with --redo {step}"
    )
