"""The bodies of /v1/chat/completions and /v1/completions as what a worker takes. Every field of OpenAI's is read,
refused because we cannot do it, or known to change nothing.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from nanolit.inference.answer import TextRequest
from nanolit.inference.params import SamplingParams
from nanolit.serve.conversation import fitted, read_messages
from nanolit.serve.errors import Refusal
from nanolit.serve.fields import Fields, shown
from nanolit.serve.served import Models, Served
from nanolit.serve.settings import ServerSettings
from nanolit.tokenizers.messages import named

MAX_ANSWERS = 128  # of one request
MAX_SCORES = 100_000  # log-probabilities in one request: each takes memory until its answer has been sent
MAX_STOPS, MAX_STOP_CHARS = 16, 200
HARMLESS = (
    *("user", "metadata", "store", "service_tier", "safety_identifier", "prompt_cache_key", "prompt_cache_retention"),
    *("parallel_tool_calls", "prompt_cache_options"),
)
# With the values that ask for nothing.
UNABLE_CHAT: dict[str, tuple[Any, ...]] = {
    "tools": ([],),
    "tool_choice": ("none", "auto"),
    "functions": ([],),
    "function_call": ("none", "auto"),
    "response_format": ({"type": "text"},),
    "modalities": (["text"],),
    "audio": (),
    "prediction": (),
    "reasoning_effort": ("none",),
    "verbosity": (),
    "web_search_options": (),
    "moderation": (),
}
UNABLE_TEXT: dict[str, tuple[Any, ...]] = {"suffix": ("",)}


@dataclass(frozen=True)
class Order:
    """What a request asks for."""

    model: Served
    requests: tuple[TextRequest, ...]  # one for each prompt
    is_stream: bool = False
    with_usage: bool = False  # in the stream too
    echoes: tuple[str, ...] = ()  # what each answer begins with


class _Wishes(NamedTuple):
    """What both kinds of body say of their answers."""

    request: TextRequest  # without a prompt
    max_tokens: int
    is_stream: bool
    with_usage: bool
    is_cut: bool  # the oldest of a prompt that is too long is left out

    def ordered(self, model: Served, prompts: Sequence[Sequence[int]], **more: Any) -> Order:
        n_scores = self.request.n * len(prompts) * self.max_tokens * (1 + (self.request.logprobs or 0))
        if self.request.logprobs is not None and n_scores > MAX_SCORES:
            told = (
                f"logprobs: got {n_scores} in all answers, allowed: {MAX_SCORES}; ask for fewer tokens or alternatives"
            )
            raise Refusal(told, "logprobs")
        requests = []
        for prompt in prompts:
            left = model.block_size - len(prompt)
            params = replace(self.request.params, max_new_tokens=min(self.max_tokens, left))
            requests.append(replace(self.request, prompt=prompt, params=params))
        return Order(model, tuple(requests), self.is_stream, self.with_usage, **more)

    def limit(self, model: Served) -> int:
        """So long may a prompt be that is cut: a part of what the model sees is kept for the answer."""
        return model.block_size - max(1, min(self.max_tokens, model.block_size // 4))


def read_chat(body: Mapping[str, Any], models: Models, settings: ServerSettings, address: str) -> Order:
    fields = Fields(body)
    model = models.find(fields.string("model"))
    if not model.is_chat:
        told = f"model: {model.id} is a base model, without chat tokens; let it go on with a text: /v1/completions"
        raise Refusal(told, "model", code="not_a_chat_model")
    given = fields.take("messages")
    with_logprobs, n_top = fields.boolean("logprobs"), fields.integer("top_logprobs", 0, 20)
    if n_top and not with_logprobs:
        raise Refusal("top_logprobs: needs logprobs: true beside it", "top_logprobs")
    wishes = _wishes(fields, model, settings, address, ("max_completion_tokens", "max_tokens"))
    fields.refuse_unable(UNABLE_CHAT)
    fields.refuse_rest()
    messages = read_messages(given)
    last = model.block_size - 1
    try:
        prompt = fitted(messages, model.tokenizer, wishes.limit(model) if wishes.is_cut else None)
    except ValueError as error:  # a character that the tokenizer does not know
        raise Refusal(f"messages: {error}", "messages") from None
    if len(prompt) > last:
        remedy = "shorten the last message" if wishes.is_cut else "leave old messages out, or truncate=left does it"
        raise _too_long(prompt, model, remedy, "messages")
    request = replace(wishes.request, chat=True, logprobs=(n_top or 0) if with_logprobs else None)
    return wishes._replace(request=request).ordered(model, [prompt])


def read_completion(body: Mapping[str, Any], models: Models, settings: ServerSettings, address: str) -> Order:
    fields = Fields(body)
    model = models.find(fields.string("model"))
    given, echo, logprobs = fields.take("prompt"), fields.boolean("echo"), fields.integer("logprobs", 0, 5)
    if echo and logprobs is not None:
        raise Refusal("echo: with logprobs the prompt's would be wanted, which are not known; leave one out", "echo")
    wishes = _wishes(fields, model, settings, address, ("max_tokens",))
    best_of = fields.integer("best_of", 1, MAX_ANSWERS)
    if best_of is not None and best_of != wishes.request.n:
        raise Refusal(
            f"best_of: got {best_of}, allowed: n ({wishes.request.n}); take n= and choose yourself", "best_of"
        )
    fields.refuse_unable(UNABLE_TEXT)
    fields.refuse_rest()
    texts = _texts(given, model)
    if len(texts) * wishes.request.n > MAX_ANSWERS:
        told = f"prompt: got {len(texts)} with n={wishes.request.n}, allowed: {MAX_ANSWERS} answers in one request"
        raise Refusal(told, "prompt")
    prompts = [_encoded(text, model, wishes) for text in texts]
    echoes = [text if isinstance(text, str) else model.tokenizer.decode(text) for text in texts] if echo else []
    request = replace(wishes.request, logprobs=logprobs)
    return wishes._replace(request=request).ordered(model, prompts, echoes=tuple(echoes))


def _wishes(
    fields: Fields, model: Served, settings: ServerSettings, address: str, names_of_max: Sequence[str]
) -> _Wishes:
    top_k = fields.integer("top_k", -1, 2**31)
    top_p = fields.number("top_p", 0, 1)
    temperature = fields.number("temperature", 0, 2)
    repetition_penalty = fields.number("repetition_penalty", 0.01, 100)
    params = SamplingParams(
        temperature=settings.temperature if temperature is None else temperature,
        top_k=settings.top_k if top_k is None else top_k if top_k > 0 else None,  # 0, -1: all tokens, as elsewhere
        top_p=None if top_p is None else max(top_p, 1e-9),
        min_p=fields.number("min_p", 0, 1),
        repetition_penalty=1.0 if repetition_penalty is None else repetition_penalty,
        presence_penalty=fields.number("presence_penalty", -2, 2) or 0.0,
        frequency_penalty=fields.number("frequency_penalty", -2, 2) or 0.0,
        seed=fields.integer("seed", -(2**63), 2**63 - 1),
        stop=_stop(fields),
    )
    n = fields.integer("n", 1, MAX_ANSWERS) or 1
    # Who waits behind whom is said by the address: with a name of one's own choice one would pass all others.
    request = TextRequest((), params, n=n, logit_bias=_logit_bias(fields, model), client=address)
    given = {name: fields.integer(name, 1, model.block_size) for name in names_of_max}
    asked = {value for value in given.values() if value is not None}
    if len(asked) > 1:
        raise Refusal(f"{' and '.join(given)}: were both given, and differ; give one of them", names_of_max[0])
    truncate = fields.string("truncate")
    if truncate not in (None, "left"):
        raise fields.refuse("truncate", f"got {shown(truncate)}, allowed: left (the oldest is left out)")
    max_tokens = asked.pop() if asked else settings.default_max_tokens
    wishes = _Wishes(request, max_tokens, *_stream(fields), is_cut=truncate is not None)
    fields.ignore(HARMLESS)
    return wishes


def _stream(fields: Fields) -> tuple[bool, bool]:
    is_stream, options = fields.boolean("stream"), fields.take("stream_options")
    if options is None:
        return is_stream, False
    if not is_stream:
        raise fields.refuse("stream_options", "needs stream: true beside it")
    inner = Fields(options, "stream_options")
    with_usage = inner.boolean("include_usage")
    inner.ignore(["include_obfuscation"])
    inner.refuse_rest()
    return is_stream, with_usage


def _stop(fields: Fields) -> tuple[str, ...]:
    given = fields.take("stop")
    texts = [] if given is None else [given] if isinstance(given, str) else given
    is_right = isinstance(texts, list) and len(texts) <= MAX_STOPS and all(isinstance(text, str) for text in texts)
    if not is_right or not all(0 < len(text) <= MAX_STOP_CHARS for text in texts):
        told = f"allowed: a string, or up to {MAX_STOPS} in an array, each of 1 to {MAX_STOP_CHARS} characters"
        raise fields.refuse("stop", f"got {shown(given)}, {told}")
    return tuple(texts)


def _logit_bias(fields: Fields, model: Served) -> dict[int, float]:
    given, n = fields.take("logit_bias"), model.tokenizer.vocab_size
    if given is None:
        return {}
    inner, bias = Fields(given, "logit_bias"), {}
    for key in given:
        if not (key.isdecimal() and key.isascii() and len(key) < 10 and int(key) < n):
            raise inner.refuse(key[:20], f'is no id of a token, allowed: "0" to "{n - 1}"')
        if (value := inner.number(key, -100, 100)) is not None:
            bias[int(key)] = value
    return bias


def _texts(given: Any, model: Served) -> list[str | list[int]]:
    """One or several prompts, each as text or as ids."""
    texts = [""] if given is None else [given] if isinstance(given, str) else given
    if isinstance(texts, list) and texts and all(_is_id(item) for item in texts):
        texts = [texts]
    if not isinstance(texts, list) or not texts:
        raise Refusal(f"prompt: got {named(given)}, allowed: a text, token ids, or an array of these", "prompt")
    if len(texts) > MAX_ANSWERS:
        raise Refusal(f"prompt: got {len(texts)} prompts, allowed: {MAX_ANSWERS}", "prompt")
    n = model.tokenizer.vocab_size
    for i, text in enumerate(texts):
        where = f"prompt[{i}]"
        if isinstance(text, str):
            continue
        if not isinstance(text, list) or not text or not all(_is_id(item) for item in text):
            raise Refusal(f"{where}: got {named(text)}, allowed: a text or an array of token ids", where)
        if wrong := [item for item in (min(text), max(text)) if not 0 <= item < n]:
            raise Refusal(f"{where}: got the id {shown(wrong[0])}, allowed: 0 to {n - 1}", where)
    return texts


def _is_id(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _encoded(text: str | list[int], model: Served, wishes: _Wishes) -> list[int]:
    from nanolit.inference.generate import text_prompt

    try:
        prompt = text_prompt(model.tokenizer, text) if isinstance(text, str) else text
    except ValueError as error:
        raise Refusal(f"prompt: {str(error).removeprefix('prompt: ')}", "prompt") from None
    limit = wishes.limit(model)
    if wishes.is_cut and len(prompt) > limit:
        begin = prompt[:1] if prompt[0] == model.tokenizer.bos_id else []
        return begin + prompt[len(prompt) - limit + len(begin) :]
    if len(prompt) >= model.block_size:
        raise _too_long(prompt, model, "shorten it, or truncate=left cuts its beginning", "prompt")
    return prompt


def _too_long(prompt: Sequence[int], model: Served, remedy: str, param: str) -> Refusal:
    told = f"{param}: prompt has {len(prompt)} tokens, the context {model.block_size} with the answer; {remedy}"
    return Refusal(told, param, code="context_length_exceeded")
