"""A data set on the Hugging Face hub: which files each split has, without fetching them, and one file at a time.

`datasets` decides which files are meant (configurations in the card, names of files and folders) by looking at a folder
of empty files with the names that the repository has: one list from the hub is all that this asks the network for, and
what was fetched whole by `hf download` is understood in the same way without a network. Remembering is not done here.
"""

import logging
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

log = logging.getLogger("nanolit")

CARDS = ("README.md", ".huggingface.yaml")  # where the configurations stand
SHA256_DIGITS = 64


@dataclass(frozen=True)
class HubFile:
    name: str  # path in the repository
    n_bytes: int | None
    sha256: str | None  # the hub knows it of large files only


@dataclass(frozen=True)
class HubDataset:
    name: str
    revision: str  # a commit, whatever was asked for
    splits: dict[str, list[HubFile]]  # as `datasets` names and orders them


def resolve(name: str, subset: str | None, revision: str | None) -> HubDataset:
    """The data files of data set `name` (of its configuration `subset`) as of `revision`, the newest if None."""
    from huggingface_hub import errors

    with _without_bars():
        try:
            commit, files, cards = _listed(name, revision)
        except (errors.LocalEntryNotFoundError, errors.HTTPError, OSError) as error:
            if not _of_the_network(error):
                raise _explained(error, name, revision) from error
            try:
                commit, files, cards = _fetched_before(name, revision)
            except (errors.LocalEntryNotFoundError, errors.CachedRepoTreeNotFoundError):
                raise _explained(error, name, revision) from error
        except errors.HFValidationError as error:
            raise _explained(error, name, revision) from error
        return HubDataset(name, commit, _splits(name, subset, files, cards))


def fetch_file(name: str, revision: str, file: str) -> Path:
    """One file of a data set, from the cache of huggingface_hub (HF_HOME) or into it; a broken download goes on."""
    import huggingface_hub as hub
    from huggingface_hub import errors

    found = hub.try_to_load_from_cache(name, file, repo_type="dataset", revision=revision)
    if isinstance(found, str):
        return Path(found)
    log.info("fetching %s of %s", file, name)
    try:
        with _without_bars():
            return Path(hub.hf_hub_download(name, file, repo_type="dataset", revision=revision))
    except (errors.EntryNotFoundError, errors.HTTPError, errors.HFValidationError, OSError) as error:
        raise _explained(error, name, revision, file) from error


def _listed(name: str, revision: str | None) -> tuple[str, list[HubFile], dict[str, Path]]:
    """The commit, all files of the repository, and those of them that tell of configurations, fetched."""
    import huggingface_hub as hub

    api = hub.HfApi()
    commit = api.dataset_info(name, revision=revision).sha
    assert commit is not None
    tree = api.list_repo_tree(name, recursive=True, revision=commit, repo_type="dataset")
    entries = [entry for entry in tree if isinstance(entry, hub.RepoFile)]
    files = [HubFile(entry.path, entry.size, entry.lfs.sha256 if entry.lfs else None) for entry in entries]
    names = {file.name for file in files}
    return commit, files, {card: fetch_file(name, commit, card) for card in CARDS if card in names}


def _fetched_before(name: str, revision: str | None) -> tuple[str, list[HubFile], dict[str, Path]]:
    """The same of a repository that lies whole in the cache; the list that `hf download` left there says so."""
    import huggingface_hub as hub

    tree = hub.get_cached_repo_tree(name, repo_type="dataset", revision=revision)
    folder = Path(hub.snapshot_download(name, repo_type="dataset", revision=revision, local_files_only=True))
    files = []
    for entry in tree:
        blob = (folder / entry.path).resolve().name  # of a large file, its hash
        files.append(HubFile(entry.path, entry.size, blob if len(blob) == SHA256_DIGITS else None))
    return folder.name, files, {card: folder / card for card in CARDS if (folder / card).is_file()}


