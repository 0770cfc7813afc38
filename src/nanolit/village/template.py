"""The little language that story shapes are written in, compiled once and then rendered fast.

    {hero} lived {hero.at_home}.       a slot: a form of a role; the short {he} {him} {his} {himself} are the hero's
    {He} laughed. {Place.At}           a capital in the last word of the slot capitalises its value
    [ran|walked [slowly|fast]]         one of several, chosen by chance; may be nested, may be empty
    {cap=cap/caps|scarf/scarves}       one of several, remembered: {cap} says it again, {cap.2} its second form
    <smiled>                           a macro: text that is put in before compiling
    (blank line)                       a new paragraph; single line ends are spaces

It knows nothing of the village: the roles and their forms arrive as a `Cast`, a mapping role -> form -> text.
"""

import re
from collections.abc import Iterator, Mapping

from nanolit.village.draw import Draw
from nanolit.village.grammar import capital

Forms = Mapping[str, str]
Cast = dict[str, Forms]

HERO_PRONOUNS = frozenset({"he", "him", "his", "himself"})
_TOKENS = re.compile(r"\{(\w+)=|\{(\w+)(?:\.(\w+))?\}|([\[|\]}])|([^\[|\]{}]+)")


class Slot:
    """A form of a role."""

    def __init__(self, role: str, form: str) -> None:
        last = form or role
        self.capital = last[0].isupper()
        role, form = role.lower(), form.lower()
        self.role, self.form = ("hero", role) if role in HERO_PRONOUNS and not form else (role, form)

    def render(self, cast: Cast, draw: Draw, out: list[str]) -> None:
        text = cast[self.role][self.form]
        out.append(capital(text) if self.capital else text)


class Choice:
    """One of several sequences, by chance."""

    def __init__(self, options: list["Sequence"]) -> None:
        self.options = options

    def render(self, cast: Cast, draw: Draw, out: list[str]) -> None:
        option = draw.pick(self.options)
        if option.literal is None:
            option.render(cast, draw, out)
        else:
            out.append(option.literal)


class Binding:
    """One of several plain texts, by chance, remembered in the cast under a name of the shape's own."""

    def __init__(self, name: str, options: list["Sequence"]) -> None:
        self.name = name
        self.options = [option.forms() for option in options]

    def render(self, cast: Cast, draw: Draw, out: list[str]) -> None:
        cast[self.name] = forms = draw.pick(self.options)
        out.append(forms[""])


class Sequence:
    """Parts in order; `literal` is its whole text when nothing in it varies."""

    def __init__(self, parts: list["str | Slot | Choice | Binding"]) -> None:
        self.parts = parts
        plain = [part for part in parts if isinstance(part, str)]
        self.literal = "".join(plain) if len(plain) == len(parts) else None

    def render(self, cast: Cast, draw: Draw, out: list[str]) -> None:
        for part in self.parts:
            if type(part) is str:
                out.append(part)
            else:
                part.render(cast, draw, out)  # type: ignore[union-attr]  # mypy does not narrow on type()

    def forms(self) -> dict[str, str]:
        if self.literal is None:
            raise ValueError(f"a remembered choice must be plain text without slots or choices, got {self.parts}")
        first, *rest = self.literal.split("/")
        return {"": first} | {str(i): text for i, text in enumerate(rest, 2)}

    def nodes(self) -> Iterator["Slot | Choice | Binding"]:
        """Everything in it that varies, at any depth."""
        for part in self.parts:
            if not isinstance(part, str):
                yield part
            if isinstance(part, Choice):
                for option in part.options:
                    yield from option.nodes()


class Template:
    """A compiled text: `roles` are the roles that it asks of a cast."""

    def __init__(self, text: str, macros: Mapping[str, str]) -> None:
        text = re.sub(r"(?<=[\[|])\s*\n\s*", "", text.strip())  # a line may end after a bracket or bar
        paragraphs = [" ".join(part.split()) for part in text.split("\n\n")]
        source = _expand("\n\n".join(paragraphs), macros)
        tokens = list(_TOKENS.finditer(source))
        if "".join(token[0] for token in tokens) != source:
            raise ValueError(f"not a slot, choice or text somewhere in: {source}")
        options, end = _parse(tokens, 0)
        if end != len(tokens) or len(options) != 1:
            raise ValueError(f"unbalanced brackets after {source[: tokens[min(end, len(tokens) - 1)].start()]!r}")
        self.root = options[0]
        own = {node.name for node in self.root.nodes() if isinstance(node, Binding)}
        self.roles = frozenset(node.role for node in self.root.nodes() if isinstance(node, Slot)) - own

    def render(self, cast: Cast, draw: Draw) -> str:
        """The text. Writes the shape's remembered choices into `cast`: give each document its own."""
        out: list[str] = []
        self.root.render(cast, draw, out)
        return "".join(out)


def _expand(text: str, macros: Mapping[str, str]) -> str:
    """Macros may hold macros; a name that is not there is a KeyError that shows it."""
    while "<" in text:
        text = re.sub(r"<(\w+)>", lambda match: macros[match[1]], text)
    return text


def _parse(tokens: list[re.Match[str]], at: int) -> tuple[list[Sequence], int]:
    """The `|`-separated sequences from token `at` to the bracket that closes them (or the end)."""
    options: list[list[str | Slot | Choice | Binding]] = [[]]
    while at < len(tokens):
        bind, role, form, mark, text = tokens[at].groups()
        at += 1
        if text:
            options[-1].append(text)
        elif role:
            options[-1].append(Slot(role, form or ""))
        elif bind or mark == "[":
            inner, at = _parse(tokens, at)
            if at >= len(tokens) or tokens[at][4] != ("}" if bind else "]"):
                raise ValueError(f"a choice is not closed: {tokens[at - 1].string[:60]!r}...")
            options[-1].append(Binding(bind, inner) if bind else Choice(inner))
            at += 1
        elif mark == "|":
            options.append([])
        else:
            return [Sequence(parts) for parts in options], at - 1
    return [Sequence(parts) for parts in options], at
