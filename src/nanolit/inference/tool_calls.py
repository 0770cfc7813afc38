"""Tools in the middle of an answer, in ids: what stands between <|python_start|> and <|python_end|> is asked, and what
the tool says is forced in behind it, between <|output_start|> and <|output_end|>.
"""

import logging
from collections.abc import Sequence

from nanolit.inference.tools import Tool
from nanolit.tokenizers.chat import OUTPUT_END, OUTPUT_START
from nanolit.tokenizers.protocol import Tokenizer

MAX_SAID_CHARS = 8000  # of what a tool says; the rest is cut off


class ToolCalls:
    """An `Interjection` (request.py) for a tokenizer with chat tokens. Of several tools that are called by the same
    tokens, the first that has something to say is heard.
    """

    def __init__(self, tokenizer: Tokenizer, tools: Sequence[Tool]) -> None:
        specials = tokenizer.specials
        self.tokenizer, self._output = tokenizer, (specials[OUTPUT_START], specials[OUTPUT_END])
        self._called: dict[int, list[Tool]] = {}  # by the token that ends a call
        self._starts: dict[int, int] = {}
        for tool in tools:
            start, end = f"<|{tool.name}_start|>", f"<|{tool.name}_end|>"
            if start not in specials or end not in specials:
                raise ValueError(f"tools: {tool.name!r} is called by {start} and {end}, which this tokenizer has not")
            self._called.setdefault(specials[end], []).append(tool)
            self._starts[specials[end]] = specials[start]

    def __call__(self, written: Sequence[int]) -> list[int]:
        end = written[-1]
        if end not in self._called:
            return []
        start = next((at for at in range(len(written) - 2, -1, -1) if written[at] == self._starts[end]), None)
        if start is None:
            return []
        said = self._ask(self._called[end], self.tokenizer.decode(written[start + 1 : -1]))
        return [] if said is None else [self._output[0], *said, self._output[1]]

    def _ask(self, tools: Sequence[Tool], code: str) -> list[int] | None:
        for tool in tools:
            try:
                said = tool(code)
                if said is not None:
                    return self.tokenizer.encode(said[:MAX_SAID_CHARS])
            except (Exception, SystemExit):  # the neighbours' answers go on, whatever a tool of somebody's does
                logging.getLogger(__name__).exception("the tool %r failed on %r", tool.name, code)
        return None
