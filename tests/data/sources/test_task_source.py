"""Tasks as training data: what is in the shards is what rendering gives, and only the code and settings decide it."""

import numpy as np
import pytest

from nanolit.data.config import DataConfig
from nanolit.data.preparation.prepare import prepare
from nanolit.data.prepared import Prepared
from nanolit.data.sources.task_source import task_source
from nanolit.tasks.build import make_mixture, make_task
from nanolit.tokenizers.chat import render
from nanolit.tokenizers.directory import TokenizerConfig

QUIZ = {"_target_": "nanolit.tasks.village_quiz.VillageQuiz", "split": "train", "size": 40}
CHAT = {"_target_": "nanolit.tasks.village_chat.VillageChat", "split": "train", "size": 60}
MATH = {"_target_": "nanolit.tasks.village_math.VillageMath", "split": "train", "size": 30}
VAL = {"quiz": QUIZ | {"split": "test", "size": 10}}
TOKENIZER = TokenizerConfig(kind="bpe", vocab_size=300, specials="chat")


def config(**more) -> DataConfig:
    tasks = {"quiz": QUIZ, "chat": CHAT, "math": MATH | {"times": 2}}
    return DataConfig(name="mine", kind="tasks", tasks=tasks, val_tasks=VAL, **more)


def documents(prepared: Prepared, split: str) -> list[tuple[list[int], list[bool] | None]]:
    found = []
    for shard in prepared.shards(split):
        ends = [*shard.starts[1:], len(shard.tokens)]
        for start, end in zip(map(int, shard.starts), map(int, ends), strict=True):
            mask = shard.supervised_at(np.arange(start, end))
            found.append((shard.tokens[start:end].tolist(), None if mask is None else mask.tolist()))
    return found


@pytest.mark.parametrize("loss_on", ["answer", "all"])
def test_shards_hold_what_rendering_gives(tmp_path, loss_on):
    prepared = Prepared.open(prepare(config(loss_on=loss_on), TOKENIZER, tmp_path))
    mixture = make_mixture(config().tasks)
    assert len(mixture) == 40 + 60 + 2 * 30
    rendered = [render(example.messages, prepared.tokenizer) for example in mixture]
    found = documents(prepared, "train")
    assert [ids for ids, _ in found] == [row.ids.tolist() for row in rendered]
    if loss_on == "all":
        assert all(mask is None for _, mask in found)
    else:
        assert [mask for _, mask in found] == [row.supervised.tolist() for row in rendered]
        end = prepared.tokenizer.specials["<|assistant_end|>"]
        for ids, mask in found:
            assert all(learnt for token, learnt in zip(ids, mask, strict=True) if token == end)
    assert len(documents(prepared, "val")) == 10


def test_tasks_may_be_learnt_one_after_the_other(tmp_path):
    prepared = Prepared.open(prepare(config(order_of_tasks="sequence"), TOKENIZER, tmp_path))
    tasks = [make_task(name, config().tasks[name]) for name in ("quiz", "chat", "math", "math")]
    rendered = [render(example.messages, prepared.tokenizer).ids.tolist() for task in tasks for example in task]
    assert [ids for ids, _ in documents(prepared, "train")] == rendered
    assert task_source(config(order_of_tasks="sequence")).identity != task_source(config()).identity
    with pytest.raises(ValueError, match=r"^data\.order_of_tasks"):
        DataConfig(order_of_tasks="sequence")


def test_a_long_conversation_ends_with_an_answer(tmp_path):
    whole = Prepared.open(prepare(config(), TOKENIZER, tmp_path))
    cut = Prepared.open(prepare(config(max_example_tokens=70), TOKENIZER, tmp_path))
    assert cut.folder != whole.folder
    end = whole.tokenizer.specials["<|assistant_end|>"]
    n_cut = 0
    for (ids, _), (before, _) in zip(documents(cut, "train"), documents(whole, "train"), strict=True):
        assert ids == before[: len(ids)] and ids[-1] == end
        n_cut += len(ids) < len(before)
        assert len(ids) <= 70 or len(ids) == len(before), "if not even one answer fits, all stays, for packing to count"
    assert n_cut > 0


def test_what_decides_the_tokens_decides_the_folder():
    def identity(**more):
        return task_source(config(**more)).identity

    assert identity() == identity()
    changed = DataConfig(name="mine", kind="tasks", tasks={"quiz": QUIZ | {"seed": 1}}, val_tasks=VAL)
    assert task_source(changed).identity != identity()
    assert identity(loss_on="all") != identity(loss_on="answer") == identity()


def test_faults_are_one_line(tmp_path):
    with pytest.raises(ValueError, match=r"^data\.tasks: not given"):
        DataConfig(kind="tasks")
    with pytest.raises(ValueError, match=r"^data\.val_tasks: not given"):
        task_source(DataConfig(kind="tasks", tasks={"quiz": QUIZ}))
    wrong = {"quiz": QUIZ | {"siez": 3}}
    with pytest.raises(ValueError, match=r"^task\.quiz\.siez: no such setting; did you mean size\?"):
        task_source(DataConfig(kind="tasks", tasks=wrong, val_tasks=VAL))
    nowhere = {"quiz": {"_target_": "nowhere.Nothing"}}
    with pytest.raises(ValueError, match=r"^task\.quiz\._target_: nowhere\.Nothing cannot be imported"):
        task_source(DataConfig(kind="tasks", tasks=nowhere, val_tasks=VAL))
    no_task = {"quiz": {"_target_": "pathlib.Path"}}
    with pytest.raises(ValueError, match=r"^task\.quiz\._target_: pathlib\.Path is no Task"):
        task_source(DataConfig(kind="tasks", tasks=no_task, val_tasks=VAL))
