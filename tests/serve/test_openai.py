"""The official client of OpenAI, unchanged, against the real server over real models."""

import asyncio
import json
from concurrent.futures import ThreadPoolExecutor

import pytest

from nanolit.inference.generate import generate, generate_ids
from nanolit.inference.load import load
from nanolit.inference.params import EngineSettings, SamplingParams
from nanolit.inference.worker import Worker
from nanolit.tokenizers.chat import ASSISTANT_END, render_prompt

openai = pytest.importorskip("openai", reason="needs openai: pip install -e '.[dev]'")


@pytest.fixture(scope="module")
def models(chat_model, base_model):
    return {"chatty": load(chat_model, "cpu"), "village": load(base_model, "cpu")}


@pytest.fixture(scope="module")
def client(models, serving, served):
    settings = EngineSettings(n_slots=4)
    workers = {name: Worker(*pair, settings=settings, name="cpu") for name, pair in models.items()}
    yield serving(*(served(name, worker) for name, worker in workers.items())).openai()
    for worker in workers.values():
        worker.close(timeout_s=0)


def user(text):
    return [{"role": "user", "content": text}]


def ask(client, text, **more):
    return client.chat.completions.create(model="chatty", messages=user(text), **{"temperature": 0, **more})


def greedy(models, text, **params):
    """What the answer must be, by a way that knows no server."""
    model, tokenizer = models["chatty"]
    prompt, end = render_prompt(user(text), tokenizer), tokenizer.specials[ASSISTANT_END]
    params = SamplingParams(temperature=0, **params)
    return prompt, [token for (token,) in generate_ids(model, prompt, params, [end]) if token is not None]


def test_the_models_are_listed(client):
    assert [model.id for model in client.models.list()] == ["chatty", "village"]
    one = client.models.retrieve("village")
    assert (one.object, one.context_length, one.chat) == ("model", 64, False)


def test_an_answer(client, models):
    prompt, ids = greedy(models, "Hello")
    answer = ask(client, "Hello")
    (choice,) = answer.choices
    assert choice.message.content == models["chatty"][1].decode(ids) == "Hello! How can I help you?"
    assert (choice.index, choice.finish_reason, choice.message.role) == (0, "stop", "assistant")
    assert (answer.object, answer.model, answer.id[:9]) == ("chat.completion", "chatty", "chatcmpl-")
    usage = answer.usage
    assert (usage.prompt_tokens, usage.completion_tokens) == (len(prompt), len(ids) + 1)
    assert usage.total_tokens == usage.prompt_tokens + usage.completion_tokens
    assert 0 <= usage.prompt_tokens_details.cached_tokens < len(prompt)


def test_a_stream(client, chats):
    chunks = list(ask(client, "Say something nice", stream=True, stream_options={"include_usage": True}))
    assert chunks[0].choices[0].delta.role == "assistant" and chunks[0].choices[0].delta.content == ""
    told = [chunk.choices[0] for chunk in chunks if chunk.choices]
    texts = [choice.delta.content or "" for choice in told]
    assert "".join(texts) == dict(chats)["Say something nice"] and len(texts) > 10
    assert not any("�" in text for text in texts)
    assert [choice.finish_reason for choice in told if choice.finish_reason] == ["stop"]
    assert chunks[-1].choices == [] and chunks[-1].usage.completion_tokens > 10
    assert all(chunk.usage is None for chunk in chunks[:-1])
    assert len({chunk.id for chunk in chunks}) == 1 and chunks[0].object == "chat.completion.chunk"


def test_a_tool_call_is_visible(client):
    message = ask(client, "What is 6*7?").choices[0].message
    assert message.content == "I calculate. It is 42."
    parts = [("text", "I calculate. "), ("python", "6*7"), ("python_output", "42"), ("text", "It is 42.")]
    assert message.parts == [{"type": kind, "text": text} for kind, text in parts]

    seen: list[tuple[str, str]] = []
    for chunk in ask(client, "What is 6*7?", stream=True):
        for choice in chunk.choices:
            part = getattr(choice.delta, "part", None)
            kind, text = (part["type"], part["text"]) if part else ("text", choice.delta.content or "")
            assert not (part and choice.delta.content)
            seen[-1:] = [(kind, seen[-1][1] + text)] if seen and seen[-1][0] == kind else [*seen[-1:], (kind, text)]
    assert seen == parts


