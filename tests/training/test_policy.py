"""A step of reinforcement learning against the same answers gone through one by one, several tasks and a tool among
them; whatever processes share it.
"""

from types import SimpleNamespace

import pytest
import torch
from torch import Tensor

from nanolit.datamodules.prompts import PromptData
from nanolit.models.config import GPTConfig
from nanolit.models.gpt import GPT
from nanolit.tasks.task import Example, Task, TaskMixture, question_and_answer
from nanolit.tokenizers.bpe import train_bpe
from nanolit.tokenizers.chat import ASSISTANT_END
from nanolit.tokenizers.vocabulary import CHAT_SPECIALS
from nanolit.training import policy as policy_module
from nanolit.training import rollouts
from nanolit.training.policy import Policy
from nanolit.training.policy_loss import RLConfig
from nanolit.training.rollouts import Prompt, Rollouts, together

WORDS = "red blue three four house mill goat baker sells bread 6*7 42"
CONFIG = {"n_samples": 4, "max_new_tokens": 40, "top_k": None}
N_ANSWERS = 24


class Short(Task):
    """A network that has learnt nothing is right now and then."""

    kind = "generative"
    max_new_tokens = 40

    def __init__(self, question: str, tools: tuple[str, ...] = (), stop: tuple[str, ...] = (), share: float = 0.5):
        self.question, self.tools, self.stop, self.share = question, tools, stop, share

    def __len__(self) -> int:
        return 50

    def example(self, index: int) -> Example:
        return Example(question_and_answer(f"{self.question} {index}?", "red"))

    def evaluate(self, example: Example, said: str) -> bool:
        return (len(said) % 10) / 10 < self.share

    def reward(self, example: Example, said: str) -> float:
        return 0.75 * self.evaluate(example, said)


class Oracle:
    """A tool that always has something to say."""

    name = "python"

    def __call__(self, code: str) -> str:
        return "42 red"


@pytest.fixture(scope="module")
def tokenizer():
    return train_bpe([WORDS] * 3, 280, specials=CHAT_SPECIALS)


@pytest.fixture(autouse=True)
def tools(monkeypatch):
    monkeypatch.setattr(rollouts, "tools_by_name", lambda names: [Oracle()] if names else [])


def network_for(tokenizer) -> GPT:
    """Says anything; what it reads has a common part, by which it says more often what ends answers and calls tools."""
    torch.manual_seed(0)
    shape = {"block_size": 96, "n_layer": 2, "n_head": 2, "n_embd": 32, "tie_embeddings": False, "norm": "rmsnorm"}
    network = GPT(GPTConfig(vocab_size=tokenizer.vocab_size, **shape))
    with torch.no_grad():
        network.token_embedding.weight.normal_().add_(1)
        network.head.weight.normal_(std=0.2)
        for name in ("<|python_start|>", "<|python_end|>", ASSISTANT_END):
            network.head.weight[tokenizer.specials[name]] += 0.12
    return network


def module_of(network, tokenizer, config, micro=N_ANSWERS, world=1, rank=0) -> Policy:
    module = Policy(
        network,
        rl=config,
        tokenizer=tokenizer,
        micro_batch_size=micro,
        optimizer=lambda named: torch.optim.SGD([p for _, p in named]),
        schedule=lambda step: 1.0,
        byte_lengths=torch.zeros(1),
        tokens_per_step=1,
        seed=3,
    )
    strategy = SimpleNamespace(reduce=lambda values, reduce_op: values)
    module._trainer = SimpleNamespace(  # type: ignore[assignment]
        accumulate_grad_batches=N_ANSWERS // micro // world, world_size=world, global_rank=rank, strategy=strategy
    )
    return module


def data_of(tokenizer, config, tasks, micro=N_ANSWERS) -> PromptData:
    mixture = TaskMixture(tasks, [task.question for task in tasks])
    return PromptData(mixture, tokenizer, 96, N_ANSWERS, micro, config.n_samples, config.resample, 3, Prompt)


def both_tasks() -> list[Task]:
    return [Short("How much is", tools=("oracle",)), Short("Who sells", share=0.3)]


