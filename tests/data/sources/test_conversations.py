"""Rows of every format become the same example, and every fault is one line that says where."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nanolit.data.sources.conversations import Example, key, n_bytes, parse, texts
from nanolit.tokenizers.byte import ByteTokenizer
from nanolit.tokenizers.chat import render_example
from nanolit.tokenizers.messages import as_pair

U, A = {"role": "user", "content": "Q"}, {"role": "assistant", "content": "A"}
WHERE = "chat.jsonl:7"


def test_every_format_gives_the_same_example():
    rows = [
        {"prompt": "Q", "completion": "A"},
        {"prompt": "Q", "response": "A"},
        {"messages": [U, A]},
        {"messages": [U, {"role": "assistant", "content": [{"type": "text", "text": "A"}], "tool_calls": None}]},
        {"id": 3, "source": "x", "messages": [U, A], "conversations": None},
        [U, A],
        {"instruction": "Q", "input": "", "output": "A", "text": "Below is …"},
        {"instruction": "Q", "output": "A"},
        {"instruction": "Q", "context": "", "response": "A", "category": "open_qa"},
        {"conversations": [{"from": "human", "value": "Q"}, {"from": "gpt", "value": "A"}], "id": "a_0"},
        {"conversations": [{"from": "user", "value": "Q"}, {"from": "assistant", "value": "A"}]},
        {"conversations": [U, A]},
    ]
    examples = [parse(row, WHERE) for row in rows]
    assert set(map(json.dumps, (example.messages for example in examples))) == {json.dumps([U, A])}
    assert len({key(example) for example in examples}) == 1
    assert all(as_pair(example.messages) for example in examples)


def test_what_stands_beside_the_question_stands_below_it():
    row = {"instruction": "Translate.", "input": "Brot", "output": "bread"}
    assert parse(row, WHERE).messages[0]["content"] == "Translate.\n\nBrot"


def test_a_conversation_with_all_there_is():
    parts = [
        {"type": "text", "text": "I cal"},
        {"type": "text", "text": "culate: "},
        {"type": "python", "text": "6*7"},
        {"type": "python_output", "text": ""},
        {"type": "text", "text": ""},
        {"type": "python", "text": "6*7.0"},
        {"type": "python_output", "text": "42.0"},
    ]
    row = [{"role": "system", "content": "S"}, U, {"role": "assistant", "content": parts}, U, A]
    example = parse(row, WHERE)
    assert not as_pair(example.messages)
    plain = [{"type": "text", "text": "I calculate: "}, parts[2], parts[3], parts[5], parts[6]]
    assert example.messages[2]["content"] == plain
    assert example.messages[0]["role"] == "system"
    assert texts(example) == ["S\n\nQ", "I calculate: ", "6*7", "", "6*7.0", "42.0", "Q", "A"]
    assert n_bytes(example) == len("S\n\nQ" + "I calculate: 6*76*7.042.0" + "QA")


FAULTS = {
    "a number": 3,
    "a string": "Q",
    "nothing": None,
    "no known keys": {"ask": "Q", "reply": "A"},
    "one key misspelt": {"prompt": "Q", "completoin": "A"},
    "an unknown key": {"prompt": "Q", "completion": "A", "system": "S"},
    "an unknown key beside messages": {"messages": [U, A], "tools": []},
    "two formats": {"messages": [U, A], "conversations": [U, A]},
    "no pair of texts": {"prompt": ["Q"], "completion": "A"},
    "an empty prompt": {"prompt": " \n", "completion": "A"},
    "an empty completion": {"prompt": "Q", "completion": ""},
    "an input that is no text": {"instruction": "Q", "input": 3, "output": "A"},
    "a blank input": {"instruction": "Q", "input": " ", "output": "A"},
    "messages that are no array": {"messages": "Q"},
    "conversations that are no array": {"conversations": {"from": "human", "value": "Q"}},
    "no messages": {"messages": []},
    "an empty array": [],
    "a message that is none": [U, "A"],
    "a message without role": [{"content": "Q"}, A],
    "a message without content": [U, {"role": "assistant", "content": None}],
    "a message with more": [{**U, "weight": 1}, A],
    "an unknown role": [U, {"role": "bot", "content": "A"}],
    "a role that is no text": [U, {"role": ["assistant"], "content": "A"}],
    "a tool": [U, A, {"role": "tool", "content": "42"}],
    "a role of another format": {"messages": [{"role": "human", "content": "Q"}, A]},
    "an unknown role in ShareGPT": {"conversations": [{"from": "human", "value": "Q"}, {"from": "bing", "value": "A"}]},
    "a role that is no text in ShareGPT": {"conversations": [{"from": {}, "value": "Q"}]},
    "ShareGPT without value": {"conversations": [{"from": "human"}, {"from": "gpt", "value": "A"}]},
    "half a ShareGPT": {"conversations": [{"from": "human", "value": "Q"}, A]},
    "the same role twice": [U, U, A],
    "the assistant twice": [U, A, A],
    "the assistant first": [A, U, A],
    "a late system message": [U, A, {"role": "system", "content": "S"}],
    "two system messages": [{"role": "system", "content": "S"}] * 2 + [U, A],
    "a system message alone": [{"role": "system", "content": "S"}],
    "the assistant after the system": [{"role": "system", "content": "S"}, A],
    "the user last": [U, A, U],
    "the user alone": [U],
    "the user alone with a system": [{"role": "system", "content": "S"}, U],
    "content that is a number": [{"role": "user", "content": 6}, A],
    "content that is an object": [{"role": "user", "content": {"text": "Q"}}, A],
    "content that is empty": [{"role": "user", "content": ""}, A],
    "no parts": [U, {"role": "assistant", "content": []}],
    "empty parts": [U, {"role": "assistant", "content": [{"type": "text", "text": ""}]}],
    "a part that is none": [U, {"role": "assistant", "content": ["A"]}],
    "a part of unknown type": [U, {"role": "assistant", "content": [{"type": "image", "text": "A"}]}],
    "a part without text": [U, {"role": "assistant", "content": [{"type": "text"}]}],
    "a part with more": [U, {"role": "assistant", "content": [{"type": "text", "text": "A", "id": 1}]}],
    "a part that is no text": [U, {"role": "assistant", "content": [{"type": "text", "text": 3}]}],
    "an empty call": [U, {"role": "assistant", "content": [{"type": "python", "text": ""}]}],
    "python of the user": [{"role": "user", "content": [{"type": "python", "text": "1"}]}, A],
    "output without a call": [U, {"role": "assistant", "content": [{"type": "python_output", "text": "1"}]}],
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_one_line_with_its_place(fault):
    with pytest.raises(ValueError) as caught:
        parse(FAULTS[fault], WHERE)
    line = str(caught.value)
    assert line.startswith(f"{WHERE}: ") and "\n" not in line and len(line) < 400
    assert "allowed" in line and "; " in line.split("allowed", 1)[1], "what is allowed, then the remedy"


@pytest.mark.parametrize(
    ("fault", "says"),
    [
        ("an unknown role", "message 2: role is 'bot', allowed: user, assistant, system"),
        ("the assistant first", "message 1: role is 'assistant', allowed here: 'user'; a conversation starts with"),
        ("the same role twice", "message 2: role is 'user', allowed here: 'assistant'; user and assistant must take"),
        ("the user last", "messages: the last is of the user"),
        ("content that is a number", "message 1: content: got a number"),
        ("python of the user", "message 1: part 1: type 'python' in a user message"),
        ("an unknown key", "unknown key 'system'"),
        ("one key misspelt", "['prompt', 'completoin']"),
        ("an empty completion", "completion: is empty"),
        ("a role of another format", "message 1: role is 'human'"),
        ("an unknown role in ShareGPT", "message 2: from is 'bing'"),
    ],
)
def test_the_line_names_the_fault(fault, says):
    with pytest.raises(ValueError) as caught:
        parse(FAULTS[fault], WHERE)
    assert says in str(caught.value)


def test_a_place_that_is_costly_to_know_is_asked_for_only_in_an_error():
    class Place:
        def __str__(self):
            pytest.fail("asked")

    parse([U, A], Place())


def test_keys_can_be_passed_over_by_name():
    row = {"prompt": "Q", "prompt_id": "x", "messages": [{**U, "weight": 1}, A]}
    with pytest.raises(ValueError, match=r"unknown key 'prompt'.*data\.ignore_keys"):
        parse(row, WHERE)
    assert parse(row, WHERE, ignore=["prompt", "prompt_id", "weight"]).messages == (U, A)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.sampled_from(["user", "assistant", "system", "text", "Q", ""]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(
        ["role", "content", "messages", "conversations", "from", "value", "prompt", "completion", "type", "text"]
    ), inner, max_size=3),
    max_leaves=12,
)  # fmt: skip


@given(json_values)
def test_anything_is_an_example_or_one_line(row):
    try:
        example = parse(row, WHERE)
    except ValueError as error:
        assert str(error).startswith(f"{WHERE}: ") and "\n" not in str(error)
    else:
        assert parse(list(example.messages), WHERE) == example


words = st.text(st.characters(codec=None), min_size=1, max_size=8).filter(lambda text: text.strip())


@given(words, words)
def test_bytes_are_those_of_the_tokens_and_half_characters_do_no_harm(prompt, completion):
    example = parse(json.loads(json.dumps({"prompt": prompt, "completion": completion})), WHERE)
    tokenizer = ByteTokenizer()
    ids = render_example(example.messages, tokenizer).ids
    assert tokenizer.byte_lengths()[ids].sum() == n_bytes(example)
    assert len(key(example)) == 64


@given(st.lists(words, min_size=2, max_size=2), st.lists(words, min_size=2, max_size=2))
def test_the_key_tells_contents_apart(one, other):
    keys = [key(parse({"prompt": q, "completion": a}, WHERE)) for q, a in (one, other)]
    same = [text.encode(errors="replace") for text in one] == [text.encode(errors="replace") for text in other]
    assert (keys[0] == keys[1]) == same


def test_real_instructions(root):
    path = root.parent / "shared" / "data" / "sft" / "dolly_small.jsonl"
    if not path.exists():
        pytest.skip(f"needs instruction examples at {path}")
    tokenizer = ByteTokenizer()
    lines = path.read_text(encoding="utf-8").splitlines()
    for number, line in enumerate(lines, start=1):
        row = json.loads(line)
        example = parse(row, f"{path}:{number}")
        assert isinstance(example, Example) and as_pair(example.messages)
        rendered = render_example(example.messages, tokenizer)
        answer = rendered.ids[rendered.supervised]
        assert tokenizer.decode(answer.tolist()) == row["response"] + "<|endoftext|>"
    assert number == 1000