def test_the_clients_own_way_to_gather_a_stream(client):
    asked = {"model": "chatty", "messages": user("What is 6*7?"), "temperature": 0}
    with client.chat.completions.stream(**asked) as stream:
        texts = [event.delta for event in stream if event.type == "content.delta"]
        final = stream.get_final_completion()
    assert "".join(texts) == final.choices[0].message.content == "I calculate. It is 42."
    assert final.choices[0].finish_reason == "stop"


def test_the_asynchronous_client(client):
    async def ask_all():
        async with openai.AsyncOpenAI(base_url=client.base_url, api_key="none", max_retries=0) as one:
            asked = {"model": "chatty", "messages": user("Hello"), "temperature": 0}
            return await asyncio.gather(*(one.chat.completions.create(**asked) for _ in range(8)))

    with ThreadPoolExecutor(1) as thread:  # in this one the browser of other tests may have left a loop
        found = thread.submit(lambda: asyncio.run(ask_all())).result()
    answers = [answer.choices[0].message.content for answer in found]
    assert answers == ["Hello! How can I help you?"] * 8


def test_an_answer_with_parts_goes_back_into_the_history(client):
    first = ask(client, "What is 6*7?").choices[0].message
    history = [*user("What is 6*7?"), first.to_dict(), *user("And then?")]
    again = client.chat.completions.create(model="chatty", messages=history, temperature=0)
    assert again.choices[0].message.content == "Then she sleeps."


def test_stop_and_length(client, chats):
    answer = ask(client, "Tell me a story", stop=["river", "never"]).choices[0]
    assert answer.message.content == dict(chats)["Tell me a story"].partition("river")[0]
    assert answer.finish_reason == "stop"
    answer = ask(client, "Tell me a story", max_completion_tokens=3)
    assert (answer.choices[0].finish_reason, answer.usage.completion_tokens) == ("length", 3)
    assert dict(chats)["Tell me a story"].startswith(answer.choices[0].message.content)


def test_several_answers_and_a_seed(client):
    wild = {"temperature": 2, "n": 3, "max_tokens": 12, "extra_body": {"top_k": 0}}
    answers = [[c.message.content for c in ask(client, "Hello", seed=seed, **wild).choices] for seed in (5, 5, 6)]
    assert answers[0] == answers[1] != answers[2]
    assert len(set(answers[0])) == 3
    streamed = ["", "", ""]
    for chunk in ask(client, "Hello", seed=5, stream=True, **wild):
        for choice in chunk.choices:
            streamed[choice.index] += choice.delta.content or ""
    assert streamed == answers[0]


def test_log_probabilities(client, models):
    _, ids = greedy(models, "Hello")
    choice = ask(client, "Hello", logprobs=True, top_logprobs=2).choices[0]
    entries, tokenizer = choice.logprobs.content, models["chatty"][1]
    assert [entry.token for entry in entries] == [tokenizer.decode([token]) for token in ids]
    assert bytes(b for entry in entries for b in entry.bytes).decode() == choice.message.content
    for entry in entries:
        assert len(entry.top_logprobs) == 2
        assert entry.top_logprobs[0].token == entry.token and entry.top_logprobs[0].logprob == entry.logprob
        assert entry.logprob <= 0 and entry.sampled_logprob == 0  # greedy draws from one token
    streamed = [
        entry.token
        for chunk in ask(client, "Hello", logprobs=True, stream=True)
        for choice in chunk.choices
        if choice.logprobs
        for entry in choice.logprobs.content
    ]
    assert streamed == [entry.token for entry in entries]


