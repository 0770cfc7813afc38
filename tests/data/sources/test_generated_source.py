import json

import pytest

from nanolit.data.config import DataConfig
from nanolit.data.sources.open import open_source
from nanolit.tokenizers.byte import ByteTokenizer
from nanolit.village import documents as village_documents


@pytest.mark.parametrize("job_bytes", [None, 1, 2000, 10**6])
def test_the_village_is_its_stream_however_it_is_cut(tmp_path, job_bytes):
    source = open_source(DataConfig(documents=9, val_documents=2, seed=3), tmp_path)
    plan = source.plan(job_bytes)
    items = [item for job in plan.jobs for item in plan.items(job)]
    for split, n in (("train", 9), ("val", 2)):
        texts = list(village_documents(3, split, 0, n))
        assert [item.content for item in items if item.split == split] == texts == list(plan.texts(split))
    assert all(item.begins and item.ends for item in items) and len({item.key for item in items}) == 11
    assert [job.number for job in plan.jobs] == list(range(len(plan.jobs)))
    json.dumps(source.identity)


@pytest.mark.parametrize(
    ("data", "learnt"),
    [
        (DataConfig(kind="grokking", operation="x+y", modulus=7), "answer"),
        (DataConfig(kind="arithmetic", max_digits=2, append_eot=False, loss_on="answer"), "answer"),
        (DataConfig(kind="arithmetic", max_digits=2, append_eot=False), "all"),
    ],
)
def test_puzzles_are_questions_and_answers(tmp_path, data, learnt):
    plan = open_source(data, tmp_path).plan()
    items = [item for job in plan.jobs for item in plan.items(job)]
    contents = {split: [item.content for item in items if item.split == split] for split in ("train", "val")}
    assert not set(contents["train"]) & set(contents["val"])
    for example in contents["train"][:50]:
        (encoded,) = plan.encode(ByteTokenizer(), [example])
        assert bytes(encoded.ids.tolist()).decode() == example.question + example.answer
        n_question = len(example.question)
        if learnt == "all":
            assert encoded.supervised is None
        else:
            assert encoded.supervised.tolist() == [False] * n_question + [True] * len(example.answer)
