"""What tests of tasks share: rows written, answers said, examples rendered."""

import json

from nanolit.tokenizers.bpe import train_bpe
from nanolit.tokenizers.chat import render, render_prompt
from nanolit.tokenizers.protocol import Tokenizer
from nanolit.tokenizers.vocabulary import CHAT_SPECIALS


def write(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def bpe(texts) -> Tokenizer:
    return train_bpe(list(texts)[:100], 400, specials=CHAT_SPECIALS)


def assert_renders(example, tokenizer) -> None:
    """The prompt is the beginning of the whole, what is learnt is the answer without what a tool said, and its end."""
    rendered, prompt = render(example.messages, tokenizer), render_prompt(example.messages, tokenizer, drop_answer=True)
    n = len(prompt)
    assert rendered.ids[:n].tolist() == prompt and not rendered.supervised[:n].any()
    assert rendered.supervised[-1] and rendered.ids[-1] == tokenizer.specials["<|assistant_end|>"]
    content = example.messages[-1]["content"]
    learnt = tokenizer.decode(rendered.ids[rendered.supervised].tolist())
    parts = [{"type": "text", "text": content}] if isinstance(content, str) else content
    marks = {"text": ("", ""), "python": ("<|python_start|>", "<|python_end|>")}
    told = "".join(marks[p["type"]][0] + p["text"] + marks[p["type"]][1] for p in parts if p["type"] in marks)
    assert learnt == told + "<|assistant_end|>"


def said(example) -> str:
    content = example.messages[-1]["content"]
    return content if isinstance(content, str) else "".join(p["text"] for p in content if p["type"] == "text")
