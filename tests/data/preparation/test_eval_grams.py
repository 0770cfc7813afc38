"""Copies of evaluation items found in documents, against the plain definition with a regular expression and sets."""

import gzip
import json
import re
from functools import reduce

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nanolit.data.preparation import eval_grams as contamination
from nanolit.data.preparation.eval_grams import MAX_SHARED, MIN_WORDS, EvalGrams, merged, note, report

# Few different words, so that runs repeat, with what is hard about them: case, digits, scripts, signs between.
WORDS = st.sampled_from(["a", "A", "bb", "Été", "straße", "9", "İ", "слово", "x1", "水"])
BETWEEN = st.sampled_from([" ", ", ", "_", "\n", "-", "’", " … ", "\0"])
TEXTS = st.lists(st.tuples(WORDS, BETWEEN), max_size=60).map(lambda pairs: "".join(map("".join, pairs)))


def words_of(text: str) -> list[str]:
    return re.findall(r"[^\W_]+", text.lower())


def runs_of(text: str, length: int) -> set[tuple[str, ...]]:
    words = words_of(text)
    return {tuple(words[i : i + length]) for i in range(len(words) - length + 1)}


def plainly(items: list[list[str]], texts: list[str], n: int) -> list[set[int]]:
    runs: list[set] = []
    for passages in items:
        lengths = [(passage, min(n, len(words_of(passage)))) for passage in passages]
        runs.append({run for passage, length in lengths if length >= MIN_WORDS for run in runs_of(passage, length)})
    counts: dict[tuple, int] = {}
    for run in (run for one in runs for run in one):
        counts[run] = counts.get(run, 0) + 1
    telling = [{run for run in one if counts[run] <= MAX_SHARED} for one in runs]
    lengths = range(MIN_WORDS, n + 1)
    found = [{run for length in lengths for run in runs_of(text, length)} for text in texts]
    return [{number for number, one in enumerate(telling) if one & there} for there in found]


def rows(path, items):
    path.write_text("".join(json.dumps({"id": 7, "parts": [{"text": part} for part in item]}) + "\n" for item in items))
    return path


@settings(deadline=None)
@given(
    items=st.lists(st.lists(TEXTS, max_size=3), min_size=1, max_size=14),
    texts=st.lists(TEXTS, max_size=5),
    n=st.sampled_from([MIN_WORDS, 10, 13]),
)
def test_what_is_found_is_what_the_definition_says(items, texts, n, tmp_path_factory):
    path = rows(tmp_path_factory.mktemp("evaluation") / "a.jsonl", items)
    texts = [*texts, *(" and ".join(item) for item in items)]
    assert EvalGrams.read([path], n).hits(texts) == plainly(items, texts, n)


@given(text=TEXTS, batch_chars=st.sampled_from([150, 300, 1000]), at=st.floats(0, 1))
def test_long_texts_and_parts_lose_nothing_where_they_are_cut(text, batch_chars, at, tmp_path_factory):
    folder = tmp_path_factory.mktemp("evaluation")
    sentences = [
        "one two three four five six seven eight nine",
        "so blue a sea as this was never seen before nor after it",
    ]
    items = [[" ".join(sentence.split()[i:])] for sentence in sentences for i in range(2)]
    grams = EvalGrams.read([rows(folder / "a.jsonl", items)])
    long = f"{text} {sentences[0]}! {text}. {sentences[1]}? {text}"
    expected = plainly(items, [long], 13)
    assert expected == [{0, 1, 2, 3}]
    cut = long.index(" ", int(at * long.rindex(" ")))  # parts end where words do
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(contamination, "BATCH_CHARS", batch_chars)
        patch.setattr(contamination, "LONGEST_WORD", 20)
        assert grams.hits([long]) == expected
        first, second = grams.hits([long[:cut], grams.tail(long[:cut]) + long[cut:]])
    assert [first | second] == expected


def test_a_text_without_an_end_of_a_word_is_cut_somewhere(tmp_path):
    sentence = "one two three four five six seven eight"
    grams = EvalGrams.read([rows(tmp_path / "a.jsonl", [[sentence]])])
    assert grams.hits(["x" * 400_000 + " " + sentence, "x" * 400_000, "", "\ud800 " + sentence]) == [
        {0},
        set(),
        set(),
        {0},
    ]


def test_nothing_is_found_across_two_texts_or_two_passages(tmp_path):
    words = [f"w{i}" for i in range(16)]
    halves = [" ".join(words[:8]), " ".join(words[8:])]
    grams = EvalGrams.read([rows(tmp_path / "a.jsonl", [[" ".join(words)], halves])], n=8)
    assert grams.hits([" ".join(words[4:8]), " ".join(words[8:12])]) == [set(), set()]
    assert grams.hits([" ".join(words[4:12])]) == [{0}]


