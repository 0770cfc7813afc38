"""A conversation as its user has it: a real process in a pseudo-terminal, with a model that knows a few answers."""

import json
import os
import pty
import re
import select
import subprocess
import sys
import termios
import time

import pytest

CTRL_C, CTRL_D = "\x03", "\x04"


class Session:
    """`nanolit chat` in a terminal of its own; `expect` gives what was shown up to and including a text."""

    def __init__(self, arguments: list[str], environment: dict[str, str]) -> None:
        self.pid, self.terminal = pty.fork()
        if self.pid == 0:
            os.execve(sys.executable, [sys.executable, "-m", "nanolit", "chat", *arguments], environment)
        termios.tcsetwinsize(self.terminal, (50, 500))  # no line is so long that it would be scrolled
        self.unread = ""

    def expect(self, pattern: str, timeout_s: float = 60) -> str:
        end = time.monotonic() + timeout_s
        while not (found := re.search(pattern, self.unread)):
            assert self._read(end - time.monotonic()), f"waited for {pattern!r}, got {self.unread!r}"
        shown, self.unread = self.unread[: found.end()], self.unread[found.end() :]
        return shown

    def _read(self, timeout_s: float) -> bool:
        if timeout_s <= 0 or not select.select([self.terminal], [], [], timeout_s)[0]:
            return False
        try:
            self.unread += os.read(self.terminal, 4096).decode(errors="replace")
        except OSError:  # the process has ended
            return False
        return True

    def type(self, text: str) -> None:
        os.write(self.terminal, text.encode())

    def interrupt_the_prompt(self, line: str = "") -> None:
        """A moment after it is shown: between that and its waiting, input() notices a signal only at the next key."""
        time.sleep(0.5)
        self.type(line)
        time.sleep(0.1)
        self.type(CTRL_C)

    def say(self, line: str) -> str:
        """One line; what is shown until the next prompt, without the line itself."""
        self.type(line + "\n")
        shown = self.expect(r"\n(> |\.\.\. )$").replace("\r\n", "\n")
        return shown.removeprefix(line + "\n").rpartition("\n")[0]

    def end(self) -> int:
        while self._read(30):
            pass
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])

    def close(self) -> None:
        os.close(self.terminal)  # hangs up, which ends what still runs


@pytest.fixture
def environment() -> dict[str, str]:
    """A terminal without colours and cursor movements."""
    return {**os.environ, "TERM": "dumb", "NO_COLOR": "1", "PYTHONUTF8": "1"}


@pytest.fixture
def session(chat_model, environment):
    """Sessions that are ended with the test."""
    begun: list[Session] = []

    def begin(*arguments: str) -> Session:
        begun.append(Session([f"model={chat_model}", "temperature=0", "device=cpu", *arguments], environment))
        begun[-1].expect(r"/help tells the commands, Ctrl-D leaves\s+> $")
        return begun[-1]

    yield begin
    for one in begun:
        one.close()


def test_a_conversation(session, chats, tmp_path):
    answers = {question: answer for question, answer in chats if isinstance(answer, str)}
    talk = session()
    assert talk.say("Hello") == answers["Hello"]
    assert talk.say("What is 6*7?") == "I calculate. [6*7 = 42]It is 42."
    assert talk.say("Say something nice") == answers["Say something nice"]
    assert talk.say("/retry") == answers["Say something nice"]
    assert talk.say("/retyr") == "/retyr: no such command; did you mean /retry?"
    assert talk.say("/system Be brief.") == "system: Be brief."
    assert talk.say('"""') == "" and talk.say("Who are you?") == ""
    assert talk.say('"""') == answers["Who are you?"]

    whole = answers["Tell me a story"]
    for _ in range(5):  # on a fast machine the key may come too late
        talk.type("Tell me a story\n")
        begun = talk.expect("The miller wakes")
        talk.type(CTRL_C)
        begun = "The miller wakes" + talk.expect(r"\n> $")
        if "(stopped)" in begun:
            break
    assert "(stopped)" in begun and whole not in begun
    assert talk.say("And then?") == answers["And then?"]
    assert talk.say("/top_k") == "top_k: 50"
    assert re.match(r"last answer: \d+ tokens in", talk.say("/stats"))

    file = tmp_path / "talk.json"
    assert talk.say(f"/save {file}").startswith("saved ")
    saved = json.loads(file.read_text(encoding="utf-8"))
    assert saved[0] == {"role": "system", "content": "Be brief."}
    assert saved[-1] == {"role": "assistant", "content": answers["And then?"]}
    stopped = saved[-3]["content"]
    assert stopped.startswith("The miller wakes") and whole.startswith(stopped) and len(stopped) < len(whole)
    assert [part["type"] for part in saved[4]["content"]] == ["text", "python", "python_output", "text"]
    assert talk.say(f"/save {file}").startswith("saved ")

    talk.type(CTRL_D)
    assert talk.end() == 0


def test_leaving_and_beginning_anew(session, chats):
    talk = session("max_new_tokens=5")
    assert "(cut off; max_new_tokens: 5)" in talk.say("Tell me a story")
    assert talk.say("/max_new_tokens 60") == "max_new_tokens: 60"
    assert talk.say("/clear").startswith("a new conversation")
    assert talk.say("Hello") == chats[0][1]
    talk.interrupt_the_prompt("half a line")
    talk.expect(r"\(Ctrl-C once more, or Ctrl-D, leaves\)\s+> $")
    assert talk.say("Hello") == chats[0][1]
    assert talk.say("/max_new_tokens 200") == "max_new_tokens: 200"
    assert talk.say("Tell me a story") == chats[6][1]
    assert talk.say("Tell me a story").endswith("(cut off; the model sees 256 tokens)")
    told = talk.say("Hello")
    assert told == f"(the oldest 6 messages have no room any more and are left out)\n{chats[0][1]}"
    talk.interrupt_the_prompt()
    talk.expect(r"leaves\)\s+> $")
    talk.interrupt_the_prompt()
    assert talk.end() == 0


@pytest.mark.parametrize("by_pipe", [False, True])
def test_one_answer(chat_model, environment, by_pipe):
    question = "What is 6*7?"
    arguments = [f"model={chat_model}", "temperature=0", "device=cpu", *([] if by_pipe else [f"prompt={question}"])]
    done = subprocess.run(
        [sys.executable, "-m", "nanolit", "chat", *arguments],
        input=question + "\n" if by_pipe else "", capture_output=True, text=True, env=environment, timeout=60,
    )  # fmt: skip
    assert (done.returncode, done.stdout, done.stderr) == (0, "I calculate. It is 42.\n", "[6*7 = 42]")
