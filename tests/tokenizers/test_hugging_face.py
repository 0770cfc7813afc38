"""Tokenizers of other people's making: the same ids and texts as the `tokenizers` library gives."""

import itertools
import json
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers

from nanolit.inference.text import TextStream
from nanolit.tokenizers import hugging_face
from nanolit.tokenizers.bpe import BPETokenizer, train_bpe
from nanolit.tokenizers.directory import load_tokenizer
from nanolit.tokenizers.hugging_face import WrappedTokenizer
from nanolit.tokenizers.tiktoken_bpe import TiktokenTokenizer

WORDS = [
    *(" the", "The", "'s", "'LL", "n't", "'ſ", " \n", "\n\n", "\r\n", "  ", "    ", "\t", "1234", "99", "()", "!!!\n"),
    *(
        "//\n/",
        "é",
        "e\u0301",
        "日本",
        "😀",
        " miller's daughter",
        "banana",
        " xyzzy",
        "xyzzy",
        "▁",
        "<0x0A>",
        "<tool>",
    ),
]
TEXTS = st.lists(st.sampled_from(WORDS) | st.text(max_size=3)).map("".join) | st.text()
often = settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))


def test_byte_level_bpe_takes_the_fast_path(folder, fast_sort):
    loaded = load_tokenizer(folder)
    assert type(loaded) is BPETokenizer and loaded.kind == "bpe"


def test_the_rest_is_wrapped(folder, wrapped_sort):
    loaded = load_tokenizer(folder)
    assert type(loaded) is WrappedTokenizer and loaded.kind == "hugging_face"


def test_ids_and_texts_are_the_librarys(folder, library, sort):
    ours = load_tokenizer(folder)
    assert ours.vocab_size == library.get_vocab_size()

    @often
    @example("".join(WORDS))
    @given(TEXTS)
    def check(text):
        ids = library.encode(text, add_special_tokens=False).ids
        assert ours.encode(text) == ids
        assert ours.decode(ids) == library.decode(ids, skip_special_tokens=False)

    @often
    @given(st.lists(st.integers(0, ours.vocab_size - 1)))
    def check_any_ids(ids):
        assert ours.decode(ids) == library.decode(ids, skip_special_tokens=False)

    check()
    check_any_ids()


def test_a_batch_is_its_texts_and_threads_do_not_disturb_it(folder, sort):
    ours = load_tokenizer(folder)
    batch = [*WORDS, "", "".join(WORDS)]
    expected = [ours.encode(text) for text in batch]
    with ThreadPoolExecutor(4) as pool:
        for found in pool.map(ours.encode_batch, [batch] * 8):
            assert [ids.tolist() for ids in found] == expected


def test_the_name_of_a_special_token_is_plain_text(folder, library, sort):
    ours = load_tokenizer(folder)
    names = [token.content for token in library.get_added_tokens_decoder().values() if token.special]
    taken = {ours.specials[name] for name in names if name in ours.specials}
    assert taken
    for name, text in itertools.product(names, ("{}", "a {} b", "a{}b", " {}")):
        ids = ours.encode(text.format(name))
        unknown = {library.token_to_id("<unk>"), library.token_to_id("[UNK]")}  # what any unknown word gives
        assert not taken & (set(ids) - unknown), (name, text)


def test_lone_surrogates_are_replaced(folder, sort):
    ours = load_tokenizer(folder)
    assert ours.decode(ours.encode("a\ud800b")).strip() in ("a?b", "a\ufffdb", "[UNK]")


@pytest.mark.parametrize("wrong", [-1, 10**6])
def test_an_id_outside_of_the_vocabulary_is_named(folder, sort, wrong):
    with pytest.raises(ValueError, match=f"token id {wrong} is not in the vocabulary"):
        load_tokenizer(folder).decode([3, wrong])


# --- bytes and streams -----------------------------------------------------------------------------------------------


