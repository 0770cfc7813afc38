"""`nanolit eval tasks=…` as a user meets it: scores, the file that keeps what they depend on, tasks of one's own, and
one line for whatever cannot be.
"""

import hashlib
import json
import math
from pathlib import Path

import pytest
import torch

from nanolit.cli.eval import HELP, TaskEvalConfig, as_hydra_reads
from nanolit.cli.main import main
from nanolit.evals.chat_core import CHAT_CORE, VILLAGE, means
from nanolit.evals.score import Score
from nanolit.inference.load import load
from nanolit.tasks.build import make_task
from nanolit.tokenizers.chat import render_prompt

OWN_TASK = """
import random

from nanolit.tasks.task import Example, Task, question_and_answer, render_choices


class Recital(Task):
    kind, max_new_tokens = "generative", 40

    def __init__(self, split: str = "test", wrong: int = 0) -> None:
        self.split, self.wrong = split, wrong

    def __len__(self) -> int:
        return 8

    def example(self, index: int) -> Example:
        question = ("Hello", "Who are you?", "And then?")[index % 3]
        said = ("Hello! How can I help you?", "I am a small model, and I know only a few things.", "Then she sleeps.")
        question = question if self.split == "test" else f"{question} {index}"
        return Example(question_and_answer(question, "?" if index < self.wrong else said[index % 3]))

    def evaluate(self, example: Example, said: str) -> bool:
        return said == example.messages[-1]["content"]


class Talk(Recital):
    kind = "chat"


class Words(Recital):
    kind = "categorical"

    def example(self, index: int) -> Example:
        return Example(question_and_answer("Which?", "yesterday"), ("yesterday", "tomorrow"), "yesterday")
"""


@pytest.fixture(scope="module")
def own_tasks(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("own")
    (root / "task").mkdir()
    (root / "recital_of_mine.py").write_text(OWN_TASK)
    for name in ("Recital", "Talk", "Words"):
        (root / "task" / f"{name.lower()}.yaml").write_text(f"_target_: recital_of_mine.{name}\nsplit: test\n")
    (root / "task" / "no_split.yaml").write_text("_target_: recital_of_mine.Recital\n")
    return root


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch, own_tasks):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DATA_ROOT", str(tmp_path / "data"))
    monkeypatch.syspath_prepend(str(own_tasks))


@pytest.fixture
def evaluate(capfd, own_tasks):
    def run(*arguments: object) -> tuple[dict, str]:
        code = main(["eval", *map(str, arguments), "--config-dir", str(own_tasks)])
        told = capfd.readouterr()
        assert code == 0, told.err
        out = next((str(a).partition("=")[2] for a in arguments if str(a).startswith("out=")), "eval.json")
        return json.loads(Path(out).read_text()), told.out

    return run


def scores(found: dict) -> dict[tuple[str, str], float]:
    return {(score["task"], score["metric"]): score["value"] for score in found["scores"]}


# Results


def test_a_task_of_ones_own_and_one_of_the_house(evaluate, chat_model):
    found, printed = evaluate(f"model={chat_model}", "tasks=[recital,village_quiz]", "task.village_quiz.stop=40")
    values = scores(found)
    assert values["recital", "accuracy"] == 1.0
    network, tokenizer = load(chat_model, "cpu")
    quiz = make_task("village_quiz", found["tasks"]["village_quiz"]["settings"])
    n_right = 0
    for example in quiz:
        ids = render_prompt(example.messages, tokenizer, drop_answer=True)[-network.config.block_size :]
        with torch.no_grad():
            logits = network.forward(torch.tensor([ids]))[0, -1]
        letters = [tokenizer.encode(letter)[0] for letter in example.letters]
        n_right += example.letters[logits[letters].argmax()] == example.answer
    assert values["village_quiz", "accuracy"] == n_right / 40
    assert (
        "recital                         accuracy              1.0000  0.0000   1.0000      8      0  chat" in printed
    )


