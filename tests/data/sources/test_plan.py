from hypothesis import given
from hypothesis import strategies as st

from nanolit.data.sources.plan import Item, Job, Plan


class Given(Plan):
    """A plan whose jobs hold their items."""

    def items(self, job):
        yield from job.parts


DOCUMENTS = st.lists(st.tuples(st.sampled_from(["train", "val"]), st.lists(st.text("abc", max_size=5), min_size=1)))


@given(documents=DOCUMENTS, cap=st.none() | st.integers(1, 12), n_jobs=st.integers(1, 4))
def test_texts_are_the_beginnings_of_all_documents(documents, cap, n_jobs):
    items = [
        Item(split, part, begins=i == 0, ends=i == len(parts) - 1)
        for split, parts in documents
        for i, part in enumerate(parts)
    ]
    edges = [len(items) * i // n_jobs for i in range(n_jobs + 1)]  # in the middle of documents too
    plan = Given([Job(i, 0, tuple(items[edges[i] : edges[i + 1]])) for i in range(n_jobs)])
    for wanted in ("train", "val", None):
        whole = "".join("".join(parts)[:cap] for split, parts in documents if wanted in (None, split))
        assert "".join(plan.texts(wanted, cap)) == whole