def _splits(
    name: str, subset: str | None, files: Iterable[HubFile], cards: dict[str, Path]
) -> dict[str, list[HubFile]]:
    import datasets

    by_name = {file.name: file for file in files}
    with tempfile.TemporaryDirectory() as scratch:
        # The folder is named like the data set, because a script of this name in it makes it one that needs code.
        folder = Path(scratch).resolve() / name.rpartition("/")[2]
        for file in by_name:
            path = folder / file
            if not path.resolve().is_relative_to(folder):
                raise ValueError(f"data.dataset={name}: lists a file {file}, which leaves its folder; do not trust it")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(cards[file].read_bytes() if file in cards else b"")
        try:
            builder = datasets.load_dataset_builder(str(folder), name=subset, cache_dir=scratch)
        except (ValueError, OSError, RuntimeError) as error:
            raise ValueError(_not_understood(name, subset, folder, error)) from error
        found = builder.config.data_files or {}
        return {
            str(split): [by_name[Path(path).relative_to(folder).as_posix()] for path in paths]
            for split, paths in found.items()
        }


def _not_understood(name: str, subset: str | None, folder: Path, error: Exception) -> str:
    import datasets

    try:
        subsets = datasets.get_dataset_config_names(str(folder))
    except (ValueError, OSError, RuntimeError):
        subsets = []
    if subsets and subset not in subsets:
        known = " ".join(subsets)
        return f"data.subset={'null' if subset is None else subset}: {name} has the subsets {known}; give one of them"
    reason = str(error).replace(str(folder), name).partition("\n")[0]
    return f"data.dataset={name}: has no files that `datasets` reads ({reason}); give another one, or data.source=PATH"


def _of_the_network(error: Exception) -> bool:
    """Is it that the hub cannot be reached, rather than what it said, or this machine (a full disk)?"""
    from huggingface_hub import errors

    if isinstance(error, errors.HfHubHTTPError):
        return error.response.status_code >= 500
    return not (isinstance(error, OSError) and error.errno) or isinstance(error, ConnectionError)


def _explained(error: Exception, name: str, revision: str | None, file: str | None = None) -> Exception:
    """What to tell the user: one line with what to fetch and where to put it; an error of this machine stays itself."""
    from huggingface_hub import constants, errors

    what = " ".join(
        filter(None, ("hf download", name, file, "--repo-type dataset", revision and f"--revision {revision}"))
    )
    by_hand = f"fetch it elsewhere: `{what} --local-dir DIR`, bring DIR here and give data.source=DIR"
    if isinstance(error, errors.GatedRepoError):
        why = "is open only to whom its owners admit; ask for access on its page and set HF_TOKEN (`hf auth login`), or"
    elif isinstance(error, errors.RepositoryNotFoundError | errors.HFValidationError):
        return ValueError(
            f"data.dataset={name}: no such data set at {constants.ENDPOINT}, or a private one; "
            "check its name, or set HF_TOKEN"
        )
    elif isinstance(error, errors.RevisionNotFoundError):
        return ValueError(f"data.revision={revision}: {name} has no such revision; give a branch, a tag or a commit")
    elif isinstance(error, errors.RemoteEntryNotFoundError):
        return ValueError(f"data.dataset={name}: has no file {file} at {revision}; give another data.revision")
    elif not _of_the_network(error):
        return error
    elif constants.HF_HUB_OFFLINE:
        why = "is not on this machine, and HF_HUB_OFFLINE is set; unset it, or"
    else:
        why = (
            f"is not on this machine, and {constants.ENDPOINT} cannot be reached; go online (HF_ENDPOINT, a proxy), or"
        )
    return ValueError(f"data.dataset={name}: {file or 'it'} {why} {by_hand}")


@contextmanager
def _without_bars() -> Iterator[None]:
    """Many processes fetch at once, and progress is told in lines of our own."""
    import datasets
    from huggingface_hub import utils

    had = [not datasets.are_progress_bars_disabled(), not utils.are_progress_bars_disabled()]
    datasets.disable_progress_bars()
    utils.disable_progress_bars()
    try:
        yield
    finally:
        if had[0]:
            datasets.enable_progress_bars()
        if had[1]:
            utils.enable_progress_bars()