def test_the_file_says_all_that_the_scores_depend_on(evaluate, chat_model, tmp_path):
    out, items = tmp_path / "deep" / "scores.json", tmp_path / "items.jsonl"
    out.parent.mkdir()
    found, _ = evaluate(
        f"model={chat_model}", "tasks=recital", "task.recital.wrong=2", f"out={out}", f"out_items={items}"
    )
    weights = chat_model / "model.safetensors"
    assert found["model"]["files"]["model.safetensors"]["sha256"] == hashlib.sha256(weights.read_bytes()).hexdigest()
    score = found["scores"][0]
    assert (score["value"], score["n"], score["shots"], score["by_chance"]) == (0.75, 8, 0, 0.0)
    assert score["standard_error"] == pytest.approx(math.sqrt(0.75 * 0.25 / 7))
    assert (
        score["template"].startswith("chat")
        and score["extractor"] == "whole answer"
        and len(score["prompt_hash"]) == 16
    )
    assert found["tasks"]["recital"]["settings"]["wrong"] == 2
    assert {"tasks": ["recital"], "temperature": 0.0, "seed": 1337, "batch_size": 8}.items() <= found[
        "settings"
    ].items()
    assert found["versions"]["torch"] == torch.__version__
    told = [json.loads(line) for line in items.read_text().splitlines()]
    assert [item["verdicts"][0]["accuracy"] for item in told] == [False, False] + [True] * 6
    assert told[2]["answers"] == ["Then she sleeps."] and told[2]["messages"][0]["content"] == "And then?"


def test_no_score_depends_on_the_batch_size(evaluate, chat_model):
    told = []
    for batch_size in (1, 32):
        setting = [
            f"batch_size={batch_size}",
            "n_samples=2",
            "temperature=1",
            "max_new_tokens=8",
            "out_items=items.jsonl",
        ]
        found, _ = evaluate(
            f"model={chat_model}", "tasks=[village_quiz,recital]", "task.village_quiz.stop=30", *setting
        )
        items = [json.loads(line) for line in Path("items.jsonl").read_text().splitlines()]
        told.append([(item["task"], item["index"], item["answers"], item["verdicts"]) for item in items])
        assert ("recital", "pass@1") in scores(found) and ("recital", "pass@2") in scores(found)
    assert told[0] == told[1] and len(told[0]) == 38


def test_shots_come_from_the_train_split(evaluate, chat_model):
    found, printed = evaluate(
        f"model={chat_model}", "tasks=[recital]", "shots=2", "max_new_tokens=5", "task.recital.stop=4"
    )
    assert found["scores"][0]["shots"] == 2 and found["scores"][0]["n"] == 4
    assert "shots as earlier turns" in found["scores"][0]["template"]
    assert "4 answers had not ended" in printed and found["tasks"]["recital"]["cut_off"] == 4


def test_a_model_of_hugging_face_completes(evaluate, tmp_path):
    """A folder that only transformers computes, without chat tokens."""
    transformers = pytest.importorskip("transformers")
    from nanolit.tokenizers.byte import ByteTokenizer

    torch.manual_seed(0)
    size = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = transformers.GPTNeoXConfig(vocab_size=257, max_position_embeddings=512, **size)
    transformers.GPTNeoXForCausalLM(config).save_pretrained(tmp_path / "neox")
    ByteTokenizer().save(tmp_path / "neox")
    small = ["task.village_quiz.stop=5", "task.recital.stop=2", "max_new_tokens=4"]
    for source in (tmp_path / "neox", f"hf:{tmp_path / 'neox'}"):
        found, _ = evaluate(f"model={source}", "tasks=[village_quiz,recital]", "shots=1", *small)
        assert all(s["template"].startswith("completion") for s in found["scores"]) and len(found["scores"]) == 2


