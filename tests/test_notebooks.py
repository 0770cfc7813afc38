"""Every notebook runs from top to bottom on a fresh run folder, without a kernel: its code cells are plain Python."""

import json

import pytest

from nanolit.cli.main import main


@pytest.mark.parametrize("name", ["look_at_a_run"])
def test_notebook(name, root, tmp_path, village_root, monkeypatch):
    import matplotlib

    matplotlib.use("Agg")
    monkeypatch.setenv("DATA_ROOT", str(village_root))
    monkeypatch.setenv("OUT_DIR", str(tmp_path))
    small = [
        "data.documents=120",
        "data.val_documents=10",
        "tokenizer.vocab_size=300",
        "model.n_layer=1",
        "model.n_embd=16",
        "model.n_head=2",
    ]
    assert main(["train", "experiment=quick", *small, "trainer.max_steps=12", "batch_size=4", "logger=none"]) == 0
    notebook = json.loads((root / "notebooks" / f"{name}.ipynb").read_text())
    cells = ["".join(cell["source"]) for cell in notebook["cells"] if cell["cell_type"] == "code"]
    assert all(not cell.get("outputs") for cell in notebook["cells"]), "commit notebooks without outputs"
    names: dict = {}
    for cell in cells:
        exec(compile(cell, name, "exec"), names)
    assert len(names["bits"]) > 0
