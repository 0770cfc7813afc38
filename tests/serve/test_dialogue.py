"""What a conversation remembers and sends, with an answerer that speaks from a script."""

import pytest

from nanolit.tokenizers.chat import render, render_prompt
from nanolit.tokenizers.messages import check


def user(text):
    return {"role": "user", "content": text}


def assistant(content):
    return {"role": "assistant", "content": content}


def test_the_history_is_sent_and_grows(scripted, said, bytewise):
    talk = scripted(said("Hi", "!"), said("42"), system="Be brief.")
    assert [piece.text for piece in talk.ask("Hello")] == ["Hi", "", ""]
    list(talk.ask("6*7?"))
    history = [user("Hello"), assistant("Hi"), user("6*7?"), assistant("42")]
    assert talk.messages == history
    assert talk.whole() == [{"role": "system", "content": "Be brief."}, *history]
    sent = [render_prompt(talk.whole()[:n], bytewise) for n in (2, 4)]
    assert [request.prompt for request in talk.worker.asked] == sent
    assert all(request.chat for request in talk.worker.asked)


def test_a_tool_call_is_sent_again_as_it_was(scripted, said, bytewise):
    talk = scripted(said("I ", "calculate. ", "!6", "!*7", "=42", "It is", " 42."), said("Yes"))
    list(talk.ask("6*7?"))
    kinds = [("text", "I calculate. "), ("python", "6*7"), ("python_output", "42"), ("text", "It is 42.")]
    answer = assistant([{"type": kind, "text": text} for kind, text in kinds])
    assert talk.messages == [user("6*7?"), answer]
    list(talk.ask("Sure?"))
    seen = render([user("6*7?"), answer], bytewise).ids.tolist()
    assert talk.worker.asked[1].prompt[: len(seen)] == seen


def test_what_came_before_an_interruption_stays(scripted, said):
    talk = scripted(said("one ", "two ", "three"), said("four"))
    pieces = talk.ask("Count")
    assert next(pieces).text == "one " and next(pieces).text == "two "
    pieces.close()
    assert talk.messages == [user("Count"), assistant("one two ")] and talk.worker.n_cancelled == 1
    list(talk.ask("Go on"))
    assert len(talk.messages) == 4


@pytest.mark.parametrize("exception", [KeyboardInterrupt, RuntimeError])
def test_it_also_stays_if_the_worker_is_interrupted(scripted, said, exception):
    def breaks(request):
        yield from said("one ", finish=None)
        raise exception

    talk = scripted()
    talk.worker.stream = breaks
    with pytest.raises(exception):
        list(talk.ask("Count"))
    assert talk.messages == [user("Count"), assistant("one ")]


@pytest.mark.parametrize("nothing", [(), (" ", "\n"), ("!  ",), ("! ", "=3")])
def test_what_got_no_answer_is_not_kept_but_can_be_asked_again(scripted, said, nothing):
    talk = scripted(said("Hi"), said(*nothing), said("Here."))
    list(talk.ask("Hello"))
    list(talk.ask("Anybody?"))
    assert talk.messages == [user("Hello"), assistant("Hi")] and talk.unanswered == "Anybody?"
    list(talk.ask_again())
    assert talk.messages[2:] == [user("Anybody?"), assistant("Here.")] and talk.unanswered is None


def test_whatever_the_model_says_is_a_conversation(scripted, said, bytewise):
    """Parts that nanochat's schema does not allow are left out, so that the next prompt can be rendered."""
    odd = [
        said("!", "=1", "x"),
        said("!1+1"),
        said("!1", "=2", "=3"),
        said("=4", "y"),
        said("a", "! ", "b"),
        said("!1", "=", " "),
    ]
    for pieces in odd:
        talk = scripted(pieces)
        list(talk.ask("Q"))
        assert check(talk.messages) and render(talk.messages, bytewise).ids.size


def test_again_replaces_the_last_answer(scripted, said):
    talk = scripted(said("A"), said("B"), said("C"), said(), said("D"))
    with pytest.raises(ValueError, match="nothing has been asked"):
        next(talk.ask_again())
    list(talk.ask("1"))
    list(talk.ask("2"))
    list(talk.ask_again())
    assert talk.messages == [user("1"), assistant("A"), user("2"), assistant("C")]
    assert talk.worker.asked[1].prompt == talk.worker.asked[2].prompt
    list(talk.ask_again())  # nothing comes, so the old one stays
    assert talk.messages[-1] == assistant("C") and talk.was_silent and talk.unanswered is None
    list(talk.ask_again())
    assert talk.messages == [user("1"), assistant("A"), user("2"), assistant("D")] and not talk.was_silent
    talk.clear()
    assert talk.messages == [] and talk.unanswered is None


def test_seeds(scripted, said):
    def seeds(seed):
        talk = scripted(said("A"), said("B"), said("C"), seed=seed)
        for ask in (lambda: talk.ask("1"), talk.ask_again, lambda: talk.ask("2")):
            list(ask())
        return [request.params.seed for request in talk.worker.asked]

    assert seeds(None) == [None] * 3  # another one each time
    assert seeds(5) == [5, 6, 7]


@pytest.fixture
def frame(bytewise):
    """Tokens of a prompt with these messages."""

    def length(*texts: str) -> int:
        return len(render_prompt([(user, assistant)[i % 2](text) for i, text in enumerate(texts)], bytewise))

    return length


def test_the_oldest_turns_are_left_out_when_there_is_no_room(scripted, said, frame):
    room = frame("a" * 20, "b" * 20, "c" * 20)
    talk = scripted(*[said("b" * 20)] * 4, block_size=room + 10, max_new_tokens=10)
    for n_left_out in (0, 0, 2, 4):
        list(talk.ask("a" * 20))
        assert talk.n_left_out == n_left_out
    assert len(talk.messages) == 8  # what is left out is remembered, and saved
    assert talk.worker.asked[3].prompt == talk.worker.asked[1].prompt
    assert all(len(request.prompt) <= room for request in talk.worker.asked)
    talk.clear()
    assert talk.n_left_out == 0


def test_the_system_message_is_never_left_out(scripted, said, bytewise):
    room = len(render_prompt([{"role": "system", "content": "S" * 9}, user("a" * 20)], bytewise))
    talk = scripted(said("b"), said("b"), system="S" * 9, block_size=room + 1, max_new_tokens=1)
    list(talk.ask("a" * 20))
    list(talk.ask("c" * 20))
    assert talk.worker.asked[1].prompt == render_prompt(
        [{"role": "system", "content": "S" * 9}, user("c" * 20)], bytewise
    )


def test_a_message_that_leaves_little_room_is_sent_alone_and_one_that_leaves_none_is_refused(scripted, said, frame):
    talk = scripted(said("b"), said("c"), block_size=100, max_new_tokens=50)
    list(talk.ask("a"))
    longest = 99 - frame("a") + 1
    list(talk.ask("a" * longest))
    assert len(talk.worker.asked[1].prompt) == 99 and talk.n_left_out == 2
    with pytest.raises(
        ValueError, match=r"^your message: got 100 tokens .* the model sees 100 with its answer; shorten"
    ):
        next(talk.ask("a" * (longest + 1)))
    assert len(talk.messages) == 4


def test_figures(scripted, said, frame):
    talk = scripted(said("a", "b"))
    list(talk.ask("1"))
    assert (talk.figures.n_tokens, talk.figures.n_cached, talk.figures.n_prompt) == (3, 7, frame("1"))
    assert "3 tokens in" in str(talk.figures) and "7 of them known before" in str(talk.figures)