def test_core_stands_beside_tasks(evaluate, chat_model, root):
    bundle = root.parent / "shared" / "data" / "core"
    if not bundle.exists():
        pytest.skip(f"needs a part of CORE's bundle at {bundle}")
    some = ["task.core.tasks=[copa,winograd]", f"task.core.path={bundle}", "task.core.max_per_task=6"]
    found, printed = evaluate(f"model={chat_model}", "tasks=[core,recital]", *some, "out_items=items.jsonl")
    values = scores(found)
    assert set(values) == {("core/copa", "accuracy"), ("core/winograd", "accuracy"), ("recital", "accuracy")}
    centred = [2 * (values[f"core/{label}", "accuracy"] - 0.5) for label in ("copa", "winograd")]
    assert [mean["name"] for mean in found["means"]] == ["CORE of 2 of 22 tasks"]
    assert found["means"][0]["value"] == found["tasks"]["core"]["mean"] == pytest.approx(sum(centred) / 2)
    items = [json.loads(line)["task"] for line in Path("items.jsonl").read_text().splitlines()]
    assert items == ["core/copa"] * 6 + ["core/winograd"] * 6 + ["recital"] * 8
    assert "CORE of 2 of 22 tasks" in printed and "copa.jsonl" in found["tasks"]["core"]["files"]


def test_the_village_has_a_core_of_its_own(evaluate, base_model):
    found, printed = evaluate(f"model={base_model}", "tasks=village_core", "task.village_core.size=12")
    of_tasks = [score for score in found["scores"] if score["task"].startswith("village_core/")]
    assert len(of_tasks) > 3 and all(score["n"] <= 12 for score in of_tasks)
    assert found["means"][0]["value"] == pytest.approx(sum(score["centred"] for score in of_tasks) / len(of_tasks))
    assert found["means"][0]["name"] in printed and "CORE" not in found["means"][0]["name"]
    assert "core.yaml" in found["tasks"]["village_core"]["files"]


def test_one_item_has_no_standard_error(evaluate, chat_model):
    found, printed = evaluate(f"model={chat_model}", "tasks=recital", "task.recital.stop=1")
    assert found["scores"][0]["standard_error"] is None and "nan" in printed


def test_a_narrow_dtype_is_used(evaluate, chat_model):
    found, _ = evaluate(f"model={chat_model}", "tasks=recital", "dtype=bfloat16")
    assert found["settings"]["dtype"] == "bfloat16" and found["scores"][0]["value"] > 0.5


def test_one_task_under_two_names(evaluate, chat_model):
    twice = ["tasks=[recital,wrong]", "+task@task.wrong=recital", "task.wrong.wrong=8"]
    found, _ = evaluate(f"model={chat_model}", *twice)
    assert scores(found) == {("recital", "accuracy"): 1.0, ("wrong", "accuracy"): 0.0}


def test_long_work_says_how_far_it_is(chat_model, own_tasks, capfd, monkeypatch):
    monkeypatch.setattr("nanolit.cli.task_evaluation.REPORT_EVERY_S", 0.0)
    assert main(["eval", f"model={chat_model}", "tasks=recital", "--config-dir", str(own_tasks)]) == 0
    told = capfd.readouterr().err.splitlines()
    assert any(line.startswith("recital: 8 of 8, 0 s left") for line in told)


# Means


def score_of(name: str, value: float, **more) -> Score:
    by_chance = 0.25 if name in CHAT_CORE[:3] or name == "village_quiz" else 0.0
    about = {"shots": 0, "template": "chat, …", "extractor": "", "prompt_hash": ""} | more
    return Score(name, "accuracy", value, 10, 0.1, by_chance, **about)


def test_chat_core_is_the_mean_of_nanochats_six():
    values = dict(zip(CHAT_CORE, (0.5, 0.4, 0.25, 0.1, 0.2, 0.9), strict=True))
    found = means({name: score_of(name, value) for name, value in values.items()})
    centred = [(0.5 - 0.25) / 0.75, (0.4 - 0.25) / 0.75, 0.0, 0.1, 0.2, 0.9]
    assert [mean.name for mean in found] == ["ChatCORE"]
    assert found[0].value == pytest.approx(sum(centred) / 6) and found[0].told == "of its six tasks, whole"
    found = means({name: score_of(name, value) for name, value in values.items()}, sliced=["mmlu", "other"])
    assert found[0].told == "of slices of mmlu"


