"""The number that an answer ends in: after ####, as GSM8K has it, or simply the last one."""

import re

MARKED = re.compile(r"#### (\-?[0-9\.\,]+)")
ANY = re.compile(r"(?:(?<![\w.)])-)?(?:\d[\d,]*(?:\.\d+)?|\.\d+)")  # the minus of 9-4 is no sign


def marked_number(text: str) -> str | None:
    """As nanochat reads it: a string, without its commas; "18." is not "18"."""
    found = MARKED.search(text)
    return found[1].strip().replace(",", "") if found else None


def last_number(text: str) -> float | None:
    found = ANY.findall(text)
    return float(found[-1].replace(",", "")) if found else None
