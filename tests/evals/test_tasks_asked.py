"""Tasks, asked and judged: equal to a plain forward of one prompt at a time, whatever the batch size, in both templates
and for networks of others.
"""

import json
import math
import random
from dataclasses import replace

import pytest
import torch

from nanolit.evals.asking import AskConfig
from nanolit.evals.categorical import letter_logprobs, n_common
from nanolit.evals.prompts import Chat, Completion, cropped, make_prompts
from nanolit.evals.score_task import TaskResult, choose_shots, score_task
from nanolit.inference.load import load
from nanolit.models.config import GPTConfig
from nanolit.models.gpt import GPT
from nanolit.tasks.task import Example, Task, question_and_answer, render_choices
from nanolit.tokenizers.byte import ByteTokenizer
from nanolit.tokenizers.chat import render

LETTERS = ("A", "B", "C", "D")


class Quiz(Task):
    """Multiple choice; the questions are of very unlike lengths."""

    kind, by_chance = "categorical", 0.25

    def __init__(self, n: int = 40, seed: int = 0) -> None:
        self.n, self.seed = n, seed

    def __len__(self) -> int:
        return self.n

    def example(self, index: int) -> Example:
        draw = random.Random(f"{self.seed} {index}")
        question = "Who is it" + "?" * draw.randrange(1, 60)
        choices = list(zip(LETTERS, draw.sample("abcdefgh", 4), strict=True))
        right = draw.choice(LETTERS)
        return Example(question_and_answer(render_choices(question, choices), right), LETTERS, right)

    def evaluate(self, example: Example, said: str) -> bool:
        return said == example.answer


class Recital(Task):
    """What `chat_model` knows by heart."""

    kind, max_new_tokens, tools = "generative", 150, ("calculator",)

    def __init__(self, chats) -> None:
        self.chats = chats

    def __len__(self) -> int:
        return len(self.chats)

    def example(self, index: int) -> Example:
        return Example(question_and_answer(*self.chats[index]))

    def evaluate(self, example: Example, said: str) -> bool:
        content = example.messages[-1]["content"]
        told = content if isinstance(content, str) else "".join(p["text"] for p in content if p["type"] == "text")
        return said == told

    def scores(self, example: Example, said: str) -> dict[str, bool]:
        return {"strict": self.evaluate(example, said), "lenient": bool(said)}


@pytest.fixture(scope="module")
def chatting(chat_model):
    return load(chat_model, "cpu")


@pytest.fixture(scope="module")
def plain():
    """Of bytes, at random, with learned positions."""
    torch.manual_seed(0)
    return GPT(GPTConfig(vocab_size=257, block_size=512, n_layer=2, n_head=2, n_embd=32)).eval(), ByteTokenizer()


@pytest.fixture(scope="module")
def looking_back():
    """Its embeddings look at the token before, which a slot must remember; some layers see little."""
    torch.manual_seed(0)
    parts = {"smear": True, "bigram_rows": 999, "window_pattern": "SL", "window": 16, "position": "rope"}
    network = GPT(GPTConfig(vocab_size=257, block_size=512, n_layer=2, n_head=2, n_embd=32, **parts)).eval()
    for parameter in network.parameters():
        parameter.data += 0.1 * torch.randn_like(parameter)  # gates that begin shut are open
    return network, ByteTokenizer()


@pytest.fixture(scope="module")
def foreign():
    """One that only transformers computes."""
    transformers = pytest.importorskip("transformers")
    from nanolit.interop.causal_lm import CausalLM

    torch.manual_seed(0)
    size = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
    config = transformers.GPTNeoXConfig(vocab_size=257, max_position_embeddings=512, initializer_range=0.3, **size)
    return CausalLM(transformers.GPTNeoXForCausalLM(config)).eval(), ByteTokenizer()


def one_at_a_time(network, prompt: list[int], letter_ids: list[int]) -> torch.Tensor:
    """No cache, no padding, no neighbour."""
    with torch.no_grad():
        return network.forward(torch.tensor([prompt]))[0, -1, letter_ids].double().log_softmax(-1)