def test_what_follows_a_prompt_is_streamed_as_decoded(folder, library, sort):
    """The stream of a continuation is what it adds to the decoded prompt, the space between both included."""
    ours = load_tokenizer(folder)
    prompt = ours.encode("The miller's daughter")

    @often
    @given(TEXTS)
    def check(text):
        ids = ours.encode(text)
        stream = TextStream(ours)
        shown = "".join([*map(stream.push, ids), stream.close()])
        ordinary = [i for i in ids if ours.token_bytes(i)]  # an unknown word has a name and no text
        assert library.decode(prompt) + shown == library.decode(prompt + ordinary, skip_special_tokens=False)

    check()


EXACT = ("gpt2", "llama3", "nanochat", "padded", "with_added_word", "several_cuts", "metaspace_never")


@pytest.mark.parametrize("name", EXACT)
def test_bytes_of_the_tokens_are_the_bytes_of_the_text(write, tmp_path, name):
    ours = load_tokenizer(write(tmp_path, name))

    @often
    @given(TEXTS.filter(lambda text: "▁" not in text))
    def check(text):
        ids = ours.encode(text)
        assert b"".join(map(ours.token_bytes, ids)) == text.encode()
        assert ours.byte_lengths()[ids].sum() == len(text.encode())

    check()


def test_a_space_that_the_tokenizer_writes_before_a_text_counts(write, tmp_path):
    ours = load_tokenizer(write(tmp_path, "llama2"))

    @often
    @given(TEXTS.filter(lambda text: text and "▁" not in text))
    def check(text):
        assert b"".join(map(ours.token_bytes, ours.encode(text))) == b" " + text.encode()
        assert ours.decode(ours.encode(text)) == text

    check()


# --- which byte-level BPE are fast -----------------------------------------------------------------------------------


def as_file(tokenizer, folder):
    folder.mkdir(exist_ok=True)
    (folder / "tokenizer.json").write_text(
        tokenizer if isinstance(tokenizer, str) else tokenizer.to_str(), encoding="utf-8"
    )
    return folder


def cut_by(pattern, behavior="isolated"):
    """Few tokens, most of them runs that a pattern may or may not cut."""
    tokenizer = train_bpe(["a aa aaa A's 12 123 1234 ...!! \r\n\r\n  \n   b"] * 3, 400).to_hugging_face()
    as_bytes = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(Regex(pattern), behavior=behavior), as_bytes]
    )
    return tokenizer


PARTS = hugging_face._PARTS
USUAL = tuple(part[-1] for part in PARTS)
PATTERNS = sorted(
    {"".join((*USUAL[:i], other, *USUAL[i + 1 :])) for i, part in enumerate(PARTS) for other in part}
    | {"".join(part[0] for part in PARTS)}
)


@pytest.mark.parametrize("pattern", PATTERNS, ids=[str(i) for i in range(len(PATTERNS))])
def test_both_engines_read_these_patterns_alike(pattern, tmp_path):
    tokenizer = cut_by(pattern)
    ours = load_tokenizer(as_file(tokenizer, tmp_path))
    assert ours.kind == "bpe" and ours.pattern == pattern
    tokenizer.encode_special_tokens = True  # a text may spell one

    @settings(max_examples=100, deadline=None)
    @given(TEXTS | st.text("aAsS'ſ1²½ \t\r\n/.!\u0301\u00a0\u2028éǅʰ日"))
    def check(text):
        assert ours.encode(text) == tokenizer.encode(text).ids

    check()


@pytest.mark.parametrize(
    "pattern",
    [
        r"\p{L}+|\p{N}{1,2}+| ?[^\s\p{L}\p{N}]+|\s+",  # an interval that is possessive to one engine only
        r"\p{L}+",  # what it leaves out, tiktoken would drop
        r" ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)",
    ],
)
def test_other_patterns_are_left_to_the_library(pattern, tmp_path):
    tokenizer = cut_by(pattern)
    ours = load_tokenizer(as_file(tokenizer, tmp_path))
    assert ours.kind == "hugging_face"
    for text in ("a 12345 b!!", " \n x", "123 1234  a"):
        assert ours.encode(text) == tokenizer.encode(text).ids


