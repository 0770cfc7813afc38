"""Every way a command can fail, as an exit code and one line: 2 for what the user can mend, 1 for a defect, 128 + n
for signal n.

The traceback is shown only with debug=true; a run that has begun writes it to its own log (cli/train.py).
"""

import signal
import sys
import traceback
from collections.abc import Callable


def guarded(command: Callable[[], int], debug: bool) -> int:
    try:
        return command()
    except KeyboardInterrupt:
        return _say(
            "interrupted; what was saved before is intact, and the same command goes on from there", 128 + signal.SIGINT
        )
    except BrokenPipeError:
        sys.stderr.close()  # the reader of our output has gone; there is nobody to tell
        return 128 + signal.SIGPIPE
    except (ValueError, OSError) as error:
        return _fail(error, _one_line(error), 2, debug)
    except Exception as error:  # noqa: BLE001  the last resort: a defect of ours or of a library, told as one
        return _fail(error, f"{type(error).__name__}: {_one_line(error)} (a defect; debug=true shows where)", 1, debug)


def _fail(error: Exception, line: str, code: int, debug: bool) -> int:
    if debug:
        traceback.print_exception(error)
    return _say(f"error: {line}", code)


def _say(line: str, code: int) -> int:
    print(line, file=sys.stderr, flush=True)
    return code


def _one_line(error: BaseException) -> str:
    if isinstance(error, OSError) and error.strerror:
        what = {
            "No space left on device": "no space left on the device; free some, or move with OUT_DIR or DATA_ROOT",
            "Permission denied": "not allowed; choose another place with run_dir=, OUT_DIR or DATA_ROOT",
        }.get(error.strerror, error.strerror)
        return f"{error.filename}: {what}" if error.filename else what
    return " ".join(str(error).split()) or type(error).__name__
