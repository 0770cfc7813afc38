"""Conversations as ids and mask: by hand from nanochat's rules, by property, and by transformers with our template."""

import inspect

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nanolit.tokenizers.bpe import SPLIT_PATTERN, BPETokenizer, train_bpe
from nanolit.tokenizers.byte import ByteTokenizer
from nanolit.tokenizers.char import CharTokenizer
from nanolit.tokenizers.chat import (
    chat_template,
    has_chat_tokens,
    parts_of,
    render,
    render_completion,
    render_example,
    render_prompt,
    text_said,
)
from nanolit.tokenizers.messages import check

NAMES = [
    *("<|bos|>", "<|user_start|>", "<|user_end|>", "<|assistant_start|>", "<|assistant_end|>"),
    *("<|python_start|>", "<|python_end|>", "<|output_start|>", "<|output_end|>"),
]
# With bytes as tokens the specials come after 255.
BOS, USER, USER_END, ASSISTANT, ASSISTANT_END, PYTHON, PYTHON_END, OUTPUT, OUTPUT_END = range(256, 265)
CORPUS = ["The miller's daughter has 6 * 7 = 42 apples, she'll sell them. Ça coûte 3,50 €.\n\n日本 😀"] * 3


@pytest.fixture(scope="module")
def bytewise() -> BPETokenizer:
    ranks = {bytes([byte]): byte for byte in range(256)}
    return BPETokenizer(ranks, {name: 256 + i for i, name in enumerate(NAMES)}, SPLIT_PATTERN)


@pytest.fixture(scope="module")
def bpe() -> BPETokenizer:
    return train_bpe(CORPUS, 330, specials=NAMES)


def user(text):
    return {"role": "user", "content": text}


def assistant(content):
    return {"role": "assistant", "content": content}


def part(kind, text):
    return {"type": kind, "text": text}


PIECES = [
    "The miller",
    "'s",
    " ",
    "\n\n",
    "é",
    "😀",
    "日本",
    "{{ x }}",
    "{% if %}",
    "<b>&amp;",
    "42",
    "  \t",
    "<|",
    "|>",
]
texts = st.lists(st.sampled_from(PIECES) | st.text(max_size=4), max_size=6).map("".join)
# Nothing but surrogates is excluded: they have no UTF-8.
texts = texts.map(lambda text: text.encode("utf-8", "ignore").decode())
said = texts.filter(lambda text: text.strip())


@st.composite
def answers(draw):
    parts = []
    for kind in draw(st.lists(st.sampled_from(["text", "call", "call with output"]), min_size=1, max_size=5)):
        parts.append(part("text", draw(said)) if kind == "text" else part("python", draw(said)))
        if kind == "call with output":
            parts.append(part("python_output", draw(texts)))
    return parts


@st.composite
def conversations(draw):
    messages = [{"role": "system", "content": draw(said)}] if draw(st.booleans()) else []
    for _ in range(draw(st.integers(1, 3))):
        messages += [user(draw(said)), assistant(draw(said | answers()))]
    return messages


def spelled(conversation, answers_only=False):
    """The conversation in words: an independent reading of the rules."""
    text, before = "" if answers_only else "<|bos|>", ""
    for message in conversation:
        content = message["content"]
        if message["role"] == "system":
            before = content + "\n\n"
        elif message["role"] == "user":
            text += "" if answers_only else f"<|user_start|>{before}{content}<|user_end|>"
            before = ""
        else:
            text += "" if answers_only else "<|assistant_start|>"
            for p in [part("text", content)] if isinstance(content, str) else content:
                tool = {"python": "python", "python_output": "output", "text": ""}[p["type"]]
                if tool == "output" and answers_only:
                    continue
                text += f"<|{tool}_start|>{p['text']}<|{tool}_end|>" if tool else p["text"]
            text += "<|assistant_end|>"
    return text


# --- by hand ---------------------------------------------------------------------------------------------------------


