"""How arguments are read: texts as they stand, numbers as Python reads them, and one line for what is neither."""

import io

import pytest

from nanolit.cli import generate
from nanolit.cli.generate import GenerateConfig, prompts


def read(*arguments: str) -> GenerateConfig:
    return generate.read(["model=runs/mine", *arguments])


@pytest.mark.parametrize(
    "text",
    ["User:", "#", "# x", "yes", "null", "3", "1e-3", "[", "[a", "a]", "*", "&", "\n", "\n\n", " ", "a: b", "=", "{"],
)
def test_any_text_can_be_a_stop_string_or_a_prompt(text):
    assert read(f"stop={text}").stop == (text,)
    assert read(f"prompt={text}").prompt == text


@pytest.mark.parametrize(
    ("text", "strings"),
    [
        ("[User:]", ("[User:]",)),  # a mapping in a list, so no list of strings
        ("[a, b]", ("a", "b")),
        ("[yes, 3, null]", ("yes", "3", "null")),
        (r'["\n", "User:"]', ("\n", "User:")),
        ("[[a]]", ("[[a]]",)),
        ("[]", ()),
    ],
)
def test_a_list_of_strings_is_several(text, strings):
    assert read(f"stop={text}").stop == strings


def test_numbers_and_null():
    config = read("temperature=1e-3", "top_k=null", "top_p=.5", "repetition_penalty=2", "seed=-1", "max_new_tokens=7")
    assert (config.temperature, config.top_k, config.top_p) == (0.001, None, 0.5)
    assert (config.repetition_penalty, config.seed, config.max_new_tokens) == (2.0, -1, 7)


@pytest.mark.parametrize(
    ("argument", "told"),
    [
        ("temperature=hot", "temperature: got 'hot' (str), expected float"),
        ("temperature=null", "temperature: got 'null' (str), expected float"),
        ("temperature=nan", "temperature: got nan, must be a number from 0"),
        ("temperature=", "temperature: got '' (str), expected float"),
        ("top_k=1.5", "top_k: got '1.5' (str), expected int or null"),
        ("top_k=0", "top_k: got 0, must be at least 1"),
        ("seed=[1", "seed: got '[1' (str), expected int or null"),
        ("n_samples=0", "n_samples: got 0, must be at least 1"),
        ("stop=", "stop: got an empty string"),
        ("temprature=1", "temprature: no such setting; did you mean temperature?"),
        ("loud", "loud: write each argument as key=value"),
    ],
)
def test_a_bad_value_is_one_line_with_its_name(argument, told):
    with pytest.raises(ValueError) as error:
        read(argument)
    assert str(error.value).startswith(told) and "\n" not in str(error.value)


def test_a_prompt_file_that_is_not_text(tmp_path):
    (tmp_path / "prompt.txt").write_bytes(b"\xff\xff")
    with pytest.raises(ValueError, match=r"^prompt_file: .*prompt\.txt is not UTF-8 text"):
        next(prompts(read(f"prompt_file={tmp_path / 'prompt.txt'}")))


def test_what_asks_for_a_prompt_is_not_output(capsys, monkeypatch):
    terminal = io.StringIO("Once\n")
    monkeypatch.setattr(terminal, "isatty", lambda: True)
    monkeypatch.setattr("sys.stdin", terminal)
    assert list(prompts(read())) == ["Once"]
    told = capsys.readouterr()
    assert told.out == "" and "> " in told.err