def test_chat_core_is_not_told_of_less():
    some = {name: score_of(name, 0.5) for name in CHAT_CORE[:4]}
    assert [(m.value, m.told) for m in means(some)] == [(None, "needs also humaneval, spelling_bee")]
    shot = {name: score_of(name, 0.5, shots=5 if name == "gsm8k" else 0) for name in CHAT_CORE}
    assert means(shot)[0].value is None and "not so gsm8k" in means(shot)[0].told
    completed = {name: score_of(name, 0.5, template="completion: …") for name in CHAT_CORE}
    assert means(completed)[0].value is None


def test_the_village_has_a_mean_of_another_name():
    found = means({name: score_of(name, 0.5) for name in VILLAGE[:2]})
    assert [(m.name, m.told) for m in found] == [("village mean", "of village_quiz, village_math")]
    assert found[0].value == pytest.approx((0.25 / 0.75 + 0.5) / 2)
    assert means({"village_quiz": score_of("village_quiz", 0.5)}) == []


# The command line


def test_each_task_becomes_a_section():
    assert as_hydra_reads(["model=x", "tasks=[a,b]", "task.a.stop=3"]) == [
        *("model.source=x", "tasks=[a,b]", "+task@task.a=a", "+task@task.b=b", "task.a.stop=3")
    ]
    assert as_hydra_reads(["tasks=a"]) == ["tasks=[a]", "+task@task.a=a"]
    assert as_hydra_reads(["tasks=[a,b]", "+task@task.b=a"]) == ["tasks=[a,b]", "+task@task.a=a", "+task@task.b=a"]
    assert as_hydra_reads(["lm_eval=x", "tasks=null"]) == ["lm_eval=[x]", "tasks=null"]


