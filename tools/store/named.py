"""What `data/datasets.yaml` says of datasets that are known by name."""

from pathlib import Path
from typing import NamedTuple

from tools.errors import UserError, did_you_mean

REPOSITORY = Path(__file__).resolve().parents[2]
DATA_ROOT = REPOSITORY / "data"


class HubFolder(NamedTuple):
    """A folder of archives in a dataset's repository on the Hugging Face hub."""

    repository: str
    folder: str


def _known() -> dict[str, dict[str, str]]:
    """`data/datasets.yaml`."""
    import yaml

    entries: dict[str, dict[str, str]] = yaml.safe_load((DATA_ROOT / "datasets.yaml").read_text())
    return entries


def named_datasets() -> dict[str, str]:
    """`data/datasets.yaml`: dataset name -> its video folder, relative to the data root."""
    return {name: entry["video_dir"] for name, entry in _known().items()}


def hub_folder(name: str) -> HubFolder:
    """Where the archives of a named dataset's videos are; raises UserError for other names."""
    entries = {key: entry for key, entry in _known().items() if "repository" in entry}
    if name not in entries:
        raise UserError(
            f"{name}: data/datasets.yaml names no archives of it, but of {', '.join(entries)}"
            f"{did_you_mean(name, entries)}"
        )
    return HubFolder(entries[name]["repository"], entries[name]["folder"])
