"""The layout: which module may import which, and how long a module may be."""

import ast
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent

BASE = ["tools.errors", "tools.store", "tools.cli"]  # of every package of tools but text
# What a module of each package may import of the repository, beside its own package. Packages of
# `tools` are named in full; "tools" alone is any of them.
MAY_IMPORT = {
    "tools.errors": [],
    "tools.interruption": [],
    "tools.text": ["tools.errors"],
    "tools.screen": [],
    "tools.statistics": ["tools.errors"],
    "tools.store": ["tools.errors"],
    "tools.cli": ["tools.errors", "tools.interruption", "tools.store"],
    "tools.runner": [*BASE],
    "tools.video": [*BASE, "tools.runner"],
    "tools.features": [*BASE, "tools.video"],
    "tools.shots": [*BASE, "tools.runner", "tools.video", "tools.features"],
    "tools.pairs": [*BASE, "tools.text", "tools.video", "tools.statistics"],
    "tools.training": [*BASE, "tools.pairs", "tools.video"],
    "tools.status": ["tools"],
    "tools.publish": ["tools"],
    "tools.fetch": ["tools"],
    "tools.relocate": ["tools"],
    "tools.rounds": ["tools"],
    "inference": ["tools"],
    "qa": ["tools", "inference"],
    "toyworld": ["tools", "qa.records"],
    "grounding": ["tools", "inference", "qa", "toyworld"],
    "prealignment": ["tools", "inference", "qa", "toyworld"],
    "distillation": ["tools", "inference", "qa", "toyworld"],
    "evaluation": ["tools", "inference", "qa", "toyworld"],
    "reproduction": [
        *("tools", "inference", "qa", "toyworld", "evaluation"),
        *("grounding", "prealignment", "distillation"),
    ],
    "visualize": [
        *("tools", "inference", "qa", "grounding.view", "prealignment.view", "distillation.view"),
    ],
    "benchmarks": [
        *("tools", "inference", "qa", "toyworld", "grounding", "prealignment", "distillation"),
        *("evaluation", "reproduction", "visualize"),
    ],
}
SCRIPTS = ["tools", "inference", "evaluation", "qa"]  # at the root; nobody imports them
LONGEST = 350


def modules() -> dict[str, Path]:
    """Dotted name -> file of every module that is no test."""
    files = [file for file in REPOSITORY.glob("*.py") if file.is_file()]
    for marker in REPOSITORY.glob("*/__init__.py"):
        files += marker.parent.rglob("*.py")
    return {
        ".".join(file.relative_to(REPOSITORY).with_suffix("").parts).removesuffix(".__init__"): file
        for file in files
    }


def package(module: str) -> str:
    """The key of MAY_IMPORT that a module belongs to; a script at the root is its own."""
    parts = module.split(".")
    return ".".join(parts[: 2 if parts[0] == "tools" else 1])


@cache
def imports() -> dict[str, set[str]]:
    """module -> the repository's modules that it imports, inside functions too."""
    known = modules()
    found = {}
    for module, file in known.items():
        names = set()
        for node in ast.walk(ast.parse(file.read_bytes())):
            if isinstance(node, ast.Import):
                names |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                base = module.split(".")[: -node.level] if node.level else []
                origin = ".".join([*base, node.module] if node.module else base)
                names |= {origin, *(f"{origin}.{alias.name}" for alias in node.names)}
        found[module] = {name for name in names if name in known and name != module}
    return found


def allowed(module: str, imported: str) -> bool:
    """Whether a module may import another."""
    ours, theirs = package(module), package(imported)
    may = MAY_IMPORT[ours] if "." in module else SCRIPTS
    return theirs == ours or any(name in may for name in (imported, theirs, theirs.split(".")[0]))


def test_a_module_imports_only_what_its_package_may():
    wrong = [
        f"{module} imports {imported}"
        for module, names in imports().items()
        for imported in sorted(names)
        if not allowed(module, imported)
    ]
    assert not wrong, "\n".join(wrong)


def test_ctrl_c_is_one_line_from_the_first_import_on():
    # `tools` sees to it; Python imports a package before the module that `python -m` runs.
    packages = {name for name, file in modules().items() if file.name == "__init__.py"}
    top = {name for name in packages if "." not in name}
    assert [name for name in top - {"tools"} if "tools" not in imports()[name]] == []


def test_no_modules_import_each_other():
    try:
        TopologicalSorter(imports()).prepare()
    except CycleError as error:
        pytest.fail(" -> ".join(reversed(error.args[1])))


def test_no_import_is_for_type_checking_alone():
    hidden = [name for name, file in modules().items() if "TYPE_CHECKING" in file.read_text()]
    assert not hidden, "\n".join(hidden)


def test_no_module_edits_the_search_path():
    edits = {name for name, file in modules().items() if "sys.path" in file.read_text()}
    edits -= {"reproduction.warm_swift"}  # what it forks has the path of a Python that starts
    assert not edits, "\n".join(edits)


def test_no_module_is_too_long_to_read_at_once():
    lines = {name: file.read_bytes().count(b"\n") for name, file in modules().items()}
    long = [f"{name}: {number} lines" for name, number in lines.items() if number > LONGEST]
    assert not long, "\n".join(long)


@pytest.mark.parametrize(
    ("module", "imported", "right"),
    [
        ("tools.store.dataset", "tools.errors", True),
        ("tools.store.dataset", "tools.store.jsonl", True),
        ("tools.store.dataset", "tools.video.decode", False),
        ("tools.pairs.rules", "inference.models", False),
        ("visualize.app", "tools.pairs.rules", True),
        ("visualize.app", "preprocess", False),
        ("inference.tiny.checkpoints", "reproduction.toyvl.train", False),
        ("preprocess", "tools.shots.steps", True),
        ("preprocess", "convert_to_swift", False),
        ("preprocess", "benchmarks.footage", False),
    ],
)
def test_the_rules_themselves(module, imported, right):
    assert allowed(module, imported) == right