def golden(*pieces):
    """Ids and mask from (what, learnt): a byte string or one special id."""
    ids, mask = [], []
    for what, learnt in pieces:
        new = [what] if isinstance(what, int) else list(what)
        ids, mask = ids + new, mask + [learnt] * len(new)
    return ids, mask


GOLDEN = {
    "two turns": (
        [user("Hi"), assistant("Yo"), user("é?"), assistant("No.")],
        golden(
            *((BOS, 0), (USER, 0), (b"Hi", 0), (USER_END, 0), (ASSISTANT, 0), (b"Yo", 1), (ASSISTANT_END, 1)),
            *((USER, 0), (b"\xc3\xa9?", 0), (USER_END, 0), (ASSISTANT, 0), (b"No.", 1), (ASSISTANT_END, 1)),
        ),
    ),
    "system": (
        [{"role": "system", "content": "Be brief."}, user("Hi"), assistant("Yo")],
        golden(
            *((BOS, 0), (USER, 0), (b"Be brief.\n\nHi", 0), (USER_END, 0)),
            *((ASSISTANT, 0), (b"Yo", 1), (ASSISTANT_END, 1)),
        ),
    ),
    "calculator": (
        [user("6*7?"), assistant([part("python", "6*7"), part("python_output", "42"), part("text", "42!")])],
        golden(
            *((BOS, 0), (USER, 0), (b"6*7?", 0), (USER_END, 0), (ASSISTANT, 0)),
            *((PYTHON, 1), (b"6*7", 1), (PYTHON_END, 1), (OUTPUT, 0), (b"42", 0), (OUTPUT_END, 0)),
            *((b"42!", 1), (ASSISTANT_END, 1)),
        ),
    ),
    "text that spells specials": (
        [user("<|bos|>"), assistant("<|assistant_end|>")],
        golden(
            *((BOS, 0), (USER, 0), (b"<|bos|>", 0), (USER_END, 0)),
            *((ASSISTANT, 0), (b"<|assistant_end|>", 1), (ASSISTANT_END, 1)),
        ),
    ),
}


@pytest.mark.parametrize("name", GOLDEN)
def test_golden_conversations(name, bytewise):
    conversation, (ids, mask) = GOLDEN[name]
    rendered = render(conversation, bytewise)
    assert rendered.ids.tolist() == ids
    assert rendered.supervised.tolist() == [bool(m) for m in mask]


def test_neighbouring_texts_are_encoded_as_one(bpe):
    cut = [user("a"), assistant([part("text", "The mil"), part("text", ""), part("text", "ler")])]
    whole = [user("a"), assistant("The miller")]
    assert bpe.encode("The mil") + bpe.encode("ler") != bpe.encode("The miller")
    assert render(cut, bpe).ids.tolist() == render(whole, bpe).ids.tolist()


# --- properties ------------------------------------------------------------------------------------------------------


@settings(deadline=None)
@given(conversations())
def test_ids_say_the_conversation_and_the_mask_says_the_answers(bpe, conversation):
    rendered = render(conversation, bpe)
    assert len(rendered.ids) == len(rendered.supervised)
    assert bpe.decode(rendered.ids.tolist()) == spelled(conversation)
    assert bpe.decode(rendered.ids[rendered.supervised].tolist()) == spelled(conversation, answers_only=True)
    ends = rendered.ids == bpe.specials["<|assistant_end|>"]
    assert ends.sum() == len(conversation) // 2 and rendered.supervised[ends].all() and ends[-1]
    assert not rendered.supervised[0]
    assert rendered.ends == tuple(np.flatnonzero(ends) + 1)


@settings(deadline=None)
@given(conversations(), st.data())
def test_truncation_keeps_whole_turns(bpe, conversation, data):
    rendered = render(conversation, bpe)
    max_tokens = data.draw(st.integers(0, len(rendered.ids) + 2) | st.sampled_from(rendered.ends))
    kept = rendered.within(max_tokens)
    first = len(conversation) % 2 + 2
    shorter = [conversation[:n] for n in range(len(conversation), 1, -2) if n >= first]
    fitting = [r for r in (render(turns, bpe) for turns in shorter) if len(r.ids) <= max_tokens]
    if not fitting:
        assert kept is None
    else:
        assert kept.ids.tolist() == fitting[0].ids.tolist()
        assert kept.supervised.tolist() == fitting[0].supervised.tolist() and kept.ends == fitting[0].ends


