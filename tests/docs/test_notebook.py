"""docs/demo.ipynb: its cells run from top to bottom, as a reader runs them."""

import json
from pathlib import Path

NOTEBOOK = Path(__file__).resolve().parents[2] / "docs" / "demo.ipynb"


def test_the_cells_run_in_their_order(tmp_path, monkeypatch, capsys):
    """In an empty folder, with as few videos as pairs need."""
    monkeypatch.chdir(tmp_path)
    notebook = json.loads(NOTEBOOK.read_text())
    cells = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    assert not any(cell["outputs"] for cell in cells)
    names: dict[str, object] = {}
    for number, cell in enumerate(cells):
        source = "".join(cell["source"]).replace("VIDEOS = 4", "VIDEOS = 1")
        exec(compile(source, f"cell {number}", "exec"), names)
    out = capsys.readouterr().out
    assert "finalize: 1 done" in out
    row = names["row"]
    chosen, rejected = row["messages"][1]["content"], row["rejected_response"]
    assert f"chosen: {chosen}" in out and f"rejected: {rejected}" in out
    assert chosen != rejected
