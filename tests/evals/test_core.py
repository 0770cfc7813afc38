"""CORE: equal to one text at a time in plain loops, whatever the batch size and the network; what is wrong with a
bundle in one line.
"""

import importlib.util
import json
import math
import random
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch

from nanolit.evals.continuations import grouped, judge
from nanolit.evals.core import as_json, evaluate_core
from nanolit.evals.core_config import CoreConfig
from nanolit.evals.icl_bundle import CORE_TASKS, IclItem, IclTask, open_bundle
from nanolit.evals.icl_prompts import begin_id, candidates, texts_of
from nanolit.models.config import GPTConfig
from nanolit.models.gpt import GPT
from nanolit.tokenizers.bpe import train_bpe
from nanolit.tokenizers.byte import ByteTokenizer
from nanolit.village.core_items import write_bundle

_spec = importlib.util.spec_from_file_location("core_oracle", Path(__file__).parent / "core_oracle.py")
oracle = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(oracle)

V = 61
# One for each way of a GPT to know where it is and what stood before
SHAPES = {
    "gpt2": {},
    "llama": {"position": "rope", "norm": "rmsnorm", "mlp": "swiglu", "bias": False, "n_kv_head": 2},
    "windows": {"position": "rope", "window_pattern": "SL", "window": 16},
    "bigrams": {"bigram_rows": 997},
    "smear": {"position": "rope", "smear": True},
}


def gpt(block_size: int, vocab_size: int = V, **fields) -> GPT:
    """Random, but with opinions."""
    torch.manual_seed(0)
    shape = {"n_layer": 2, "n_head": 4, "n_embd": 32} | fields
    network = GPT(GPTConfig(vocab_size=vocab_size, block_size=block_size, **shape)).eval()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    return network


@pytest.fixture(scope="module")
def core_folder(root) -> Path:
    folder = root.parent / "shared" / "data" / "core"
    if not folder.exists():
        pytest.skip(f"needs CORE's bundle at {folder}")
    return folder


@pytest.fixture(scope="module")
def tokenizer():
    """Of the village's words: CORE's are pieces in it."""
    from nanolit.village import documents

    return train_bpe(documents(0, "train", 0, 400), 600)