@pytest.mark.parametrize("behavior", ["removed", "merged_with_next", "contiguous"])
def test_so_are_other_ways_to_cut(behavior, tmp_path):
    tokenizer = cut_by(PATTERNS[0], behavior)
    ours = load_tokenizer(as_file(tokenizer, tmp_path))
    assert ours.kind == "hugging_face" and ours.encode("a 12 .!") == tokenizer.encode("a 12 .!").ids


@pytest.mark.parametrize("change", [{"dropout": 0.1}, {"continuing_subword_prefix": "##"}, {"end_of_word_suffix": "w"}])
def test_so_are_other_ways_to_merge(write, tmp_path, change):
    folder = write(tmp_path, "gpt2")
    content = json.loads((folder / "tokenizer.json").read_text())
    content["model"] |= change | ({"merges": []} if "continuing_subword_prefix" in change else {})
    assert load_tokenizer(as_file(json.dumps(content), folder)).kind == "hugging_face"


@st.composite
def merge_lists(draw):
    """A byte-level BPE over "abc" as nobody would train it: merges in any order, unreachable tokens, any ids."""
    tokens = list("abc")
    merges: list[tuple[str, str]] = []
    for _ in range(draw(st.integers(1, 6))):
        pair = (draw(st.sampled_from(tokens)), draw(st.sampled_from(tokens)))
        if pair not in merges:
            merges.append(pair)
            tokens += [] if "".join(pair) in tokens else ["".join(pair)]
    others = [
        t for t in draw(st.lists(st.text("abc", min_size=2, max_size=4), max_size=2, unique=True)) if t not in tokens
    ]
    made = tokens[3:] + others
    if draw(st.booleans()):
        made = draw(st.permutations(made))
    return made, merges, draw(st.booleans())


def test_whichever_merges_the_ids_are_the_librarys(tmp_path):
    base = train_bpe(["x"], 257).to_hugging_face()
    seen: set[str] = set()

    @settings(max_examples=200, deadline=None)
    @given(merge_lists(), st.lists(st.text("abc", max_size=12), min_size=5, max_size=5))
    def check(made, texts):
        tokens, merges, ignore_merges = made
        content = json.loads(base.to_str())
        content["model"]["vocab"] |= {token: 300 + i for i, token in enumerate(tokens)}
        content["model"] |= {"merges": merges, "ignore_merges": ignore_merges}
        ours = load_tokenizer(as_file(json.dumps(content), tmp_path))
        seen.add(ours.kind)
        library = Tokenizer.from_str(json.dumps(content))
        for text in [*texts, *tokens, *map("".join, itertools.product(tokens, "abc"))]:
            assert ours.encode(text) == library.encode(text).ids, (text, ours.kind)

    check()
    assert seen == {"bpe", "hugging_face"}  # both ways were taken


# --- fingerprints ----------------------------------------------------------------------------------------------------


def older(content):
    """As the files of 2019 to 2021 were written."""
    for key in ("type", "ignore_merges", "byte_fallback"):
        content["model"].pop(key, None)
    content["model"]["merges"] = [" ".join(merge) for merge in content["model"]["merges"]]
    for part in ("pre_tokenizer", "decoder"):
        content[part].pop("use_regex", None)
    return content


def test_gpt2_is_gpt2_however_it_is_written(tiktoken_cache, tmp_path):
    ours = TiktokenTokenizer.from_name("gpt2")
    content = json.loads(ours.to_hugging_face().to_str())
    (tmp_path / "newer").mkdir()
    newer = as_file(json.dumps(content), tmp_path / "newer")
    built_in = pre_tokenizers.ByteLevel(add_prefix_space=False)
    content["pre_tokenizer"] = json.loads(built_in.__getstate__())
    for folder in (newer, as_file(json.dumps(older(content)), tmp_path / "older")):
        loaded = load_tokenizer(folder)
        assert (loaded.kind, loaded.fingerprint) == ("bpe", ours.fingerprint)
        assert (loaded.eot_id, loaded.bos_id, loaded.vocab_size) == (50256, None, 50257)
        assert loaded.encode("Hello world <|endoftext|>") == ours.encode("Hello world <|endoftext|>")


