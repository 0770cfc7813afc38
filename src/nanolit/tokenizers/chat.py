"""Conversation -> token ids, and which of them are learnt: the only place that knows how. No formats of files
(data/sources/conversations.py), no packing.

`supervised[i]` says that token i is to be predicted. A model that reads ids[:-1] and predicts ids[1:] therefore takes
supervised[1:] for its loss, so that the first token of an answer counts, and the token that ends it.

Rules and ids are nanochat's, except that neighbouring text parts are encoded as one text:

    <|bos|> ( <|user_start|> text <|user_end|> <|assistant_start|> answer <|assistant_end|> )*
                                                                   ~~~~~~~~~~~~~~~~~~~~~~~ supervised, but not this:
    answer: text, <|python_start|> code <|python_end|>, <|output_start|> what the tool said <|output_end|>
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import numpy as np

from nanolit.tokenizers.messages import Conversation, Message, Part, as_pair, check, merge_system, texts_of
from nanolit.tokenizers.protocol import Tokenizer
from nanolit.tokenizers.vocabulary import CHAT_SPECIALS

(BOS, USER_START, USER_END, ASSISTANT_START, ASSISTANT_END, PYTHON_START, PYTHON_END, OUTPUT_START, OUTPUT_END) = (
    CHAT_SPECIALS
)
_BEGINS = {PYTHON_START: "python", OUTPUT_START: "python_output"}  # a part of an answer
How = Literal["auto", "chat", "completion"]
REMEDY = "take a tokenizer with chat tokens, as tokenizer=bpe_chat"


@dataclass(frozen=True, eq=False)
class Rendered:
    ids: np.ndarray  # (T,) int32
    supervised: np.ndarray  # (T,) bool
    ends: tuple[int, ...]  # the length after each answer: where it may be cut

    def within(self, max_tokens: int) -> "Rendered | None":
        """The longest beginning that fits and ends with an answer; None if the first answer ends beyond."""
        ends = tuple(end for end in self.ends if end <= max_tokens)
        if len(self.ids) <= max_tokens:
            return self
        return Rendered(self.ids[: ends[-1]], self.supervised[: ends[-1]], ends) if ends else None


class _Row:
    """Ids and mask, growing."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self.tokenizer, self.ids, self.supervised, self.ends = tokenizer, list[int](), list[bool](), list[int]()

    def special(self, name: str, supervised: bool = False) -> None:
        self.add([self.tokenizer.specials[name]], supervised)

    def text(self, text: str, supervised: bool = False) -> None:
        self.add(self.tokenizer.encode(text), supervised)

    def add(self, ids: list[int], supervised: bool) -> None:
        self.ids += ids
        self.supervised += [supervised] * len(ids)

    def end(self, token_id: int) -> None:
        self.add([token_id], supervised=True)
        self.ends.append(len(self.ids))

    def rendered(self) -> Rendered:
        return Rendered(np.array(self.ids, dtype=np.int32), np.array(self.supervised, dtype=bool), tuple(self.ends))


def has_chat_tokens(tokenizer: Tokenizer) -> bool:
    return all(name in tokenizer.specials for name in CHAT_SPECIALS)


def render(conversation: Conversation, tokenizer: Tokenizer) -> Rendered:
    """Every token of the conversation, for training."""
    return _chat(conversation, tokenizer).rendered()


def render_prompt(conversation: Conversation, tokenizer: Tokenizer, drop_answer: bool = False) -> list[int]:
    """Ids after which the assistant's next message is to be generated; `drop_answer`: the last message anew."""
    if drop_answer and conversation and conversation[-1]["role"] == "assistant":
        conversation = conversation[:-1]
    row = _chat(conversation, tokenizer)
    if conversation[-1]["role"] == "assistant":
        raise ValueError("conversation: ends with the assistant, allowed: with the user; add what the user says next")
    row.special(ASSISTANT_START)
    return row.ids


def render_completion(prompt: str, completion: str, tokenizer: Tokenizer) -> Rendered:
    """For tokenizers without chat tokens: prompt, completion, end of text; the last two are learnt."""
    if tokenizer.eot_id is None:
        raise ValueError(
            "tokenizer: got one without an end-of-text token, allowed: one that can say where a completion ends; take "
            "another, for example tokenizer=byte"
        )
    row = _Row(tokenizer)
    if tokenizer.bos_id is not None:
        row.add([tokenizer.bos_id], supervised=False)
    row.text(prompt)
    row.text(completion, supervised=True)
    row.end(tokenizer.eot_id)
    return row.rendered()


def render_example(conversation: Conversation, tokenizer: Tokenizer, how: How = "auto") -> Rendered:
    """As a chat where the tokenizer has the tokens for it, else, or by wish, as a prompt and its completion."""
    if how == "chat" or (how == "auto" and has_chat_tokens(tokenizer)):
        return render(conversation, tokenizer)
    pair = as_pair(check(conversation))
    if pair is None:
        raise ValueError(
            f"conversation: got {len(conversation)} messages, allowed without chat tokens: one text and one text in "
            f"answer; {REMEDY}"
        )
    return render_completion(*pair, tokenizer)


