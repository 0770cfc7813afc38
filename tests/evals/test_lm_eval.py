"""Our models in lm-eval: what its own HFLM says of the same folder, on tasks of local files."""

import json
import math
from pathlib import Path

import pytest
import torch

lm_eval = pytest.importorskip("lm_eval", reason="needs lm-eval: pip install nanolit[eval]")
transformers = pytest.importorskip("transformers")
for name in ("accelerate", "peft"):
    pytest.importorskip(name, reason=f"lm-eval's own model, which ours is compared with, needs {name}")

from lm_eval.api.instance import Instance  # noqa: E402
from lm_eval.models.huggingface import HFLM  # noqa: E402

from nanolit.cli.main import main  # noqa: E402
from nanolit.evals.lm_eval_model import LanguageModel, run_tasks, scores_of  # noqa: E402
from nanolit.inference.load import load  # noqa: E402
from nanolit.tokenizers.chat import render_prompt  # noqa: E402

CHOICES = """
task: choose
dataset_path: json
dataset_kwargs: {{data_files: {{test: "{file}"}}}}
test_split: test
output_type: multiple_choice
doc_to_text: "Question: {{{{question}}}}\\nAnswer:"
doc_to_choice: "{{{{choices}}}}"
doc_to_target: "{{{{right}}}}"
metric_list: [{{metric: acc}}, {{metric: acc_norm}}]
"""
WRITTEN = """
task: write
dataset_path: json
dataset_kwargs: {{data_files: {{test: "{file}"}}}}
test_split: test
output_type: generate_until
doc_to_text: "{{{{question}}}}"
doc_to_target: "{{{{answer}}}}"
generation_kwargs: {{until: ["ing"], max_gen_toks: 40, do_sample: false}}
metric_list: [{{metric: exact_match}}]
"""
READ = """
task: read
dataset_path: json
dataset_kwargs: {{data_files: {{test: "{file}"}}}}
test_split: test
output_type: loglikelihood_rolling
doc_to_text: ""
doc_to_target: "{{{{text}}}}"
metric_list: [{{metric: word_perplexity}}, {{metric: bits_per_byte}}]
"""


