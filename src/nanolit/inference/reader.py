"""One answer on its way from tokens to pieces that may be shown: text, what a tool was asked, what it said."""

from collections.abc import Sequence

from nanolit.inference.answer import Kind, Piece, TextRequest, TokenInfo
from nanolit.inference.request import Event, Finish
from nanolit.inference.text import TextStream
from nanolit.tokenizers.chat import OUTPUT_START, PYTHON_START
from nanolit.tokenizers.protocol import Tokenizer


class Reader:
    """Pieces gather until they are taken. Special tokens are not shown; stop strings are looked for in text only.

    A token comes out when the last of its text has: what a stop string holds back is nowhere to be seen.
    """

    def __init__(self, index: int, request: TextRequest, tokenizer: Tokenizer) -> None:
        self.index, self.request, self.tokenizer = index, request, tokenizer
        self.n_tokens = 0
        self._specials = {token: name for name, token in tokenizer.specials.items()}
        self._kind: Kind = "text"
        self._text = TextStream(tokenizer, request.params.stop)
        self._held: list[TokenInfo] = []
        self._pieces: list[Piece] = []

    @property
    def is_stopped(self) -> bool:
        """Has a stop string come? Whatever follows is ignored."""
        return self._text.ended

    def push(self, event: Event) -> None:
        if self.is_stopped:
            return
        self.n_tokens += not event.is_forced
        if event.token in self._specials:
            if self.request.chat:
                self._turn_to(_kind_after(self._specials[event.token], event.is_forced))
            return
        if not event.is_forced:
            self._held.append(self._info(event))
        self._say(self._text.push(event.token))

    def take(self) -> list[Piece]:
        pieces, self._pieces = self._pieces, []
        return pieces

    def end(self, finish: Finish, n_cached: int) -> list[Piece]:
        """The last ones."""
        if self.is_stopped:
            finish = "stop"
        else:
            self._say(self._text.close(), is_last=True)
        if not self._pieces:
            self._pieces.append(Piece(self.index, self._kind, ""))
        last = self._pieces.pop()
        self._pieces.append(last._replace(finish=finish, n_tokens=self.n_tokens, n_cached=n_cached))
        return self.take()

    def _turn_to(self, kind: Kind) -> None:
        if kind == self._kind:
            return
        self._say(self._text.close(), is_last=True)
        self._kind = kind
        self._text = TextStream(self.tokenizer, self.request.params.stop if kind == "text" else ())
        if kind == "python_output":  # also one that says nothing is told
            self._add("", ())

    def _say(self, text: str, is_last: bool = False) -> None:
        if text or (is_last and self._held):
            n, n_bytes = len(self._held), 0 if is_last else self._text.n_held_bytes
            while n and n_bytes > 0:  # of the last ones a part is held back
                n -= 1
                n_bytes -= len(self._held[n].bytes)
            self._add(text, self._held[:n])
            self._held = self._held[n:]

    def _add(self, text: str, tokens: Sequence[TokenInfo]) -> None:
        if self._pieces and self._pieces[-1].kind == self._kind:
            last = self._pieces.pop()
            text, tokens = last.text + text, [*last.tokens, *tokens]
        self._pieces.append(Piece(self.index, self._kind, text, tuple(tokens)))

    def _info(self, event: Event) -> TokenInfo:
        of_it = self.tokenizer.token_bytes(event.token)
        return TokenInfo(event.token, of_it) if event.scores is None else TokenInfo(event.token, of_it, *event.scores)


def _kind_after(special: str, is_forced: bool) -> Kind:
    """What a model says between tokens of output is not a tool's, so it is not shown as such."""
    if special == OUTPUT_START and is_forced:
        return "python_output"
    return "python" if special == PYTHON_START else "text"
