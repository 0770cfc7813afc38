"""The report of a pipeline: gathered and written by report/; here only where, and for which stages."""

from pathlib import Path
from typing import NamedTuple

from nanolit.cli.pipeline import PipelineConfig
from nanolit.report.pages import html, markdown, summary_table
from nanolit.report.sections import gather
from nanolit.runtime.files import atomic_path


class Written(NamedTuple):
    summary: str
    html: Path


def write_report(pipeline: PipelineConfig, folder: Path) -> Written:
    report = gather(folder, pipeline.name, [stage.name for stage in pipeline.wanted], pipeline.dollars_per_hour)
    for name, text in (("report.md", markdown(report)), ("report.html", html(report))):
        with atomic_path(folder / name) as temporary:
            temporary.write_text(text, encoding="utf-8")
    return Written(summary_table(report), folder / "report.html")