@settings(deadline=None)
@given(conversations())
def test_parts_are_what_was_rendered(bpe, conversation):
    prompt = render_prompt(conversation, bpe, drop_answer=True)
    written = [*render(conversation, bpe).ids[len(prompt) :].tolist(), bpe.specials["<|bos|>"], 65]
    answer = check(conversation)[-1]["content"]
    parts = [part("text", answer)] if isinstance(answer, str) else answer
    assert parts_of(written, bpe) == parts
    assert text_said(written, bpe) == "".join(p["text"] for p in parts if p["type"] == "text")


def test_what_is_not_closed_goes_on_and_stray_tokens_say_nothing(bytewise):
    written = [65, USER, PYTHON, 49, OUTPUT_END, 66, PYTHON_END, OUTPUT, 50]
    assert parts_of(written, bytewise) == [
        part("text", "A"),
        part("python", "1"),
        part("text", "B"),
        part("python_output", "2"),
    ]
    assert text_said(written, bytewise) == "AB"


@settings(deadline=None)
@given(conversations())
def test_a_prompt_is_the_beginning_of_what_is_learnt(bpe, conversation):
    prompt = render_prompt(conversation, bpe, drop_answer=True)
    assert prompt == render_prompt(conversation[:-1], bpe)
    assert prompt[-1] == bpe.specials["<|assistant_start|>"]
    rendered = render(conversation, bpe)
    assert rendered.ids[: len(prompt)].tolist() == prompt
    assert rendered.supervised[len(prompt)] and not rendered.supervised[len(prompt) - 1]


# --- without chat tokens ---------------------------------------------------------------------------------------------


def test_completion_by_hand():
    rendered = render_completion("Q:", " é", ByteTokenizer())
    assert rendered.ids.tolist() == [*b"Q:", *b" \xc3\xa9", 256]
    assert rendered.supervised.tolist() == [False] * 2 + [True] * 4


def test_a_text_begins_as_the_folder_of_the_tokenizer_says():
    tokenizer = ByteTokenizer()
    tokenizer.bos_id = 7
    rendered = render_completion("a", "b", tokenizer)
    assert rendered.ids.tolist() == [7, 97, 98, 256] and rendered.supervised.tolist() == [False, False, True, True]


@given(st.binary(min_size=1, max_size=6), st.binary(min_size=1, max_size=6), st.integers(0, 5))
def test_the_off_by_one_of_nash_llm_is_absent(prompt, completion, n_padding):
    """It masks by the position of the input, which lies one before what is predicted there."""
    tokenizer = ByteTokenizer()
    prompt, completion = (bytes(b & 127 for b in text).decode() for text in (prompt, completion))
    rendered = render_completion(prompt, completion, tokenizer)
    n_prompt, T = len(prompt), len(rendered.ids)
    ids = [*rendered.ids.tolist(), *[0] * n_padding]
    theirs = {}  # position of the predicted token -> is it in the loss
    targets = [*ids[1:], 0]
    loss_mask = [n_prompt <= i < T for i in range(len(ids))]
    for i, (_, counts) in enumerate(zip(targets, loss_mask, strict=True)):
        theirs[i + 1] = counts
    ours = {i: bool(learnt) for i, learnt in enumerate(rendered.supervised) if i > 0}
    differ = {i for i in theirs if theirs[i] != ours.get(i, False)}
    # The first token of the completion, and what is predicted from the end of the text: padding, or nothing.
    assert differ == {n_prompt, T}
    assert ours[n_prompt] and ours[T - 1] and not theirs[n_prompt] and theirs[T]
    assert ids[n_prompt] == rendered.ids[n_prompt] == ord(completion[0])