def _chat(conversation: Conversation, tokenizer: Tokenizer) -> _Row:
    if missing := [name for name in CHAT_SPECIALS if name not in tokenizer.specials]:
        raise ValueError(f"tokenizer: got one without {missing[0]}, allowed: one with nanochat's nine; {REMEDY}")
    row = _Row(tokenizer)
    row.special(BOS)
    for message in merge_system(check(conversation)):
        if message["role"] == "user":
            row.special(USER_START)
            row.text("".join(texts_of(message)))
            row.special(USER_END)
        else:
            _answer(message, row)
    return row


def _answer(message: Message, row: _Row) -> None:
    row.special(ASSISTANT_START)
    content = message["content"]
    for part in [{"type": "text", "text": content}] if isinstance(content, str) else content:
        if part["type"] == "text":
            row.text(part["text"], supervised=True)
        elif part["type"] == "python":
            row.special(PYTHON_START, supervised=True)
            row.text(part["text"], supervised=True)
            row.special(PYTHON_END, supervised=True)
        else:  # what the tool said is read, not learnt
            row.special(OUTPUT_START)
            row.text(part["text"])
            row.special(OUTPUT_END)
    row.end(row.tokenizer.specials[ASSISTANT_END])


def parts_of(ids: Iterable[int], tokenizer: Tokenizer) -> list[Part]:
    """The inverse of rendering an answer: its parts, up to the token that ends it. Special tokens that have no business
    there are passed over; what is not closed goes on to the end.
    """
    names = {token: name for name, token in tokenizer.specials.items()}
    found: list[tuple[str, list[int]]] = [("text", [])]
    for token in ids:
        name = names.get(token)
        if name is None:
            found[-1][1].append(token)
        elif name == ASSISTANT_END:
            break
        elif name in _BEGINS:
            found.append((_BEGINS[name], []))
        elif name in (PYTHON_END, OUTPUT_END):
            found.append(("text", []))
    return [Part(type=kind, text=tokenizer.decode(part)) for kind, part in found if part or kind != "text"]


def ends_of_answer(tokenizer: Tokenizer) -> frozenset[int]:
    """The ids that end a turn of the assistant; it may begin the next conversation without ending its turn."""
    return frozenset([tokenizer.specials[ASSISTANT_END], tokenizer.specials[BOS]])


def text_said(ids: Iterable[int], tokenizer: Tokenizer) -> str:
    """The text of an answer: without calls of tools, and without what they said."""
    return "".join(part["text"] for part in parts_of(ids, tokenizer) if part["type"] == "text")


def chat_template() -> str:
    """The same as a Jinja template for `transformers`, with the supervised parts as its {% generation %} blocks.

    There a conversation becomes one string that is then cut into tokens, so text that spells a special token becomes
    that token; here it stays text.
    """
    return _TEMPLATE


# An answer is collected until a tool speaks, so that each block ends with a special token: of a block's last character
# transformers marks only the first token.
_TEMPLATE = """\
{%- macro text(content) -%}
    {{- content if content is string else content | map(attribute='text') | join -}}
{%- endmacro -%}
{{- '<|bos|>' -}}
{%- set ns = namespace(before='', said='') -%}
{%- for message in messages -%}
    {%- if loop.first and message.role == 'system' -%}
        {%- set ns.before = text(message.content) + '\\n\\n' -%}
    {%- elif message.role == 'user' -%}
        {{- '<|user_start|>' + ns.before + text(message.content) + '<|user_end|>' -}}
        {%- set ns.before = '' -%}
    {%- elif message.role == 'assistant' -%}
        {{- '<|assistant_start|>' -}}
        {%- set ns.said = '' -%}
        {%- set one = [{'type': 'text', 'text': message.content}] -%}
        {%- for part in (one if message.content is string else message.content) -%}
            {%- if part.type == 'python_output' -%}
                {%- generation -%}{{- ns.said -}}{%- endgeneration -%}
                {{- '<|output_start|>' + part.text + '<|output_end|>' -}}
                {%- set ns.said = '' -%}
            {%- elif part.type == 'python' -%}
                {%- set ns.said = ns.said + '<|python_start|>' + part.text + '<|python_end|>' -%}
            {%- else -%}
                {%- set ns.said = ns.said + part.text -%}
            {%- endif -%}
        {%- endfor -%}
        {%- generation -%}{{- ns.said + '<|assistant_end|>' -}}{%- endgeneration -%}
    {%- else -%}
        {{- raise_exception('role ' + message.role + ': allowed are user, assistant and, first, system') -}}
    {%- endif -%}
{%- endfor -%}
{%- if add_generation_prompt -%}{{- '<|assistant_start|>' -}}{%- endif -%}
"""