@pytest.mark.parametrize("which", ["chatting", "plain", "looking_back", "foreign"])
@pytest.mark.parametrize("batch_size", [1, 7, 32])
def test_letters_equal_a_plain_forward_of_each_prompt(request, which, batch_size):
    network, tokenizer = request.getfixturevalue(which)
    task = Quiz()
    config = AskConfig(batch_size=batch_size)
    result = score_task(network, tokenizer, "quiz", task, config)
    prompts = make_prompts(tokenizer, "auto")
    for item, example in zip(result.items, task, strict=True):
        oracle = one_at_a_time(network, prompts.ids(example), prompts.letter_ids(example))
        found = torch.tensor([item.details["logprobs"][letter] for letter in LETTERS], dtype=torch.float64)
        assert torch.allclose(found, oracle, atol=1e-5)
        assert item.answers == (LETTERS[oracle.argmax()],)
        assert item.verdicts == ({"accuracy": item.answers[0] == example.answer},)
    score = result.scores[0]
    assert score.value == sum(item.verdicts[0]["accuracy"] for item in result.items) / len(task)
    assert score.standard_error == pytest.approx(math.sqrt(score.value * (1 - score.value) / (len(task) - 1)))
    assert (score.metric, score.n, score.by_chance, score.shots) == ("accuracy", 40, 0.25, 0)
    assert score.centred == pytest.approx((score.value - 0.25) / 0.75)


@pytest.mark.parametrize("which", ["plain", "looking_back"])
def test_a_common_beginning_changes_nothing(request, which):
    network, tokenizer = request.getfixturevalue(which)
    shots = [*Quiz(3, seed=1)]
    prompts = Completion(tokenizer, shots)
    ids = [cropped(prompts.ids(example), 512) for example in Quiz(9)]
    ids = [[*ids[0][:100], *prompt[-50:]] for prompt in ids]
    assert n_common(ids) >= 100
    letters = [[65, 66, 67]] * len(ids)
    found = letter_logprobs(network, ids, letters, 4)
    for prompt, logprobs in zip(ids, found, strict=True):
        oracle = one_at_a_time(network, prompt, letters[0])
        assert torch.allclose(torch.tensor(logprobs).double(), oracle, atol=1e-5)


def test_n_common_is_the_naive_one():
    draw = random.Random(0)
    for _ in range(300):
        prompts = [[draw.randrange(2) for _ in range(draw.randrange(1, 8))] for _ in range(draw.randrange(1, 4))]
        naive = 0
        while all(len(p) > naive + 1 and p[naive] == prompts[0][naive] for p in prompts):
            naive += 1
        assert n_common(prompts) == naive


# Answers


@pytest.mark.parametrize("batch_size", [1, 3, 32])
def test_answers_are_what_was_learnt(chatting, chats, batch_size):
    network, tokenizer = chatting
    result = score_task(network, tokenizer, "recital", Recital(chats), AskConfig(batch_size=batch_size))
    assert [(score.metric, score.value) for score in result.scores] == [("strict", 1.0), ("lenient", 1.0)]
    assert result.n_cut_off == result.n_cropped == 0
    assert all(item.details == {"ended": ["stop"]} for item in result.items)


def test_a_tool_is_asked_and_left_out_of_what_is_judged(chatting, chats):
    network, tokenizer = chatting
    result = score_task(network, tokenizer, "recital", Recital(chats[3:5]), AskConfig())
    assert [item.answers for item in result.items] == [("I calculate. It is 42.",), ("There are 3.",)]


def test_greedy_answers_equal_the_plain_loop(plain):
    """No engine: the whole text through the network for each token."""
    network, tokenizer = plain
    task = Recital([("Hello" + "o" * i, "x") for i in range(5)])
    found = score_task(network, tokenizer, "r", task, AskConfig(max_new_tokens=12, batch_size=3))
    for item, example in zip(found.items, task, strict=True):
        ids = Completion(tokenizer).ids(example)
        n = len(ids)
        for _ in range(12):
            with torch.no_grad():
                ids.append(int(network.forward(torch.tensor([ids]))[0, -1].argmax()))
        assert item.answers[0] == Completion(tokenizer).said(ids[n:])
    assert found.n_cut_off == 5


def test_drawn_answers_do_not_depend_on_who_is_asked_beside(chatting, chats):
    network, tokenizer = chatting
    task = Recital(chats)
    config = AskConfig(n_samples=3, temperature=1.5, max_new_tokens=10)
    all_at_once = score_task(network, tokenizer, "r", task, replace(config, batch_size=32))
    one_by_one = score_task(network, tokenizer, "r", task, replace(config, batch_size=1))
    assert [i.answers for i in all_at_once.items] == [i.answers for i in one_by_one.items]
    part = score_task(network, tokenizer, "r", task, config, indices=[2, 5])
    assert [i.answers for i in part.items] == [all_at_once.items[i].answers for i in (2, 5)]
    other = score_task(network, tokenizer, "r", task, replace(config, seed=1))
    assert [i.answers for i in other.items] != [i.answers for i in all_at_once.items]
    assert len({answer for item in all_at_once.items for answer in item.answers}) > len(task), "samples differ"