def test_which_way_an_example_goes(bytewise):
    pair = [user("Q"), assistant("A")]
    longer = [*pair, user("Q"), assistant("A")]
    calls = [user("Q"), assistant([part("python", "1"), part("python_output", "1")])]
    plain = ByteTokenizer()
    assert has_chat_tokens(bytewise) and not has_chat_tokens(plain)
    assert render_example(pair, bytewise).ids.tolist() == render(pair, bytewise).ids.tolist()
    assert render_example(pair, plain).ids.tolist() == render_completion("Q", "A", plain).ids.tolist()
    told = [{"role": "system", "content": "S"}, *pair]
    assert render_example(told, plain).ids.tolist() == render_completion("S\n\nQ", "A", plain).ids.tolist()
    for refused in (longer, calls):
        with pytest.raises(ValueError, match=r"without chat tokens.*tokenizer=bpe_chat"):
            render_example(refused, plain)
    with pytest.raises(ValueError, match=r"without <\|bos\|>.*tokenizer=bpe_chat"):
        render_example(pair, plain, how="chat")
    by_wish = render_example(pair, bytewise, how="completion")  # where <|bos|> ends a text as well
    assert by_wish.ids.tolist() == [BOS, *b"QA", BOS] and by_wish.supervised.tolist() == [False, False, True, True]
    with pytest.raises(ValueError, match="end-of-text"):
        render_example(pair, CharTokenizer("QA"))


def test_what_is_no_conversation_is_refused(bytewise):
    with pytest.raises(ValueError, match="message 1: role is 'assistant'"):
        render([assistant("A")], bytewise)
    with pytest.raises(ValueError, match="ends with the assistant"):
        render_prompt([user("Q"), assistant("A")], bytewise)
    for nothing in ([], [assistant("A")]):
        with pytest.raises(ValueError, match="messages: got none"):
            render_prompt(nothing, bytewise, drop_answer=True)


# --- transformers ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def theirs(bpe, tmp_path_factory):
    """Our tokenizer as transformers loads it, with the template."""
    transformers = pytest.importorskip("transformers", reason="needs nanolit[hf]")
    folder = tmp_path_factory.mktemp("tokenizer")
    bpe.save(folder)
    loaded = transformers.AutoTokenizer.from_pretrained(folder)
    loaded.chat_template = chat_template()
    loaded.save_pretrained(folder)
    return transformers.PreTrainedTokenizerFast.from_pretrained(folder)


@settings(deadline=None, max_examples=150)
@given(conversations())
def test_transformers_gives_the_same_ids_and_mask(bpe, theirs, conversation):
    # No text here spells a special token: transformers would read it as one, on purpose we do not (next test).
    rendered = render(conversation, bpe)
    out = theirs.apply_chat_template(conversation, return_dict=True, return_assistant_tokens_mask=True)
    assert out["input_ids"] == rendered.ids.tolist()
    assert out["assistant_masks"] == rendered.supervised.astype(int).tolist()
    prompt = theirs.apply_chat_template(conversation[:-1], add_generation_prompt=True, return_dict=False)
    assert prompt == render_prompt(conversation, bpe, drop_answer=True)


def test_text_that_spells_a_special_token(bpe, theirs):
    """As in all chat templates it becomes the token there, unless transformers is asked to prevent it."""
    conversation = [user("a<|assistant_end|>b"), assistant("c <|bos|>")]
    ours = render(conversation, bpe).ids.tolist()
    assert theirs.apply_chat_template(conversation, return_dict=False) != ours
    if "sanitize_control_tokens" in inspect.signature(theirs.apply_chat_template).parameters:
        assert theirs.apply_chat_template(conversation, return_dict=False, sanitize_control_tokens=True) == ours


def test_the_template_takes_content_as_parts_and_refuses_other_roles(bpe, theirs):
    parts = [user([part("text", "The mil"), part("text", "ler")]), assistant("Yes")]
    assert theirs.apply_chat_template(parts, return_dict=False) == render(parts, bpe).ids.tolist()
    with pytest.raises(Exception, match="role tool"):
        theirs.apply_chat_template([*parts, {"role": "tool", "content": "x"}])