def test_cl100k_with_its_gaps_is_cl100k(tiktoken_cache, tmp_path):
    ours = TiktokenTokenizer.from_name("cl100k_base")
    loaded = load_tokenizer(as_file(ours.to_hugging_face(), tmp_path))
    assert (loaded.kind, loaded.fingerprint) == ("bpe", ours.fingerprint)


def test_a_fingerprint_does_not_depend_on_how_the_file_is_written(write, tmp_path):
    for name in ("normalized", "llama2"):
        folder = write(tmp_path / name, name)
        fingerprint = load_tokenizer(folder).fingerprint
        assert fingerprint == load_tokenizer(folder).fingerprint
        content = json.loads((folder / "tokenizer.json").read_text())
        content |= {"post_processor": None, "truncation": None}
        content["model"] = dict(reversed(content["model"].items()))
        if name == "normalized":
            content = older(content)
        else:
            content["model"]["merges"] = [" ".join(merge) for merge in content["model"]["merges"]]
        assert load_tokenizer(as_file(json.dumps(content), folder)).fingerprint == fingerprint


@pytest.mark.parametrize(
    "change",
    [
        lambda c: c["model"]["vocab"].update({"zzz": len(c["model"]["vocab"]) + 9}),
        lambda c: c["model"]["merges"].pop(),
        lambda c: c["model"].update(byte_fallback=False),
        lambda c: c.update(normalizer=None),
        lambda c: c["added_tokens"].append({**c["added_tokens"][0], "content": "new", "special": False, "id": 999}),
    ],
)
def test_a_fingerprint_tells_what_changes_ids(write, tmp_path, change):
    folder = write(tmp_path, "llama2")
    fingerprint = load_tokenizer(folder).fingerprint
    content = json.loads((folder / "tokenizer.json").read_text())
    change(content)
    assert load_tokenizer(as_file(json.dumps(content), folder)).fingerprint != fingerprint


# --- odd ones --------------------------------------------------------------------------------------------------------


def test_what_the_library_cannot_encode_is_one_line(tmp_path):
    tokenizer = Tokenizer(models.WordLevel({"a": 0, "b": 1}, unk_token="?"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    ours = load_tokenizer(as_file(tokenizer, tmp_path))
    assert ours.encode("a b") == [0, 1] and ours.eot_id is None
    for encode in (ours.encode, lambda text: ours.encode_batch([text])):
        with pytest.raises(ValueError, match=r"cannot encode this text .*UNK"):
            encode("a c")


def test_the_smallest_vocabulary(tmp_path):
    ours = load_tokenizer(as_file(Tokenizer(models.WordLevel({"a": 0}, unk_token="a")), tmp_path))
    assert (ours.vocab_size, ours.byte_lengths().tolist(), ours.decode(ours.encode("a"))) == (1, [2], "a")


def test_word_pieces_are_joined_as_decoded(tmp_path):
    names = ["[UNK]", "[CLS]", "[SEP]", "the", "cat", "##s", "run", "##ning"]
    tokenizer = Tokenizer(models.WordPiece({name: i for i, name in enumerate(names)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer, tokenizer.decoder = pre_tokenizers.BertPreTokenizer(), decoders.WordPiece()
    ours = load_tokenizer(as_file(tokenizer, tmp_path))
    ids = ours.encode("the cats running")
    assert [ours.token_bytes(i) for i in ids] == [b" the", b" cat", b"s", b" run", b"ning"]
    assert ours.decode(ids) == "the cats running"


def test_the_rest_of_a_text_that_was_cut_begins_with_no_space_of_its_own(folder, wrapped_sort):
    """Cut as preparation cuts, before a space and at a line end. (Merges of these little vocabularies reach over
    spaces, so that the ids of the parts need not be those of the whole; the text is.)
    """
    ours = load_tokenizer(folder)
    begun, text = "The miller counts", " 1 22 apples banana abracadabra\nEnde banana"
    line = text.index("\n") + 1
    if wrapped_sort != "words":  # which keeps no white space
        for first, rest in ((begun, text), (begun + text[:line], text[line:])):
            assert ours.decode([*ours.encode(first), *ours.encode_rest(rest)]) == ours.decode(ours.encode(begun + text))
