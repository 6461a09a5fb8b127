"""What stage 4 checks before it converts: the responses, and what stands where it would write."""

from collections.abc import Iterator, Mapping
from pathlib import Path

from tools.errors import UserError
from tools.pairs.formats import named_files
from tools.pairs.perturbation import CLEAN
from tools.pairs.settings import Conversion, Output
from tools.store.dataset import Dataset
from tools.store.files import read_json
from tools.store.jsonl import Table
from tools.store.origin import LIBRARIES, check_alike, check_origin, differences


def check_responses(plan: Conversion) -> Iterator[str]:
    """Check that the responses exist. Yields a line for people about each thing that looks
    unfinished.

    Raises:
        UserError: a dataset has nothing by this model in this round, no responses to the clean
            order, or none at one of the magnitudes; its shards were made with different parameters.
    """
    first: dict[str, Dataset] = {}
    for dataset in plan.datasets:
        runs = dataset.response_runs()
        if (plan.model, plan.iteration) not in runs:
            others = ", ".join(f"{model} (iter {iteration})" for model, iteration in runs)
            raise UserError(
                f"{dataset.title} has no responses by {plan.model} (iter {plan.iteration}); there"
                f" are: {others or 'none yet: generate_dpo_data.py makes them'}"
            )
        names = set(dataset.response_configs(plan.model, plan.iteration))
        tables = plan.tables(dataset)
        folder = tables[CLEAN.name].path.parent
        if CLEAN.name not in names:
            raise UserError(f"{folder} has no {CLEAN.name}.jsonl, the chosen side of every pair")
        for ratio in plan.ratios:
            wanted = {name for name, config in plan.configs.items() if config.magnitude == ratio}
            if not wanted & names:
                raise UserError(
                    f"{folder} has no responses at ratio {ratio}, such as {min(wanted)}.jsonl"
                )
            yield from (f"{folder} has no {name}.jsonl" for name in sorted(wanted - names))
        _check_one_run({name: table for name, table in tables.items() if name in names})
        first_shard = first.setdefault(dataset.name, dataset)
        if first_shard is not dataset:
            check_alike(plan.tables(first_shard)[CLEAN.name], tables[CLEAN.name])
        if any(table.parts() for table in tables.values()):
            yield f"{folder} holds parts: stage 3 is unfinished, or other scripts made them"
        if plan.judgements and not dataset.judgements.exists():
            yield f"nobody has judged pairs of {dataset.name}: no {dataset.judgements}"


def _check_one_run(tables: Mapping[str, Table]) -> None:
    """Check that these were made with one set of parameters, from the input as it is now.

    Raises:
        UserError: they were not.
    """
    clean = read_json(tables[CLEAN.name].meta_path)
    for table in tables.values():
        check_origin(table)
        made = read_json(table.meta_path)
        if not clean or not made:
            continue
        differing = differences(clean, made).keys() - LIBRARIES
        if differing or clean.get("input") != made.get("input"):
            raise UserError(
                f"{table.path} and {CLEAN.name}.jsonl beside it were not made alike"
                f" ({', '.join(sorted(differing)) or 'input'} differ): run generate_dpo_data.py"
                " --redo responses"
            )


def check_output(plan: Conversion, output: Output) -> set[Path]:
    """Check that this output may be written; returns the files of the conversion it replaces.

    Raises:
        UserError: the file exists and was made from other datasets, from shards that are left out
            now, by another model, or by another program; a dataset_info.json beside it is none.
    """
    if plan.format == "llamafactory":
        named_files(output.path.parent)
    funnel = read_json(output.funnel_path)
    replaced = output.files(funnel["flags"]["val"]) if funnel else []
    for path in output.files(plan.val):
        if path.exists() and path not in replaced:
            raise UserError(
                f"{path} exists and was not written by this program (no {output.funnel_path.name}"
                " beside it): name another --output, or move it away"
            )
    names = plan.names()
    if output.path.exists() and (
        funnel["model"] != plan.model or sorted(funnel["datasets"]) != sorted(names)
    ):
        raise UserError(
            f"{output.path} was made by {funnel['model']} from {', '.join(funnel['datasets'])}, not"
            f" by {plan.model} from {', '.join(names)}: name another --output, or move it away"
        )
    left_out = set(funnel.get("shards", ()) if funnel else ()).difference(plan.shards())
    if output.path.exists() and left_out:
        raise UserError(
            f"{output.path} was made from shards that are left out now, such as {min(left_out)}:"
            " name another --output, or move it away"
        )
    return set(replaced)