def test_a_text_is_continued(client, models):
    expected = generate(*models["village"], "Once", SamplingParams(temperature=0, max_new_tokens=20))[0]
    asked = {"model": "village", "prompt": "Once", "temperature": 0, "max_tokens": 20}
    answer = client.completions.create(**asked)
    assert answer.choices[0].text == expected and answer.object == "text_completion"
    assert answer.usage.completion_tokens == 20 and answer.choices[0].finish_reason == "length"
    assert "".join(chunk.choices[0].text for chunk in client.completions.create(**asked, stream=True)) == expected
    assert client.completions.create(**asked, echo=True).choices[0].text == f"Once{expected}"
    ids = models["village"][1].encode("Once")
    assert client.completions.create(**{**asked, "prompt": ids}).choices[0].text == expected


def test_several_prompts(client, models):
    params = SamplingParams(temperature=0, max_new_tokens=6)
    expected = [generate(*models["village"], prompt, params)[0] for prompt in ("Once", "The")]
    asked = {"model": "village", "prompt": ["Once", "The"], "temperature": 0, "max_tokens": 6, "n": 2}
    answer = client.completions.create(**asked)
    assert [choice.text for choice in answer.choices] == [text for text in expected for _ in range(2)]
    assert [choice.index for choice in answer.choices] == [0, 1, 2, 3]


def test_log_probabilities_of_a_text(client):
    asked = {"model": "village", "prompt": "Once", "temperature": 0, "max_tokens": 8, "logprobs": 3}
    choice = client.completions.create(**asked).choices[0]
    told = choice.logprobs
    assert len(told.tokens) == len(told.token_logprobs) == len(told.text_offset) == len(told.top_logprobs) == 8
    assert told.text_offset[0] == 0 and sorted(told.text_offset) == told.text_offset
    assert [max(top.values()) for top in told.top_logprobs] == told.token_logprobs
    assert {len(top) for top in told.top_logprobs} == {3}


def test_a_logit_bias(client):
    asked = {"model": "village", "prompt": "Once", "temperature": 0, "max_tokens": 3, "logit_bias": {"33": 100}}
    assert client.completions.create(**asked).choices[0].text == "!!!"


@pytest.mark.parametrize("stream", [False, True])
def test_errors_are_those_that_the_client_knows(client, stream):
    with pytest.raises(openai.NotFoundError) as error:
        client.chat.completions.create(model="gpt-4", messages=user("Hi"), stream=stream)
    assert (error.value.code, error.value.param) == ("model_not_found", "model")
    with pytest.raises(openai.BadRequestError, match="base model, without chat tokens") as error:
        client.chat.completions.create(model="village", messages=user("Hi"), stream=stream)
    assert error.value.type == "invalid_request_error"
    with pytest.raises(openai.BadRequestError, match=r"prompt has \d\d\d tokens, the context 256 with the answer"):
        ask(client, "no " * 400, stream=stream)


def test_a_prompt_is_cut_on_request(client):
    history = [*user("no " * 400), {"role": "assistant", "content": "No."}, *user("Hello")]
    asked = {"model": "chatty", "messages": history, "temperature": 0, "extra_body": {"truncate": "left"}}
    answer = client.chat.completions.create(**asked)
    assert answer.choices[0].message.content == "Hello! How can I help you?"
    text = client.completions.create(model="village", prompt="a" * 200, max_tokens=4, extra_body={"truncate": "left"})
    assert text.usage.prompt_tokens == 60 and text.usage.completion_tokens == 4


def test_other_clients_send_the_same(client):
    """What the client leaves as it was can be read by anything: names of the fields, by hand."""
    raw = client.chat.completions.with_raw_response.create(model="chatty", messages=user("Hello"), temperature=0)
    told = json.loads(raw.http_response.content)
    assert list(told) == ["id", "object", "created", "model", "system_fingerprint", "choices", "usage"]
    assert list(told["choices"][0]) == ["index", "message", "logprobs", "finish_reason"]