def test_help_tells_every_setting():
    assert all(f"{name}=" in HELP for name in TaskEvalConfig.__dataclass_fields__)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["tasks=[vilage_quiz]"], ["task=vilage_quiz: no such choice", "did you mean village_quiz?"]),
        (["tasks=[talk]"], ["task.talk: is only learnt from, its answers have no score"]),
        (["tasks=[words]"], ["letters: yesterday, tomorrow are not single tokens of this tokenizer"]),
        (
            ["tasks=[recital]", "task.recital.start=8"],
            ["task.recital.start: got 8:None:1 of 8 examples, which are none"],
        ),
        (["tasks=[recital]", "task.recital.stop=0"], ["task.recital.start: got 0:0:1, allowed: 0 <= start < stop"]),
        (["tasks=[recital]", "task.recital.splt=x"], ["task.recital.splt: no such setting; did you mean split?"]),
        (["tasks=[recital]", "task.recitl.stop=1"], ["task.recitl: is not among tasks=; did you mean task.recital?"]),
        (["tasks=[recital,recital]"], ["tasks: got recital twice"]),
        (["tasks=[recital]", "data=village"], ["data: is not read where tasks= are asked; leave it out"]),
        (["tasks=[recital]", "data.documents=3"], ["data.documents: is not read where tasks= are asked"]),
        (["tasks=[recital]", "split=train"], ["split: is not read where tasks= are asked"]),
        (["tasks=[recital]", "block_size=3"], ["block_size: is not read where tasks= are asked"]),
        (
            ["tasks=[recital]", "n_samples=4"],
            ["n_samples: got 4, at temperature=0 all are the same; give temperature=1"],
        ),
        (["tasks=[recital]", "pass_at=[4]"], ["pass_at: got 4, allowed: 1 to n_samples=1"]),
        (["tasks=[recital]", "temperature=-1"], ["temperature: got -1"]),
        (["tasks=[recital]", "max_new_tokens=0"], ["max_new_tokens: got 0, must be at least 1"]),
        (["tasks=[recital]", "top_k=0"], ["top_k: got 0"]),
        (["tasks=[recital]", "shots=9"], ["shots: got 9, the train split of task.recital has 8 examples"]),
        (["tasks=[no_split]", "shots=1"], ["shots: task.no_split has no setting split"]),
        (["tasks=[recital]", "template=chatty"], ["template: got 'chatty'", "auto, chat, completion"]),
        (["tasks=[core]"], ["task.core.path: missing; give the folder with core.yaml"]),
        (["tasks=[core]", "task.core.path=nowhere"], ["task.core.path: there is no nowhere/core.yaml"]),
        (["tasks=[core]", "task.core.max_per_task=0"], ["task.core."]),
        (["tasks=[core]", "task.core.pth=x"], ["task.core.pth: no such setting; did you mean path?"]),
        (["tasks=[recital]", "out=."], ["out: . is a folder"]),
        (["tasks=[recital]", "out_items=."], ["out_items: . is a folder"]),
        (["tasks=[recital]", "lm_eval_limit=3"], ["lm_eval: names no task"]),
        (["tasks=[recital]", "model.n_layer=3"], ["model.n_layer"]),
        (["shots=3"], ["shots: is a setting of tasks, and none are named; give tasks=[NAME"]),
        (["out_items=x"], ["out_items: is a setting of tasks"]),
        (["tasks=recital,talk"], ["task.talk: is only learnt from"]),
    ],
    ids=lambda value: " ".join(value)[:40] if isinstance(value, list) else None,
)
def test_what_cannot_be_is_one_line(capfd, chat_model, own_tasks, arguments, told):
    code = main(["eval", f"model={chat_model}", *arguments, "--config-dir", str(own_tasks)])
    captured = capfd.readouterr()
    lines = [line for line in captured.err.splitlines() if line.startswith("error:")]
    assert code == 2, captured.err + captured.out
    assert len(lines) == 1 and "Traceback" not in captured.err, captured.err
    assert all(part in lines[0] for part in told), lines[0]
    assert not Path("eval.json").exists()


@pytest.mark.parametrize(
    ("task", "line", "told"),
    [
        ("gsm8k", '{"question": "?", ', "rows.jsonl:2: is no JSON"),
        ("gsm8k", '{"question": "?", "answer": 6}', "row 2: its answer is a number, allowed: a string"),
        ("arc_easy", '{"question": "?", "choices": {"text": ["a", "b"], "label": [1, 2]}}', "its label hold a number"),
        ("humaneval", '{"prompt": "", "entry_point": "f", "test": []}', "row 2: its test is an array, allowed: a str"),
    ],
)
def test_a_corrupt_task_file_is_one_line(capfd, chat_model, task, line, told):
    good = {
        "gsm8k": {"question": "?", "answer": "#### 6"},
        "arc_easy": {"question": "?", "choices": {"text": ["a", "b"], "label": ["A", "B"]}, "answerKey": "A"},
        "humaneval": {"prompt": "", "entry_point": "f", "test": "", "canonical_solution": ""},
    }[task]
    Path("rows.jsonl").write_text(f"{json.dumps(good)}\n{line}\n")
    assert main(["eval", f"model={chat_model}", f"tasks=[{task}]", f"task.{task}.path=rows.jsonl"]) == 2
    error = capfd.readouterr().err
    lines = [line for line in error.splitlines() if line.startswith("error:")]
    assert len(lines) == 1 and told in lines[0] and "Traceback" not in error, error


def test_a_model_without_chat_tokens_cannot_chat(capfd, base_model, own_tasks):
    code = main(["eval", f"model={base_model}", "tasks=recital", "template=chat", "--config-dir", str(own_tasks)])
    assert code == 2
    assert "template: got chat, but the model's tokenizer has no chat tokens" in capfd.readouterr().err


def test_no_model(capfd):
    assert main(["eval", "tasks=village_quiz"]) == 2
    assert "model: missing" in capfd.readouterr().err
