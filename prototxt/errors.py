"""The one exception for a user's mistake: where it is, what was found, what was expected, what to do."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

_LONGEST_NAME = 200  # what is longer is no misspelt name, and comparing it would take long


class UserError(Exception):
    """A mistake in a user's file or command, worded so that the user can mend it.

    Args:
        found: what is wrong, as a sentence without its full stop.
        where: `FILE:LINE:COLUMN`, `FILE:LINE`, a file or a layer; empty when the sentence says it.
        expected: what would have been right.
        fix: what the user can do about it.
        snippet: the offending line of the file, shown below the sentence.

    The command line prints it without a traceback and exits with status 2.
    """

    def __init__(self, found: str, *, where: str = "", expected: str = "", fix: str = "", snippet: str = "") -> None:
        self.found, self.where, self.expected, self.fix, self.snippet = found, where, expected, fix, snippet
        super().__init__(str(self))

    def __str__(self) -> str:
        text = f"{self.where}: {self.found}" if self.where else self.found
        if self.expected:
            text += f"; expected {self.expected}"
        if self.snippet:
            text += f"\n{self.snippet}"
        if self.fix:
            text += f"\n  fix: {self.fix}"
        return text


class UserErrors(UserError):
    """Several mistakes of one file, reported together so that they can be mended together."""

    def __init__(self, errors: Iterable[UserError]) -> None:
        self.errors = list(errors)
        super().__init__("\n".join(str(error) for error in self.errors))


def nearest(word: str, known: Iterable[str]) -> str:
    """The hint ` (did you mean "X"?)` for the known word nearest to `word`, or an empty string."""
    if len(word) > _LONGEST_NAME:
        return ""
    by_lower = {name.lower(): name for name in known}
    close = difflib.get_close_matches(word.lower(), by_lower, n=1, cutoff=0.6)
    return f' (did you mean "{by_lower[close[0]]}"?)' if close else ""