@pytest.fixture(scope="module")
def village(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("village") / "core"
    write_bundle(folder, size=12)
    return folder


def assert_equal(result, expected, atol: float) -> float:
    """To the oracle's; gives the least difference between the best two candidates of an item."""
    assert [task.label for task in result.tasks] == list(expected)
    margins = [math.inf]
    for task in result.tasks:
        chance, items = expected[task.label]
        assert task.score.by_chance == pytest.approx(chance) and task.score.n == len(items)
        for item, (is_right, losses) in zip(task.items, items, strict=True):
            assert item.losses == pytest.approx(losses, abs=atol, rel=0), (task.label, item.index)
            if len(set(item.losses)) > 1:
                margins.append(sorted(set(item.losses))[1] - min(item.losses))
            assert item.is_right == is_right, (task.label, item.index)
        assert task.score.value == pytest.approx(sum(right for right, _ in items) / len(items))
    return min(margins)


# --- equal to the oracle


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_core_is_the_oracles_at_every_batch_size(core_folder, tokenizer, dtype):
    """Twelve items: tasks of ten shots have others to draw from. Texts are longer than the context in some."""
    network = gpt(512, tokenizer.vocab_size).to(dtype)
    expected = oracle.evaluate(network, tokenizer.encode, tokenizer.eot_id, core_folder, 12)
    bundle = open_bundle(core_folder)
    results = [evaluate_core(network, tokenizer, bundle, batch_size=n, max_per_task=12) for n in (1, 3, 32)]
    # A network's logits are float32 in any case.
    margins = [assert_equal(result, expected, 1e-6 if dtype == torch.float64 else 2e-5) for result in results]
    assert min(margins) > 4e-5, "an item is too near to a tie to be sure that rounding does not decide it"
    for other in results[1:]:
        assert [score.prompt_hash for score in other.scores] == [score.prompt_hash for score in results[0].scores]
        pairs = zip(as_json(other), as_json(results[0]), strict=True)
        assert all(a["picked"] == b["picked"] and a["is_right"] == b["is_right"] for a, b in pairs)
    n_cropped = Counter({task.label: task.n_cropped for task in results[0].tasks})
    assert n_cropped["agi_eval_lsat_ar"] == 12 and n_cropped["copa"] == 0
    assert results[0].n_cropped == sum(n_cropped.values())


def test_few_items_still_have_all_their_shots(core_folder, tokenizer):
    """Shots are drawn from further items then, where nanochat breaks off."""
    network = gpt(512, tokenizer.vocab_size)
    expected = oracle.evaluate(network, tokenizer.encode, tokenizer.eot_id, core_folder, 2)
    result = evaluate_core(network, tokenizer, open_bundle(core_folder), max_per_task=2)
    assert_equal(result, expected, 2e-5)
    assert {task.label: task.score.shots for task in result.tasks}["arc_easy"] == 10


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("batch_size", [1, 8])
def test_every_family_is_the_oracles(village, tokenizer, shape, batch_size):
    network = gpt(256, tokenizer.vocab_size, **SHAPES[shape])
    expected = oracle.evaluate(network, tokenizer.encode, tokenizer.eot_id, village)
    assert_equal(evaluate_core(network, tokenizer, open_bundle(village), batch_size=batch_size), expected, 2e-5)


@pytest.mark.parametrize(
    "settings",
    [
        {"model_type": "llama", "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4},
        {"model_type": "gpt2", "n_embd": 32, "n_layer": 2, "n_head": 4},
        {"model_type": "mamba", "hidden_size": 32, "num_hidden_layers": 2, "state_size": 4},
    ],
    ids=lambda settings: settings["model_type"],
)
def test_networks_of_transformers_are_the_oracles(village, settings):
    """In bytes, so that some texts are long enough for a cache, and some too long."""
    pytest.importorskip("transformers")
    from nanolit.interop.causal_lm import build

    tokenizer = ByteTokenizer()
    torch.manual_seed(0)
    network = build(tokenizer.vocab_size, settings, block_size=300).eval()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.05)
    expected = oracle.evaluate(network, tokenizer.encode, begin_id(tokenizer), village)
    for batch_size in (1, 8):
        result = evaluate_core(network, tokenizer, open_bundle(village), batch_size=batch_size)
        assert_equal(result, expected, 5e-5)
    assert result.n_cropped > 0


def random_texts(draw: random.Random, block_size: int) -> list[tuple[np.ndarray, int]]:
    """Of all lengths; some begin alike, some are equal, some are judged from the second token on."""
    texts = []
    for _ in range(12):
        before = [draw.randrange(V) for _ in range(draw.choice([0, 1, 5, 30, block_size - 40, block_size - 3]))]
        for _ in range(draw.choice([1, 1, 2, 5])):
            rest = [draw.randrange(V) for _ in range(draw.choice([2, 3, 3, 20, 40]))]
            ids = (before + rest)[-block_size:]
            texts.append((np.array(ids), max(1, len(ids) - len(rest) + 1)))
    return texts + draw.sample(texts, 3)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("shape", ["llama", "smear"])
def test_any_texts_are_judged_as_if_alone(shape, seed):
    """Also where a row of a pass is longer than the rest of another one's slot."""
    block_size = 160
    network = gpt(block_size, **SHAPES[shape])
    texts = random_texts(random.Random(seed), block_size)
    for batch_size in (1, 2, 64):
        told = []
        found = judge(network, texts, batch_size, told.append)
        assert told[-1] == len(found) == len(texts) and told == sorted(told)
        for (ids, start), judged in zip(texts, found, strict=True):
            losses, hits = oracle.losses_and_hits(network, ids.tolist(), start)
            assert judged.loss == pytest.approx(sum(losses) / len(losses), abs=2e-5)
            assert judged.is_greedy == all(hits)


def test_what_texts_share_is_computed_once():
    ids = [np.array([1, 2, 3, 4, 5]), np.array([1, 2, 3, 6]), np.array([1, 2, 3, 4, 5]), np.array([9, 3, 4])]
    groups = grouped([(ids[0], 3), (ids[1], 3), (ids[2], 3), (ids[3], 2)])
    assert [(group.before, group.rests, group.places) for group in groups] == [
        ([1, 2], [[3, 4, 5], [3, 6]], [[0, 2], [1]]),
        ([9], [[3, 4]], [[3]]),
    ]


def test_a_greedy_continuation_is_right(tokenizer, tmp_path):
    """What the network itself would write is found to be so, and anything else is not."""
    network = gpt(128, tokenizer.vocab_size)
    text = "The miller has"
    ids = [tokenizer.eot_id, *tokenizer.encode(text)]
    n = len(ids)
    for _ in range(4):
        ids.append(network(torch.tensor([ids]))[0, -1].argmax().item())
    other = [*ids[:-1], (ids[-1] + 1) % tokenizer.vocab_size]
    written, changed = judge(network, [(np.array(ids), n), (np.array(other), n)], 4)
    assert written.is_greedy and not changed.is_greedy


def test_equal_choices_are_one():
    """Of equal losses the first is taken, and rounding cannot choose between equal texts."""
    tokenizer, network = ByteTokenizer(), gpt(64, 257)
    items = (IclItem(("A",), ("same", "same"), 1), IclItem(("B",), ("x", "x", "y"), 1))
    task = IclTask("t", "multiple_choice", 0, " ", 0.0, items, Path("t.jsonl"))
    read = candidates(task, [texts_of(task, item, []) for item in task.items], tokenizer, 64)
    losses = [[judged.loss for judged in judge(network, [(c.ids, c.start) for c in row], 8)] for row in read]
    assert losses[0][0] == losses[0][1] and losses[1][0] == losses[1][1] != losses[1][2]


# --- the result


def made_bundle(folder: Path, tasks) -> Path:
    """`tasks`: label, kind, shots, chance in percent, rows."""
    (folder / "eval_data").mkdir(parents=True)
    sections, lines = [], ["Eval Task,Random baseline"]
    for label, kind, shots, chance, rows in tasks:
        sections.append({"label": label, "dataset_uri": f"{label}.jsonl", "num_fewshot": [shots]})
        sections[-1]["icl_task_type"] = kind
        lines.append(f"{label},{chance}")
        text = "".join(f"{json.dumps(row)}\n" for row in rows)
        (folder / "eval_data" / f"{label}.jsonl").write_text(text)
    (folder / "core.yaml").write_text(json.dumps({"icl_tasks": sections}))
    (folder / "eval_meta_data.csv").write_text("\n".join(lines))
    return folder


ROW = {"query": "One", "choices": ["two", "ten"], "gold": 0}


def test_core_has_its_name_only_whole(tmp_path, core_folder):
    tokenizer, network = ByteTokenizer(), gpt(64, 257)
    all_of_it = [(label, "multiple_choice", n, chance, [ROW] * 12) for label, (n, chance) in CORE_TASKS.items()]

    def mean(tasks, name, **settings):
        labels = settings.pop("labels", None)
        bundle = open_bundle(made_bundle(tmp_path / name, tasks), labels)
        return evaluate_core(network, tokenizer, bundle, **settings)

    whole = mean(all_of_it, "whole")
    assert whole.mean.name == "CORE" and "at most" not in whole.mean.told
    centred = [(score.value - score.by_chance) / (1 - score.by_chance) for score in whole.scores]
    assert whole.mean.value == pytest.approx(sum(centred) / 22)
    assert mean(all_of_it[:12], "part").mean.name == "CORE of 12 of 22 tasks"
    assert mean(all_of_it, "chosen", labels=["copa"]).mean.name == "CORE of 1 of 22 tasks"
    cropped = mean(all_of_it, "few", max_per_task=3).mean
    assert cropped.told.endswith("at most 3 items each")
    changed = [(label, kind, 0, chance, rows) for label, kind, _, chance, rows in all_of_it]
    assert mean(changed, "changed").mean.name == "like CORE"
    assert {task.label for task in open_bundle(core_folder).tasks} < set(CORE_TASKS)
    for task in open_bundle(core_folder).tasks:
        assert CORE_TASKS[task.label] == (task.shots, pytest.approx(100 * task.by_chance))


def test_a_score_tells_how_it_was_made(village, tokenizer):
    network = gpt(256, tokenizer.vocab_size).train()
    told = []
    bundle = open_bundle(village, ["village_questions", "village_who"])
    result = evaluate_core(network, tokenizer, bundle, on_progress=lambda *args: told.append(args))
    assert network.training, "it is handed back as it came"
    assert result.mean.name == "village_core of 2 of 5 tasks"
    asked, who = result.scores
    assert (asked.task, asked.shots, asked.n, asked.by_chance) == ("village_core/village_questions", 3, 12, 0.25)
    assert "delimiter ' '" in asked.template and asked.template.endswith("after <|endoftext|>")
    assert who.extractor != asked.extractor and who.prompt_hash != asked.prompt_hash
    p = asked.value
    assert asked.standard_error == pytest.approx(math.sqrt(p * (1 - p) / 11))
    assert told[-1] == ("village_who", 12, 12) and {label for label, _, _ in told} == set(bundle_labels(bundle))
    errors = [score.standard_error / (1 - score.by_chance) for score in result.scores]
    assert result.standard_error == pytest.approx(math.hypot(*errors) / 2)
    last = json.loads(json.dumps(as_json(result)))[-1]
    assert last["task"] == "village_core/village_who" and len(last["contexts"]) == len(last["losses"]) == 2
    assert last["is_right"] == (last["picked"] == last["gold"])
    assert f"standard error {result.standard_error:.4f}" in result.mean.told


def bundle_labels(bundle) -> list[str]:
    return [task.label for task in bundle.tasks]


def test_a_broken_model_has_no_score(village, tokenizer):
    network = gpt(256, tokenizer.vocab_size)
    with torch.no_grad():
        network.final_norm.weight.fill_(math.nan)
    with pytest.raises(ValueError, match=r"^model: its losses on village_core/village_rhymes are no numbers"):
        evaluate_core(network, tokenizer, open_bundle(village))
    assert not network.training


# --- faults, one line each


@pytest.mark.parametrize(
    ("kind", "row", "told"),
    [
        ("multiple_choice", "{not json", "Expecting property name"),
        ("multiple_choice", "[1]", "got list, allowed: a JSON object in each line"),
        ("multiple_choice", {"choices": ["a", "b"], "gold": 0}, "query: missing, allowed: a text"),
        ("multiple_choice", {"query": "q", "gold": 0}, "choices: missing, allowed: two texts or more"),
        ("multiple_choice", {"query": "q", "choices": ["a"], "gold": 0}, r"choices: got \['a'\], allowed: two"),
        ("multiple_choice", {"query": "q", "choices": ["a", "b"]}, "gold: missing, allowed: 0 to 1"),
        ("multiple_choice", {"query": "q", "choices": ["a", "b"], "gold": 2}, "gold: got 2, allowed: 0 to 1"),
        ("multiple_choice", {"query": "q", "choices": ["a", "b"], "gold": True}, "gold: got True, allowed: 0 to 1"),
        ("schema", {"context_options": ["a", "b"], "gold": 0}, "continuation: missing, allowed: a text"),
        ("schema", {"continuation": "c", "gold": 0}, "context_options: missing, allowed: two texts or more"),
        ("language_modeling", {"context": 3, "continuation": "c"}, "context: got 3, allowed: a text"),
        ("language_modeling", {"context": "c", "continuation": " "}, "continuation: got ' ', allowed: a text"),
    ],
)
def test_a_corrupt_line_is_named(tmp_path, kind, row, told):
    folder = made_bundle(tmp_path / "core", [("copa", kind, 0, 50, [])])
    good = {"query": "q", "choices": ["a", "b"], "context_options": ["a", "b"], "continuation": "c", "context": "c"}
    line = row if isinstance(row, str) else json.dumps(row)
    file = folder / "eval_data" / "copa.jsonl"
    file.write_text(json.dumps(good | {"gold": 0}) + "\n" + line + "\n")
    with pytest.raises(ValueError, match=rf"copa\.jsonl:2: {told}") as caught:
        open_bundle(folder)
    assert str(caught.value).startswith(f"path: {file}") and "\n" not in str(caught.value)


def test_a_broken_bundle_is_one_line(tmp_path):
    with pytest.raises(ValueError, match=r"^path: there is no .*core\.yaml; give the folder with"):
        open_bundle(tmp_path)
    folder = made_bundle(tmp_path / "core", [("copa", "multiple_choice", 0, 50, [ROW] * 3)])
    with pytest.raises(ValueError, match=r"^tasks: .* has no cop; did you mean copa"):
        open_bundle(folder, ["cop"])
    section = json.loads((folder / "core.yaml").read_text())["icl_tasks"][0]
    for change, told in (
        ({"dataset_uri": "gone.jsonl"}, r"copa is in .*gone\.jsonl, which is not there"),
        ({"dataset_uri": None}, "copa needs dataset_uri"),
        ({"icl_task_type": "essay"}, "copa has icl_task_type 'essay', allowed: multiple_choice, schema, language_mod"),
        ({"num_fewshot": 10}, r"copa has num_fewshot 10, allowed: a list with one number, as \[10\]"),
        ({"num_fewshot": [3]}, r"copa\.jsonl has 3 items, too few for 3 shots before another"),
        ({"label": "other"}, "gives other the random baseline '', allowed: 0 to below 100"),
        ({"label": None}, "task 1 has the label None"),
    ):
        (folder / "core.yaml").write_text(json.dumps({"icl_tasks": [section | change]}))
        with pytest.raises(ValueError, match=rf"^path: .*{told}") as caught:
            open_bundle(folder)
        assert "\n" not in str(caught.value)
    for text, told in (("icl_tasks: [", "is no YAML"), ("tasks: []", "has no list icl_tasks")):
        (folder / "core.yaml").write_text(text)
        with pytest.raises(ValueError, match=rf"^path: .*{told}"):
            open_bundle(folder)
    (folder / "core.yaml").write_text(json.dumps({"icl_tasks": [section]}))
    (folder / "eval_meta_data.csv").write_text("Eval Task,Random baseline\ncopa,much\n")
    with pytest.raises(ValueError, match=r"gives copa the random baseline 'much'"):
        open_bundle(folder)
    (folder / "eval_meta_data.csv").unlink()
    with pytest.raises(ValueError, match=r"^path: there is no .*eval_meta_data\.csv"):
        open_bundle(folder)


def test_settings_are_checked(tmp_path):
    assert CoreConfig(path=tmp_path).bundle == "folder"
    for settings, told in (
        ({}, r"^path: missing; give the folder with core\.yaml"),
        ({"bundle": "village", "path": tmp_path}, "^path: got .* the village writes its own"),
        ({"bundle": "village", "tasks": ()}, "^tasks: got none"),
        ({"bundle": "village", "size": 0}, "^size: got 0, must be at least 1"),
        ({"path": tmp_path, "max_per_task": 0}, "^max_per_task: got 0, must be at least 1"),
    ):
        with pytest.raises(ValueError, match=told):
            CoreConfig(**settings)
