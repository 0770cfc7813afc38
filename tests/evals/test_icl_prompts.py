"""The rules by which items become texts and ids, by hand: what is written, what is judged, which shots are drawn."""

import random
from pathlib import Path

import numpy as np

from nanolit.evals.icl_bundle import IclItem, IclTask
from nanolit.evals.icl_prompts import begin_id, candidates, chosen_items, shots_before, texts_of
from nanolit.tokenizers.bpe import train_bpe
from nanolit.tokenizers.byte import ByteTokenizer


def task_of(kind, items, shots=0, delimiter=" ") -> IclTask:
    return IclTask("t", kind, shots, delimiter, 0.0, tuple(items), Path("t.jsonl"))


def test_prompts_by_hand():
    mc = task_of("multiple_choice", [], 1, "\nAnswer: ")
    items = [IclItem(("Q: one?\n",), ("yes", "no"), 1), IclItem(("Q: two?",), ("a", "b", "c"), 0)]
    assert texts_of(mc, items[1], [items[0]]) == [f"Q: one?\n\nAnswer: no\n\nQ: two?\nAnswer: {x}" for x in "abc"]
    schema = task_of("schema", [], 1)
    items = [IclItem(("A", "B"), ("went.",), 1), IclItem(("C", "D"), ("came.",), 0)]
    assert texts_of(schema, items[1], [items[0]]) == ["B went.\n\nC came.", "B went.\n\nD came."]
    lm = task_of("language_modeling", [], 1)
    items = [IclItem(("One, two,",), ("three",), 0), IclItem(("Four,",), ("five",), 0)]
    assert texts_of(lm, items[1], [items[0]]) == ["One, two, three\n\nFour,", "One, two, three\n\nFour, five"]


def test_what_is_judged_by_hand():
    """Bytes: one token for each character."""
    tokenizer = ByteTokenizer()

    def judged(kind, *texts, room=100):
        (found,) = candidates(task_of(kind, []), [texts], tokenizer, room)
        assert all(candidate.start >= 1 for candidate in found)
        return [bytes(c.ids[c.start :].tolist()).decode() for c in found]

    assert judged("multiple_choice", "It is red", "It is read", "It is rot") == ["ed", "ead", "ot"]
    assert judged("multiple_choice", "It is", "It is not") == ["s", "s not"], "a token of each at least"
    assert judged("multiple_choice", "same", "same") == ["e", "e"]
    assert judged("schema", "Ann sat down", "Bob and Eve sat down") == [" sat down", " sat down"]
    assert judged("language_modeling", "One, two,", "One, two, three") == [" three"]
    # What is too long loses its beginning; of what is judged only what alone is too long.
    assert judged("multiple_choice", "abcdefgh-red", "abcdefgh-blue", room=6) == ["red", "blue"]
    assert judged("language_modeling", "abcdefgh", "abcdefgh is all", room=4) == ["all"]


def test_shots_are_drawn_as_nanochat_does():
    items = [IclItem((str(i),), ("x",), 0) for i in range(30)]
    task = task_of("language_modeling", items, 10)
    shuffled = list(items)
    random.Random(1337).shuffle(shuffled)
    asked, pool = chosen_items(task, 20)
    assert asked == pool == shuffled[:20]
    expected = random.Random(1234 + 7).sample([i for i in range(20) if i != 7], 10)
    assert shots_before(task, pool, 7) == [shuffled[i] for i in expected]
    asked, pool = chosen_items(task, 5)
    assert asked == shuffled[:5] and pool == shuffled[:11]
    assert all(len(shots_before(task, pool, i)) == 10 and pool[i] not in shots_before(task, pool, i) for i in range(5))
    assert chosen_items(task, None)[0] == shuffled


def test_what_stands_before_a_text():
    class Told:
        def __init__(self, bos_id, eot_id):
            self.bos_id, self.eot_id = bos_id, eot_id

        def encode_batch(self, texts):
            return [np.frombuffer(text.encode(), dtype=np.uint8) for text in texts]

    assert [begin_id(Told(*ids)) for ids in ((7, 8), (None, 8), (None, None))] == [7, 8, None]
    tokenizer = train_bpe(["a word and a word"] * 20, 262)
    assert begin_id(tokenizer) == tokenizer.eot_id is not None
    for begin, first in ((Told(300, 8), [300]), (Told(None, None), [])):
        (found,) = candidates(task_of("schema", []), [["Ann sat", "Bob sat"]], begin, 100)
        assert found[0].ids.tolist() == [*first, *b"Ann sat"] and found[0].start == len(first) + 3