def test_pass_at_k_over_samples(chatting, chats):
    network, tokenizer = chatting
    config = AskConfig(n_samples=4, temperature=2.0, max_new_tokens=4, pass_at=(1, 2, 4))
    result = score_task(network, tokenizer, "r", Recital(chats), config)
    assert [s.metric for s in result.scores[:3]] == ["strict pass@1", "strict pass@2", "strict pass@4"]
    counts = [sum(v["strict"] for v in item.verdicts) for item in result.items]
    assert result.scores[0].value == pytest.approx(sum(counts) / (4 * len(counts)))
    assert result.scores[2].value == pytest.approx(sum(c > 0 for c in counts) / len(counts))


def test_a_base_model_stops_before_it_asks_itself(plain):
    _, tokenizer = plain

    class Parrot(torch.nn.Module):
        """Goes on with a text that it knows, wherever it is."""

        text = " forty-two\n\nQuestion: And 6*8?\nAnswer: 48"

        def __init__(self, start: int) -> None:
            super().__init__()
            self.config, self.start = GPTConfig(vocab_size=257, block_size=128, n_layer=1, n_head=1, n_embd=8), start
            self.weight = torch.nn.Parameter(torch.zeros(1))

        def forward(self, ids, targets=None, cache=None, last_only=False, documents=None):
            at = cache.append(ids).size(1) - self.start
            logits = torch.zeros(1, 1, 257)
            logits[0, 0, self.text.encode()[at % len(self.text)]] = 1
            return logits

        def new_cache(self, batch, max_len):
            from nanolit.interop.token_cache import TokenCache

            return TokenCache()

    task = Recital([("6*7?", "forty-two")])
    network = Parrot(len(Completion(tokenizer).ids(task[0])))
    result = score_task(network, tokenizer, "r", task, AskConfig(max_new_tokens=40))
    assert result.items[0].answers == ("forty-two",) and result.items[0].details == {"ended": ["stop"]}
    assert result.scores[0].value == 1


# Prompts


def test_a_chat_prompt_and_its_answer_are_the_rendered_conversation(chatting, chats):
    _, tokenizer = chatting
    shots = [Example(question_and_answer(*chat)) for chat in chats[:2]]
    for chat in chats[2:]:
        example = Example(question_and_answer(*chat))
        whole = render([m for e in (*shots, example) for m in e.messages], tokenizer).ids.tolist()
        prompt = Chat(tokenizer, shots).ids(example)
        assert whole[: len(prompt)] == prompt
        assert tokenizer.decode([prompt[-1]]) == "<|assistant_start|>"


def test_a_completion_prompt_is_text(plain):
    _, tokenizer = plain
    prompts = Completion(tokenizer, [Example(question_and_answer("1+1?", "2"))])
    ids = prompts.ids(Example(question_and_answer("2+2?", "4")))
    assert tokenizer.decode(ids) == "Question: 1+1?\nAnswer: 2\n\nQuestion: 2+2?\nAnswer:"
    assert tokenizer.decode(prompts.ids(Quiz()[0])).endswith("letter of the correct answer.\nAnswer: ")


def test_letters_of_gpt2_follow_a_space(tiktoken_cache):
    from nanolit.tokenizers.tiktoken_bpe import TiktokenTokenizer

    tokenizer = TiktokenTokenizer.from_name("gpt2")
    prompts = Completion(tokenizer)
    assert [tokenizer.decode([token]) for token in prompts.letter_ids(Quiz()[0])] == [" A", " B", " C", " D"]
    assert tokenizer.decode(prompts.ids(Quiz()[0])).endswith("answer.\nAnswer:")


def test_prompts_are_hashed_by_what_is_asked(chatting, plain):
    def hash_of(network, tokenizer, task, **more) -> str:
        return score_task(network, tokenizer, "q", task, AskConfig(**more)).scores[0].prompt_hash

    assert hash_of(*chatting, Quiz(4)) == hash_of(*chatting, Quiz(4), batch_size=1) != hash_of(*chatting, Quiz(5))
    assert hash_of(*chatting, Quiz(4)) != hash_of(*chatting, Quiz(4), template="completion")
    assert hash_of(*chatting, Quiz(4), template="completion") == hash_of(*plain, Quiz(4))