def test_words_of_a_template_are_not_looked_for(tmp_path):
    template = "answer the following question with one letter and nothing else please"
    items = [[f"{template} {'x' * i} end"] for i in range(1, MAX_SHARED + 2)]
    grams = EvalGrams.read([rows(tmp_path / "a.jsonl", items)], n=8)
    assert grams.hits([template, items[3][0]]) == [set(), {3}]
    alike = EvalGrams.read([rows(tmp_path / "b.jsonl", [[template]] * (MAX_SHARED + 1))], n=8)
    assert (alike.files[0]["items"], alike.files[0]["searched"]) == (MAX_SHARED + 1, 0)
    assert alike.hits([template]) == [set()] and report(alike, {}, 1)["files"][0]["share"] == 0


def test_files_of_all_kinds(tmp_path):
    first, second, third = ("a b c d e f g h i", "k l m n o p q r", "too short")
    (tmp_path / "a.txt").write_text(f"{first}\n\n{second[:7]}\n{second[8:]}\n \n{third}\n")
    (tmp_path / "b.txt").write_text(f"{first}\n{second}\n")
    with gzip.open(tmp_path / "c.jsonl.gz", "wt") as file:
        file.write(json.dumps({"q": first, "choices": [third, second]}) + "\n\n" + json.dumps([second]) + "\n")
    grams = EvalGrams.read([tmp_path / name for name in ("a.txt", "b.txt", "c.jsonl.gz")])
    counted = [(file["file"], file["items"], file["searched"]) for file in grams.files]
    assert counted == [("a.txt", 3, 2), ("b.txt", 2, 2), ("c.jsonl.gz", 2, 2)]
    assert grams.hits([first, second]) == [{0, 3, 5}, {1, 4, 5, 6}]


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("a.jsonl", b'{"a": "b"}\n{"a"\n', r"a\.jsonl:2: not JSON"),
        ("a.jsonl", b"\xff\n", "cannot be read as text"),
        ("a.jsonl.gz", b"no gzip", "cannot be read as text"),
        ("a.jsonl", b"\n", "has no items"),
        ("a.parquet", b"PAR1", r"no known kind of evaluation file; give one of \.jsonl"),
    ],
)
def test_a_file_that_cannot_be_read_is_named(tmp_path, name, content, told):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=told) as error:
        EvalGrams.read([tmp_path / name])
    assert "\n" not in str(error.value) and name in str(error.value)
    with pytest.raises(ValueError, match="got runs of 3 words"):
        EvalGrams.read([], n=3)


FOUND = st.dictionaries(st.integers(0, 5), st.tuples(st.integers(1, 3), st.sampled_from("xyz")), max_size=5)


@given(results=st.lists(FOUND, max_size=6))
def test_what_jobs_found_is_joined_in_any_grouping(results):
    assert merged(results) == reduce(lambda a, b: merged([a, b]), results, {})
    assert merged(results) == merged([merged(results[:2]), merged(results[2:])])


def test_the_report_names_files_items_and_documents(tmp_path):
    sentences = [f"sentence {i} of an evaluation set that somebody copied into a corpus of text" for i in range(4)]
    grams = EvalGrams.read(
        [rows(tmp_path / "a.jsonl", [[s] for s in sentences[:3]]), rows(tmp_path / "b.jsonl", [[sentences[3]]])], 8
    )
    jobs = []
    for job, texts in enumerate([["nothing", sentences[1]], [sentences[3] + sentences[1], "nothing", sentences[1]]]):
        found = {}
        for place, items in enumerate(grams.hits(texts)):
            note(found, items, f"{job}:{place}")
        jobs.append(found)
    made = report(grams, merged(jobs), n_documents=5)
    assert json.loads(json.dumps(made)) == made and made["documents"] == 5
    first, second = made["files"]
    shared = set(runs_of(sentences[0], 8)) & set(runs_of(sentences[1], 8))
    assert shared, "the sentences have words in common"
    assert (first["hit"], second["hit"]) == (3, 1) and (first["share"], second["share"]) == (1, 1)
    assert first["examples"][1] == {"item": 1, "text": sentences[1], "documents": 3, "first": "0:1"}
    assert len(report(grams, merged(jobs), 5, n_examples=2)["files"][0]["examples"]) == 2


def test_real_questions_are_found_in_what_holds_them_and_nowhere_else(root, tiny_shakespeare):
    folder = root.parent / "shared" / "data"
    paths = [folder / "gsm8k" / "test.jsonl", folder / "humaneval" / "HumanEval.jsonl.gz"]
    for path in paths:
        if not path.exists():
            pytest.skip(f"needs {path}")
    grams = EvalGrams.read(paths)
    questions = [json.loads(line)["question"] for line in paths[0].read_text().splitlines()]
    assert [file["items"] for file in grams.files] == [1319, 164] and grams.files[0]["searched"] == 1319
    hits = grams.hits(questions)
    long_enough = [number for number, question in enumerate(questions) if len(words_of(question)) >= MIN_WORDS]
    assert len(long_enough) > 1300 and all(number in hits[number] for number in long_enough)
    assert grams.hits([tiny_shakespeare.read_text()]) == [set()]
