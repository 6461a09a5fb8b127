"""Tables of texts by the frozen CLIP: each text once, in files that only ever grow in number.

A table is a folder of <number>.safetensors. Each holds the rows of some texts one after the other,
how many rows each text has, and the texts themselves in its description.
"""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from tools.errors import UserError
from tools.store.arrays import read_arrays, read_description, write_arrays

TEXTS_A_FILE = 1000
SHOWN = 60  # characters of a text in a message


class TextTable:
    """The rows of texts: one (d,) vector each, or the (L, d) tokens of each."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._rows: dict[str, np.ndarray] = {}
        for file in self._files():
            arrays, description = read_arrays(file)
            ends = np.cumsum(arrays["lengths"])
            parts = np.split(arrays["rows"], ends[:-1])
            self._rows.update(zip(description["texts"], parts, strict=True))

    def _files(self) -> list[Path]:
        return sorted(self.folder.glob("[0-9]*.safetensors"))

    def add(
        self,
        texts: Iterable[str],
        encode: Callable[[Sequence[str]], Iterable[np.ndarray]],
        params: dict[str, Any],
    ) -> int:
        """Encode the texts that are not there yet, file by file; returns how many.

        Args:
            encode: texts -> (d,) or (L, d) of each.
            params: what shapes the rows.

        Raises:
            UserError: the rows that are there were made with other parameters.
        """
        files = self._files()
        for file in files[:1]:
            made = read_description(file).get("params")
            if made != params:
                raise UserError(
                    f"{self.folder} was made with {made}, this run has {params}: delete that"
                    " folder, or name another one with --name"
                )
        # Texts of like length share a batch, and a run that goes on has the same batches.
        new = sorted({text for text in texts if text not in self._rows}, key=lambda t: (len(t), t))
        for start in tqdm(
            range(0, len(new), TEXTS_A_FILE), desc=self.folder.name, unit="file", disable=None
        ):
            part = new[start : start + TEXTS_A_FILE]
            rows = [row if row.ndim == 2 else row[None] for row in encode(part)]
            number = len(files) + start // TEXTS_A_FILE
            arrays = {
                "rows": np.concatenate(rows),
                "lengths": np.array([len(row) for row in rows], np.int32),
            }
            description = {"params": params, "texts": part}
            write_arrays(self.folder / f"{number:06d}.safetensors", arrays, description)
            self._rows.update(zip(part, rows, strict=True))
        return len(new)

    def rows(self, text: str) -> np.ndarray:
        """(L, d) float16 of a text; L is 1 in a table of vectors.

        Raises:
            UserError: it has none.
        """
        try:
            return self._rows[text]
        except KeyError:
            raise UserError(
                f"{self.folder} lacks {text[:SHOWN]!r}: run python -m distillation.features again,"
                " which encodes the texts that are new"
            ) from None

    def vectors(self, texts: Sequence[str]) -> np.ndarray:
        """(n, d) float16 of texts in a table of vectors."""
        return np.concatenate([self.rows(text) for text in texts])
