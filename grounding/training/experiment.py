"""Experiments by name: YAML recipes in grounding/experiments/, and `key=value` overrides of them.

A recipe stands under one name in both families of names, `VideoTGB_<recipe>` and `LSTP_<recipe>`.
`experiments/defaults.yaml` holds every key, with what it means; a recipe holds what it changes.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from tools.errors import UserError, did_you_mean

FOLDER = Path(__file__).parents[1] / "experiments"
PREFIXES = ("VideoTGB_", "LSTP_")
NOT_RECIPES = ("defaults", "tiny")

Experiment = dict[str, Any]


def recipes() -> list[str]:
    """The recipes, sorted."""
    return sorted(path.stem for path in FOLDER.glob("*.yaml") if path.stem not in NOT_RECIPES)


def names() -> list[str]:
    """Every name of an experiment."""
    return [prefix + recipe for prefix in PREFIXES for recipe in recipes()]


def compose(words: Sequence[str]) -> Experiment:
    """The experiment that a command line names.

    Args:
        words: `experiment=NAME` and `key=value`, in any order; the key of a key is behind a dot,
            and values are YAML. `tiny=true` makes of a recipe what two cores run in seconds;
            other overrides win over it.

    Raises:
        UserError: no experiment of that name, no such key, or a value of another type.
    """
    overrides = dict(_parted(word) for word in words)
    if "experiment" not in overrides:
        raise UserError(f"experiment=NAME is missing; there are: {', '.join(names())}")
    name = str(overrides.pop("experiment"))
    recipe = next((name.removeprefix(p) for p in PREFIXES if name.startswith(p)), "")
    if recipe not in recipes():
        hint = did_you_mean(name, names())
        raise UserError(f"no experiment {name!r}{hint}; there are: {', '.join(names())}")
    experiment = _read("defaults")
    _merge(experiment, _read(recipe), f"{recipe}.yaml")
    if overrides.get("tiny", experiment["tiny"]) is True:
        _merge(experiment, _read("tiny"), "tiny.yaml")
    for key, value in overrides.items():
        nested: Any = value
        for part in reversed(key.split(".")):
            nested = {part: nested}
        _merge(experiment, nested, "the command line")
    return {"experiment": name, **experiment}


def _parted(word: str) -> tuple[str, Any]:
    key, equals, value = word.partition("=")
    if not key or not equals:
        raise UserError(f"{word!r} is no override: write key=value, such as data.nframe=4")
    try:
        return key.removeprefix("+"), yaml.safe_load(value)
    except yaml.YAMLError:
        raise UserError(f"{word!r}: the value is no YAML; quote what has a colon in it") from None


def _read(name: str) -> Experiment:
    return yaml.safe_load((FOLDER / f"{name}.yaml").read_text(encoding="utf-8"))


def _merge(into: Experiment, changes: Experiment, where: str, before: str = "") -> None:
    """Replace values by those of the same keys.

    Args:
        where: what the changes come from, and before: the keys that lead to them, for messages.
    """
    for key, value in changes.items():
        path = f"{before}{key}"
        if key not in into:
            hint = did_you_mean(path, _paths(into, before))
            raise UserError(f"{where}: there is no key {path!r}{hint}")
        if isinstance(into[key], dict):
            if not isinstance(value, dict):
                keys = ", ".join(_paths(into[key], f"{path}."))
                raise UserError(f"{where}: {path} is a group; name one of {keys}")
            _merge(into[key], value, where, f"{path}.")
        else:
            into[key] = _converted(path, value, into[key], where)


def _converted(path: str, value: Any, default: Any, where: str) -> Any:
    """A value as the type of the default; any where that is null."""
    if default is None or value is None or type(value) is type(default):
        return value
    try:
        # YAML reads 5e-5 as text, and a whole number is a rate as well.
        if isinstance(default, float) and not isinstance(value, bool):
            return float(value)
        if isinstance(default, str) and not isinstance(value, dict | list):
            return str(value)
    except ValueError:
        pass
    raise UserError(f"{where}: {path} is {value!r}, and must be like {default!r}")


def _paths(group: Experiment, before: str) -> list[str]:
    """The keys in a group, with those that lead to them."""
    paths = []
    for key, value in group.items():
        nested = _paths(value, f"{before}{key}.") if isinstance(value, dict) else []
        paths += nested or [f"{before}{key}"]
    return paths
