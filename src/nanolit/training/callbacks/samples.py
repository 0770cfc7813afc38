"""Text written by the model as it is now: `samples/step_00001000.txt` in the run folder, and the loggers that show
text.
"""

import logging
from pathlib import Path
from typing import Any

import lightning.pytorch as pl

from nanolit.evals.generative import Question, write_answers
from nanolit.inference.generate import generate
from nanolit.inference.params import TEMPERATURE, SamplingParams
from nanolit.inference.tool_calls import ToolCalls
from nanolit.inference.tools import Calculator
from nanolit.tokenizers.chat import ends_of_answer, has_chat_tokens, render_prompt, text_said
from nanolit.tokenizers.messages import Message
from nanolit.tokenizers.protocol import Tokenizer
from nanolit.training.cadence import Cadence
from nanolit.training.callbacks.step import StepCallback, is_last_step

log = logging.getLogger("nanolit")


class Samples(StepCallback):
    def __init__(
        self,
        every_steps: int | None = None,
        every_tokens: int | None = None,
        every_minutes: float | None = None,
        n_samples: int = 3,
        max_new_tokens: int = 200,
        temperature: float = TEMPERATURE,
        top_k: int | None = None,
        prompt: str | None = None,
        questions: list[str] | None = None,
    ) -> None:
        """`questions` are asked of a model that chats, once each, instead of going on with a prompt."""
        self.cadence = Cadence(every_steps, every_tokens, every_minutes, where="callbacks.samples")
        self.n_samples, self.prompt, self.questions = n_samples, prompt, questions
        self.params = SamplingParams(max_new_tokens=max_new_tokens, temperature=temperature, top_k=top_k, seed=0)

    def setup(self, trainer: pl.Trainer, pl_module: Any, stage: str) -> None:
        """A prompt that cannot be encoded is told before training, not hours later."""
        tokenizer = trainer.datamodule.tokenizer  # type: ignore[attr-defined]
        if self.questions:
            require_chat(tokenizer)
        self.beginning = self.prompt or fresh_beginning(tokenizer)
        try:
            tokenizer.encode(self.beginning)
        except ValueError as error:
            raise ValueError(f"callbacks.samples.prompt: {error}") from error

    def on_step_end(self, trainer: pl.Trainer, module: Any) -> None:
        due = self.cadence.due(trainer, module.tokens_per_step)
        if (due or is_last_step(trainer)) and self.n_samples and trainer.is_global_zero:
            with module.stopwatch.paused():
                self.write(trainer, module)

    def write(self, trainer: pl.Trainer, module: Any) -> None:
        path = Path(trainer.default_root_dir) / "samples" / f"step_{trainer.global_step:08d}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        if hasattr(module, "write_samples"):  # it has some already
            module.write_samples(path)
            return
        tokenizer = trainer.datamodule.tokenizer  # type: ignore[attr-defined]
        if self.questions:
            answers = ask(module.network, tokenizer, self.questions, self.params)
            pairs = zip(self.questions, answers, strict=True)
            path.write_text("\n\n".join(f"{question}\n{answer}" for question, answer in pairs) + "\n", encoding="utf-8")
            return
        module.network.eval()
        try:
            texts = generate(module.network, tokenizer, self.beginning, self.params, n_samples=self.n_samples)
        finally:
            module.network.train()
        path.write_text("\n\n---\n\n".join(self.beginning + text for text in texts) + "\n", encoding="utf-8")
        for logger in trainer.loggers:
            if isinstance(logger, pl.loggers.TensorBoardLogger):
                for i, text in enumerate(texts):
                    logger.experiment.add_text(f"samples/{i}", text, trainer.global_step)


def require_chat(tokenizer: Tokenizer) -> None:
    if not has_chat_tokens(tokenizer):
        raise ValueError("callbacks.samples.questions: the tokenizer has no chat tokens; give null, or a prompt")


def ask(network: Any, tokenizer: Tokenizer, questions: list[str], params: SamplingParams) -> list[str]:
    """One answer to each question, with the calculator at hand."""
    end = ends_of_answer(tokenizer)
    tools = ToolCalls(tokenizer, [Calculator()])
    asked = [
        Question(render_prompt([Message(role="user", content=text)], tokenizer), params, end, tools)
        for text in questions
    ]
    written = write_answers(network, tokenizer, asked, len(asked))
    return [text_said(answer[0].ids, tokenizer) for answer in written]


def fresh_beginning(tokenizer: Tokenizer) -> str:
    """With what a document begins when nothing is given: nothing, where end-of-text can stand before it; else a line
    break, or the first token that has a text if the vocabulary has no line break.
    """
    if tokenizer.eot_id is not None:
        return ""
    texts = [text for text in (tokenizer.decode([token]) for token in range(tokenizer.vocab_size)) if text]
    return "\n" if "\n" in texts else texts[0]