@pytest.fixture(scope="module")
def tasks(tmp_path_factory, chats) -> Path:
    root = tmp_path_factory.mktemp("lm_eval")
    rows = [
        {
            "question": question,
            "choices": ["a miller", "Then she sleeps.", "forty-two, and more", "é"][: 2 + i % 3],
            "right": i % 2,
            "answer": answer if isinstance(answer, str) else "",
            "text": f"{question} " * (1 + 5 * i) + str(answer),
        }
        for i, (question, answer) in enumerate(chats)
    ]
    (root / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    for name, text in (("choose", CHOICES), ("write", WRITTEN), ("read", READ)):
        (root / f"{name}.yaml").write_text(text.format(file=root / "rows.jsonl"))
    return root


@pytest.fixture(scope="module", params=["chats", "bytes"])
def both(request, chat_model, tmp_path_factory):
    """A folder as we and as lm-eval with transformers open it."""
    folder = chat_model
    if request.param == "bytes":
        from nanolit.tokenizers.byte import ByteTokenizer

        folder = tmp_path_factory.mktemp("bytes")
        torch.manual_seed(0)
        size = {"n_positions": 96, "n_embd": 16, "n_layer": 2, "n_head": 2, "initializer_range": 0.3}
        transformers.GPT2LMHeadModel(transformers.GPT2Config(vocab_size=257, **size)).save_pretrained(folder)
        ByteTokenizer().save(folder)
    model = transformers.AutoModelForCausalLM.from_pretrained(folder)
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    theirs = HFLM(pretrained=model, tokenizer=tokenizer, batch_size=1, max_length=model.config.max_position_embeddings)
    return LanguageModel(*load(folder, "cpu"), batch_size=3), theirs


def scored(found: dict, task: str) -> list[list]:
    return [sample["filtered_resps"] for sample in sorted(found["samples"][task], key=lambda s: s["doc_id"])]


def test_scores_are_those_of_lm_evals_own_model(both, tasks):
    ours, theirs = (run_tasks(model, ["choose", "read"], tasks, None, False, None) for model in both)
    assert len(scores_of(ours)) == 4
    for mine, other in zip(scores_of(ours), scores_of(theirs), strict=True):
        assert mine == other | {
            "value": pytest.approx(other["value"], rel=1e-4),
            "standard_error": mine["standard_error"],
        }
    for mine, other in zip(scored(ours, "choose"), scored(theirs, "choose"), strict=True):
        assert [value for value, _ in mine] == pytest.approx([value for value, _ in other], abs=1e-4)
        assert [greedy for _, greedy in mine] == [greedy for _, greedy in other]
    for mine, other in zip(scored(ours, "read"), scored(theirs, "read"), strict=True):
        assert mine == pytest.approx(other, abs=1e-3, rel=1e-5)


def test_answers_are_those_of_lm_evals_own_model(both, tasks):
    ours, theirs = (run_tasks(model, ["write"], tasks, None, False, None) for model in both)
    assert scored(ours, "write") == scored(theirs, "write")


def test_shots_are_lm_evals(both, tasks):
    ours, theirs = (run_tasks(model, ["choose"], tasks, 3, False, 1) for model in both)
    assert scores_of(ours)[0]["shots"] == 1 and scores_of(ours)[0]["n"] == 3
    for mine, other in zip(scored(ours, "choose"), scored(theirs, "choose"), strict=True):
        assert [value for value, _ in mine] == pytest.approx([value for value, _ in other], abs=1e-4)


def test_the_batch_size_changes_nothing(chat_model):
    network, tokenizer = load(chat_model, "cpu")
    pairs = [(f"Hello{'o' * (i % 7)}", f" how{'w' * (i % 5)}") for i in range(20)]
    requests = [Instance("loglikelihood", {}, pair, i) for i, pair in enumerate(pairs)]
    one, many = (LanguageModel(network, tokenizer, batch_size=n).loglikelihood(requests) for n in (1, 32))
    assert [value for value, _ in one] == pytest.approx([value for value, _ in many], abs=1e-5)
    for (context, rest), (value, _) in zip(pairs, one, strict=True):
        ids, n = tokenizer.encode(context + rest), len(tokenizer.encode(context))
        before = [] if tokenizer.bos_id is None else [tokenizer.bos_id]
        with torch.no_grad():
            logits = network.forward(torch.tensor([before + ids]))[0].log_softmax(-1)
        at = range(len(before) + n, len(before) + len(ids))
        assert value == pytest.approx(sum(float(logits[i - 1, ids[i - len(before)]]) for i in at), abs=1e-4)


def test_a_chat_is_rendered_as_everywhere(chat_model, chats, tasks):
    network, tokenizer = load(chat_model, "cpu")
    model = LanguageModel(network, tokenizer)
    conversation = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": chats[0][0]}]
    text = model.apply_chat_template(conversation)
    assert model.tok_encode(text) == render_prompt(conversation, tokenizer)
    theirs = transformers.AutoTokenizer.from_pretrained(chat_model)
    assert text == theirs.apply_chat_template(conversation, tokenize=False, add_generation_prompt=True)
    begun = [*conversation, {"role": "assistant", "content": "Hello"}]
    assert model.tok_encode(model.apply_chat_template(begun, False)) == [
        *model.tok_encode(text),
        *tokenizer.encode("Hello"),
    ]
    assert model.tok_encode("say <|user_end|>", False) == tokenizer.encode("say <|user_end|>"), "elsewhere it is text"
    found = run_tasks(model, ["write"], tasks, None, True, None)
    said = [sample["filtered_resps"][0] for sample in sorted(found["samples"]["write"], key=lambda s: s["doc_id"])]
    assert said[0] == chats[0][1] and said[7] == chats[7][1]


def test_an_empty_context_is_the_beginning_of_a_text(both):
    requests = [Instance("loglikelihood", {}, ("", "Hello, you"), 0)]
    ours, theirs = (model.loglikelihood(requests)[0] for model in both)
    assert ours[0] == pytest.approx(theirs[0], abs=1e-4)


# The command


def test_scores_of_both_kinds_in_one_file(chat_model, tasks, tmp_path, capfd):
    out, items = tmp_path / "eval.json", tmp_path / "items.jsonl"
    ours = ["tasks=village_quiz", "task.village_quiz.stop=5"]
    theirs = ["lm_eval=[choose,write]", f"lm_eval_path={tasks}", "lm_eval_limit=4"]
    assert main(["eval", f"model={chat_model}", *ours, *theirs, f"out={out}", f"out_items={items}"]) == 0
    found = json.loads(out.read_text())
    assert [score["task"] for score in found["scores"]] == ["village_quiz"]
    values = {(score["task"], score["metric"]): score for score in found["lm_eval"]}
    direct = run_tasks(LanguageModel(*load(chat_model, "cpu")), ["choose"], tasks, 4, True, None)
    for score in scores_of(direct):
        assert values[score["task"], score["metric"]]["value"] == pytest.approx(score["value"])
    assert values["choose", "acc"]["n"] == 4 and found["versions"]["lm_eval"] == lm_eval.__version__
    printed = capfd.readouterr().out
    assert "lm-eval" in printed and "exact_match" in printed
    told = [json.loads(line)["task"] for line in items.read_text().splitlines()]
    assert told == ["village_quiz"] * 5 + ["lm_eval/choose"] * 4 + ["lm_eval/write"] * 4


def test_only_lm_eval(base_model, tasks, tmp_path):
    out = tmp_path / "eval.json"
    assert main(["eval", f"model={base_model}", "lm_eval=read", f"lm_eval_path={tasks}", f"out={out}"]) == 0
    found = json.loads(out.read_text())
    assert found["scores"] == [] and all(math.isfinite(score["value"]) for score in found["lm_eval"])


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["lm_eval=[chose]"], "lm_eval: got chose; did you mean choose?"),
        (["lm_eval=[choose]", "lm_eval_path=nowhere"], "lm_eval_path: nowhere is no folder"),
        (["lm_eval=[choose]", "lm_eval_limit=0"], "lm_eval_limit: got 0, must be at least 1"),
        (["lm_eval=[choose]", "template=chat"], "template: got chat, but this tokenizer has no chat tokens"),
    ],
    ids=lambda value: value[-1] if isinstance(value, list) else "",
)
def test_what_cannot_be_is_one_line(base_model, tasks, capfd, arguments, told, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    place = [] if any("lm_eval_path" in argument for argument in arguments) else [f"lm_eval_path={tasks}"]
    assert main(["eval", f"model={base_model}", *arguments, *place]) == 2
    lines = [line for line in capfd.readouterr().err.splitlines() if line.startswith("error:")]
    assert len(lines) == 1 and told in lines[0], lines


def test_a_wish_that_is_not_known_is_refused(chat_model):
    model = LanguageModel(*load(chat_model, "cpu"))
    with pytest.raises(ValueError, match="lm_eval: a task wants num_beams=4"):
        model.generate_until([Instance("generate_until", {}, ("Hello", {"until": ["x"], "num_beams": 4}), 0)])