def gradient(network) -> Tensor:
    return torch.cat([p.grad.flatten() for p in network.parameters()])


def by_hand(network, answers) -> Tensor:
    """REINFORCE, each answer alone in plain autograd: the log-probability of what was drawn, nothing of what a tool has
    said, times how much better it was than its group."""
    network.zero_grad()
    total, n_drawn = torch.zeros(()), 0
    for group in answers:
        mean = sum(answer.reward for answer in group) / len(group)
        for answer in group:
            before = len(answer.prompt.ids)
            ids = torch.tensor([[*answer.prompt.ids, *answer.ids]])
            found = network(ids[:, :-1])[0].log_softmax(-1)  # (T, V)
            for at, (token, is_drawn) in enumerate(zip(answer.ids, answer.is_drawn, strict=True)):
                if is_drawn:
                    total = total + (answer.reward - mean) * found[before + at - 1, token]
                    n_drawn += 1
    (-total / n_drawn).backward()
    return gradient(network)


@pytest.mark.parametrize("micro", [N_ANSWERS, 4])
def test_the_gradient_is_that_of_every_answer_by_hand(tokenizer, micro):
    config, network = RLConfig(**CONFIG), network_for(tokenizer)
    module = module_of(network, tokenizer, config, micro)
    prompts = data_of(tokenizer, config, both_tasks()).prompts_of(0, 0, 1)
    for part in range(N_ANSWERS // micro):
        batch = {"step": 0, "part": part, "prompts": prompts if part == 0 else []}
        (module.training_step(batch, part) / (N_ANSWERS // micro)).backward()
    found = gradient(network)
    answers = [answer for group in module.answers for answer in group]
    assert len({answer.prompt.task_name for answer in answers}) == 2, "both tasks are asked"
    forced = [answer for answer in answers if not all(answer.is_drawn)]
    assert forced and {answer.prompt.task_name for answer in forced} == {"How much is"}, "a tool has spoken, in one"
    assert any(a.ids[-1] == tokenizer.specials[ASSISTANT_END] and a.is_drawn[-1] for a in answers), "the end is learnt"
    wanted = by_hand(network, module.answers)
    assert wanted.norm() > 1e-3
    assert (found - wanted).norm() < 1e-4 * wanted.norm()
    assert max(float(told.get("rl/logprob_gap_max", 0)) for told in module.more_metrics) < 1e-4


def test_processes_share_a_step_of_one(tokenizer):
    """What is drawn, learnt and counted is the same, however many processes there are."""
    config = RLConfig(**CONFIG, resample=1, clip_low=0.2, updates_per_rollout=2)
    found, said = [], []
    for world in (1, 2):
        network = network_for(tokenizer)
        modules = [module_of(network, tokenizer, config, N_ANSWERS // world, world, rank) for rank in range(world)]
        data = data_of(tokenizer, config, both_tasks())
        for rank, module in enumerate(modules):
            module._roll_out(data.prompts_of(0, rank, world), 0)
        counts = tuple(sum(module._counts[i] for module in modules) for i in range(2))
        for module in modules:
            module._counts = counts  # what the processes tell each other
            (module.training_step({"step": 1, "part": 0, "prompts": []}, 0) / world).backward()
        found.append(gradient(network))
        said.append([[answer.ids for answer in group] for module in modules for group in module.answers])
    assert said[0] == said[1]
    assert (found[0] - found[1]).norm() < 1e-5 * found[0].norm() and found[0].norm() > 1e-4


def test_groups_that_teach_nothing_are_asked_something_else(tokenizer):
    config, network = RLConfig(**CONFIG, resample=2), network_for(tokenizer)
    data = data_of(tokenizer, config, [Short("Who sells", share=0.2)])
    module, without = (module_of(network, tokenizer, c) for c in (config, RLConfig(**CONFIG)))
    without._roll_out(data.prompts_of(0, 0, 1)[:6], 0)
    module._roll_out(data.prompts_of(0, 0, 1), 0)
    first = [[answer.ids for answer in group] for group in without.answers]
    dull = [len({answer.reward for answer in group}) == 1 for group in without.answers]
    assert any(dull) and not all(dull)
    for place, (group, was_dull) in enumerate(zip(module.answers, dull, strict=True)):
        assert (group[0].prompt.place != place) == was_dull and group[0].prompt.place % 6 == place
        assert ([answer.ids for answer in group] == first[place]) == (not was_dull)
    told = module.more_metrics[-1]
    assert told["rl/zero_variance"] == sum(dull) / 6 > told["rl/zero_variance_left"]
    assert told["rl/reward"] == without.more_metrics[-1]["rl/reward"], "of the questions as they came"


def test_pass_at_k_is_of_verdicts_and_not_of_rewards(tokenizer):
    module = module_of(network_for(tokenizer), tokenizer, config := RLConfig(**CONFIG))
    module._roll_out(data_of(tokenizer, config, both_tasks()).prompts_of(0, 0, 1), 0)
    told = module.more_metrics[-1]
    assert told["rl/pass@1"] == pytest.approx(told["rl/reward"] / 0.75) and told["rl/pass@1"] > 0


def test_a_task_says_what_ends_an_answer(tokenizer):
    config = RLConfig(**CONFIG)
    module = module_of(network_for(tokenizer), tokenizer, config)
    module._roll_out(data_of(tokenizer, config, [Short("Who sells", stop=("e",))]).prompts_of(0, 0, 1), 0)
    answers = [answer for group in module.answers for answer in group]
    assert not any("e" in answer.text for answer in answers)
    stopped = [answer for answer in answers if "e" in tokenizer.decode(answer.ids)]
    assert stopped and all(answer.is_whole for answer in stopped)


def test_what_is_drawn_from_something_else_is_told(tokenizer):
    network = network_for(tokenizer)
    for more, is_policy in (({}, True), ({"temperature": 0.7}, False), ({"top_k": 5}, False)):
        config = RLConfig(**{**CONFIG, **more})
        module = module_of(network, tokenizer, config)
        module._roll_out(data_of(tokenizer, config, both_tasks()).prompts_of(0, 0, 1), 0)
        kl = module.more_metrics[-1]["rl/sampler_kl"]
        assert abs(kl) < 1e-5 if is_policy else kl > 0.01


def test_answers_of_all_processes_are_saved_and_shared_anew(tokenizer, monkeypatch):
    config = RLConfig(**CONFIG, clip_low=0.2, updates_per_rollout=2)
    network, data = network_for(tokenizer), data_of(tokenizer, config, both_tasks())
    modules = [module_of(network, tokenizer, config, N_ANSWERS // 2, 2, rank) for rank in range(2)]
    for rank, module in enumerate(modules):
        module._roll_out(data.prompts_of(0, rank, 2), 0)
        module._trainer.global_step = 1
    rows = [module._rollouts for module in modules]

    def gather(everyones, mine):
        everyones[:] = [each.state() for each in rows]

    monkeypatch.setattr(policy_module.torch.distributed, "all_gather_object", gather)
    monkeypatch.setattr(policy_module.LanguageModel, "on_save_checkpoint", lambda self, checkpoint: None)
    monkeypatch.setattr(policy_module.LanguageModel, "on_load_checkpoint", lambda self, checkpoint: None)
    checkpoint: dict = {}
    modules[0].on_save_checkpoint(checkpoint)
    for world in (1, 2, 3):
        loaded = [module_of(network, tokenizer, config, N_ANSWERS // world, world, rank) for rank in range(world)]
        for module in loaded:
            module.on_load_checkpoint(checkpoint)
        shares = [module._rollouts for module in loaded]
        assert total(shares) == total(rows)
        if world == 2:
            assert all(torch.equal(a.inputs, b.inputs) for a, b in zip(shares, rows, strict=True))


def total(shares: list[Rollouts]) -> list[tuple]:
    """All rows, in any order."""
    one = together(shares)
    tensors = one.inputs, one.targets, one.advantages, one.times
    rows = zip(*(values.tolist() for values in tensors), one.lengths, strict=True)
    return sorted((tuple(ids[:n]), tuple(targets[:n]), gain, times) for ids, targets, gain, times, n in rows if times)
