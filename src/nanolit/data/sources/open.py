"""Which source the settings mean. A source says what it is, by file hashes, seeds and the split rule: whatever decides
the text, and nothing else.
"""

from pathlib import Path

from nanolit.data.config import DataConfig
from nanolit.data.sources.plan import Source


def open_source(config: DataConfig, root: Path) -> Source:
    """The source of `config`; downloads, and what is remembered of files, go under `root`."""
    from nanolit.data.sources import file_source, files, generated_source, task_source

    if config.kind == "village":
        return generated_source.village_source(config)
    if config.kind in ("grokking", "arithmetic"):
        return generated_source.puzzle_source(config)
    if config.kind == "tasks":
        return task_source.task_source(config)
    assert config.kind in ("text", "conversations"), f"data.kind={config.kind} is no text"
    if config.source is not None:
        return file_source.local_source(config, files.find(config.source, root))
    return file_source.remote_source(config, root)
