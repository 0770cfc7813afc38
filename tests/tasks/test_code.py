"""Programs as answers: reference solutions pass, others do not, and nothing is run that the sandbox would not keep."""

import sys

import pytest

from nanolit.runtime import sandbox
from nanolit.tasks.code import extract, imports_of
from nanolit.tasks.humaneval import HumanEval
from nanolit.tasks.village_code import VillageCode
from nanolit.village.programs import KINDS

from ..conftest import SHARED_DATA

run_module = sys.modules["nanolit.runtime.sandbox.run"]  # by its path one gets the function of that name
needs_sandbox = pytest.mark.skipif(bool(sandbox.missing_layers()), reason=f"needs {sandbox.missing_layers()}")
FILE = SHARED_DATA / "humaneval" / "HumanEval.jsonl.gz"


def humaneval() -> HumanEval:
    if not FILE.exists():
        pytest.skip(f"needs HumanEval at {FILE}")
    return HumanEval(str(FILE))


def test_what_of_a_text_is_code():
    assert extract("Sure:\n```python\nx = 1\n```\nand\n```\ny\n```") == "x = 1"
    assert extract("```\nx = 1\n```") == "x = 1" and extract("x = 1") == "x = 1"
    assert extract("```python\nx = 1") == "x = 1", "it was cut off"
    assert imports_of("\nfrom a import b\nimport c\n\ndef f():\n    import d\n") == "from a import b\nimport c"


@needs_sandbox
def test_some_of_humaneval():
    task = humaneval()
    assert len(task) == 164
    for index in (0, 50, 163):
        example = task[index]
        content, told = example.messages[1]["content"], example.answer
        assert task.evaluate(example, content) and task.evaluate(example, f"```python\n{content}\n```")
        body = content[len(told["prompt"]) + 1 :]
        assert task.evaluate(example, body + "\n\nprint('and so on')"), "a base model only goes on"
        assert not task.evaluate(example, "    pass") and not task.evaluate(example, "")
        assert not task.evaluate(example, "import sys; sys.exit(0)")


@needs_sandbox
@pytest.mark.slow
def test_all_of_humaneval():
    task = humaneval()
    assert all(task.evaluate(example, example.messages[1]["content"]) for example in task)
    assert not any(task.evaluate(example, "    pass\n") for example in task)


@needs_sandbox
@pytest.mark.parametrize("split", ["train", "test"])
def test_programs_of_the_village(split):
    task = VillageCode(split, 25)
    for example in task:
        said = example.messages[1]["content"]
        assert task.evaluate(example, said) and task.reward(example, said) == 1.0
        assert not task.evaluate(example, said.replace("return", "return not"))
    names = {e.answer["name"] for e in VillageCode("train", 3000)}
    assert not names & {e.answer["name"] for e in VillageCode("test", 1000)}
    assert len(names) > 150 and len(KINDS) == 25


def test_without_a_sandbox_nothing_is_run_unless_it_is_said_aloud(monkeypatch):
    monkeypatch.setattr(run_module, "missing_layers", lambda: ("files",))
    with pytest.raises(ValueError, match=r"^sandbox: got 'off', allowed: auto, none"):
        VillageCode(sandbox="off")
    refusing, task = VillageCode(size=1), VillageCode(size=1, sandbox="none")
    said = task[0].messages[1]["content"]
    with pytest.raises(ValueError, match=r"^sandbox: this machine cannot keep programs from files; .*sandbox=none"):
        refusing.evaluate(refusing[0], said)
    assert task.evaluate(task[0], said)
