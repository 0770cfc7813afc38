"""A report as Markdown and as one HTML file that needs nothing else: no script, no font, no network."""

from collections.abc import Sequence
from html import escape

from nanolit.report.sections import Report, Section

SCORE_COLUMNS = ("task", "metric", "score", "± error", "n", "by chance", "shots")
STYLE = """
body { font: 16px/1.55 system-ui, sans-serif; color: #1d2429; max-width: 62rem;
  margin: 2.5rem auto; padding: 0 1.25rem }
h1 { font-size: 1.7rem; margin-bottom: .2rem } h2 { font-size: 1.15rem; margin: 2.4rem 0 .6rem }
table { border-collapse: collapse; margin: .6rem 0; font-variant-numeric: tabular-nums }
th, td { text-align: left; padding: .28rem 1.1rem .28rem 0; border-bottom: 1px solid #e3e8eb; vertical-align: top }
th { font-weight: 600 } td.n, th.n { text-align: right } .wide { overflow-x: auto }
.summary td:first-child { font-weight: 600 } .summary td, .summary th { padding-right: 2rem }
pre { background: #f4f6f7; padding: .8rem 1rem; overflow-x: auto; font-size: .85rem; white-space: pre-wrap }
svg { max-width: 100%; height: auto; margin: .4rem 1rem .4rem 0 }
svg text { font: 11px system-ui, sans-serif; fill: #56616a }
code { overflow-wrap: anywhere }
@media (prefers-color-scheme: dark) { body { background: #14181b; color: #dde3e7 } th, td { border-color: #2c343a }
pre { background: #1c2226 } svg text { fill: #9aa5ad } }
"""


def markdown(report: Report) -> str:
    blocks = [f"# {report.title}", _table(("", ""), report.head)]
    for section in report.sections:
        blocks.append(f"## {section.title}")
        if section.rows:
            blocks.append(_table(("", ""), section.rows))
        if section.scores:
            blocks.append(_table(SCORE_COLUMNS, map(score_row, section.scores)))
        if section.text:
            blocks.append("```text\n" + section.text.strip().replace("```", "'''") + "\n```")
    return "\n\n".join([*blocks, "## Summary", summary_table(report), _table(("", ""), report.total)]) + "\n"


def summary_table(report: Report) -> str:
    return _table(("", *report.columns), [(name, *values) for name, values in report.summary])


def score_row(score: dict) -> tuple[str, ...]:
    error = score["standard_error"]
    told = "-" if error is None or error != error else f"{error:.1%}"
    value, chance = f"{score['value']:.1%}", f"{score['by_chance']:.0%}"
    return score["task"], score["metric"], value, told, str(score["n"]), chance, str(score["shots"])


def _table(head: Sequence[str], rows) -> str:
    lines = ["| " + " | ".join(head) + " |", "|" + " --- |" * len(head)]
    lines += ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows]
    return "\n".join(lines)


def html(report: Report) -> str:
    body = [f"<h1>{escape(report.title)}</h1>", _html_table((), report.head)]
    body += ["<h2>Summary</h2>", _html_table(("", *report.columns), _summary_rows(report), "summary")]
    body.append(_html_table((), report.total))
    for section in report.sections:
        body.append(f"<h2>{escape(section.title)}</h2>")
        body.append(_html_section(section))
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(report.title)}</title><style>{STYLE}</style></head>\n<body>\n"
        + "\n".join(body)
        + "\n</body></html>\n"
    )


def _summary_rows(report: Report) -> list[tuple[str, ...]]:
    return [(name, *values) for name, values in report.summary]


def _html_section(section: Section) -> str:
    blocks = [curve(name, points) for name, points in section.curves.items()]
    if section.scores:
        blocks.append(_html_table(SCORE_COLUMNS, [score_row(score) for score in section.scores]))
    if section.rows:
        blocks.append(_html_table((), section.rows))
    if section.text:
        blocks.append(f"<pre>{escape(section.text.strip())}</pre>")
    return "\n".join(blocks)


def _html_table(head: Sequence[str], rows: Sequence[Sequence[str]], kind: str = "") -> str:
    heads = f"<tr>{''.join(f'<th>{escape(cell)}</th>' for cell in head)}</tr>" if head else ""
    lines = "".join(f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in row)}</tr>" for row in rows)
    return f'<div class="wide"><table class="{kind}">{heads}{lines}</table></div>'


def curve(name: str, points: Sequence[tuple[float, float]], width: int = 440, height: int = 180) -> str:
    """A line with the limits of both axes, as SVG."""
    left, bottom, top = 52, 24, 20
    xs, ys = [x for x, _ in points], [y for _, y in points]
    low, high, first, last = min(ys), max(ys), min(xs), max(xs)
    across, up = (last - first) or 1, (high - low) or 1
    per_step, per_value = (width - left - 8) / across, (height - bottom - top) / up
    placed = " ".join(
        f"{left + (x - first) * per_step:.1f},{height - bottom - (y - low) * per_value:.1f}" for x, y in points
    )
    return (
        f'<svg viewBox="0 0 {width} {height}" width="{width}" role="img" aria-label="{escape(name)}">'
        f'<text x="{left}" y="13">{escape(name)}</text>'
        f'<line x1="{left}" y1="{height - bottom}" x2="{width - 8}" y2="{height - bottom}" stroke="#9aa5ad"/>'
        f'<line x1="{left}" y1="{top}" x2="{left}" y2="{height - bottom}" stroke="#9aa5ad"/>'
        f'<text x="{left - 6}" y="{top + 8}" text-anchor="end">{high:.3g}</text>'
        f'<text x="{left - 6}" y="{height - bottom}" text-anchor="end">{low:.3g}</text>'
        f'<text x="{left}" y="{height - 8}">{first:g}</text>'
        f'<text x="{width - 8}" y="{height - 8}" text-anchor="end">step {last:g}</text>'
        f'<polyline points="{placed}" fill="none" stroke="#1b6ca8" stroke-width="1.6"/></svg>'
    )