def test_cropping_keeps_the_first_and_the_last():
    assert cropped([1, 2, 3, 4, 5], 5) == [1, 2, 3, 4, 5]
    assert cropped([1, 2, 3, 4, 5], 3) == [1, 4, 5]
    assert cropped([1, 2, 3], 1) == [1]


def test_what_is_too_long_is_cropped_and_counted(base_model):
    """64 bytes are all that it reads."""
    network, tokenizer = load(base_model, "cpu")
    result = score_task(network, tokenizer, "quiz", Quiz(3), AskConfig())
    prompts = make_prompts(tokenizer, "auto")
    for item, example in zip(result.items, Quiz(3), strict=True):
        oracle = one_at_a_time(network, cropped(prompts.ids(example), 64), prompts.letter_ids(example))
        assert item.answers == (LETTERS[oracle.argmax()],)
    assert result.n_cropped == 3
    written = score_task(network, tokenizer, "r", Recital([("Hello" * 30, "x"), ("Hi", "x")]), AskConfig())
    assert written.n_cropped == 1 and written.n_cut_off == 2


def test_results_are_json(chatting, chats):
    result = score_task(*chatting, "r", Recital(chats[:2]), AskConfig())
    assert isinstance(result, TaskResult)
    assert json.loads(json.dumps([score.as_json() for score in result.scores]))[0]["template"].startswith("chat")


# What cannot be


class Talk(Quiz):
    kind = "chat"


class Numbers(Quiz):
    def example(self, index: int) -> Example:
        return Example(question_and_answer("Which?", "abra"), ("abra", "cadabra"), "abra")


class Twins(Quiz):
    def example(self, index: int) -> Example:
        return Example(question_and_answer("Which?", "A"), ("A", "A"), "A")


@pytest.mark.parametrize(
    ("task", "config", "told"),
    [
        (Talk(), {}, "task.t: is only learnt from, its answers have no score"),
        (Numbers(), {}, "letters: abra, cadabra are not single tokens of this tokenizer (byte, 257 ids)"),
        (Twins(), {}, "letters: A, A are not single tokens"),
        (Quiz(), {"template": "chat"}, "template: got chat, but the model's tokenizer has no chat tokens"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Task) else "",
)
def test_what_cannot_be_asked_is_one_line(plain, task, config, told):
    with pytest.raises(ValueError) as refused:
        score_task(*plain, "t", task, AskConfig(**config))
    assert told in str(refused.value) and "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("config", "told"),
    [
        ({"shots": -1}, "shots: got -1, must be at least 0"),
        ({"n_samples": 0}, "n_samples: got 0"),
        ({"n_samples": 4}, "n_samples: got 4, at temperature=0 all are the same; give temperature=1"),
        ({"n_samples": 4, "temperature": 1.0, "pass_at": (5,)}, "pass_at: got 5, allowed: 1 to n_samples=4"),
        ({"pass_at": (0,)}, "pass_at: got 0"),
        ({"batch_size": 0}, "batch_size: got 0"),
    ],
)
def test_settings_that_cannot_be(config, told):
    with pytest.raises(ValueError, match=told.replace("(", r"\(")):
        AskConfig(**config)


def test_shots_are_never_what_is_asked(plain):
    with pytest.raises(ValueError, match="would be asked with its answer before it"):
        score_task(*plain, "q", Quiz(5), AskConfig(), shots=choose_shots("q", Quiz(5), 2, 0))
    shots = choose_shots("q", Quiz(50, seed=1), 2, 0)
    assert shots == choose_shots("q", Quiz(50, seed=1), 2, 0) != choose_shots("q", Quiz(50, seed=1), 2, 1)
    score = score_task(*plain, "q", Quiz(5), AskConfig(), shots=shots).scores[0]
    assert score.shots == 2 and "shots before" in score.template
    with pytest.raises(ValueError, match=r"shots: got 6, the train split of task\.q has 5 examples"):
        choose_shots("q", Quiz(5), 6, 0)


def test_damaged_weights_give_no_score(plain):
    import copy

    network = copy.deepcopy(plain[0])
    network.token_embedding.weight.data.fill_(math.nan)
    with pytest.raises(ValueError, match="have no probabilities"):
        score_task(network, plain[1], "q", Quiz(2), AskConfig())
