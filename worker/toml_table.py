"""One table of a TOML file that an operator wrote: values are taken one by one, what is wrong is kept by its key."""

import difflib
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

T = TypeVar("T")


class TomlTable:
    """A table under a ``label`` (its file and place); ``problems`` holds a sentence for each key that is wrong."""

    def __init__(self, table: Any, label: str) -> None:
        self._values: dict[str, Any] = dict(table) if isinstance(table, dict) else {}
        self.label = label
        self.problems: list[str] = []

    def take(self, key: str, parse: Callable[[Any], T], default: T) -> T:
        """The parsed value of a key, which is then known; the default where it is missing or wrong."""
        value = self._values.pop(key, None)
        if value is None:
            return default
        try:
            return parse(value)
        except (TypeError, ValueError) as error:
            self.wrong(key, str(error))
            return default

    def wrong(self, key: str, what: str) -> None:
        """Keep a problem."""
        self.problems.append(f"{self.label}: {key}: {what}")

    def refuse_others(self, keys: Sequence[str]) -> None:
        """Every key that was not taken is a problem; ``keys`` are those that could be meant."""
        for key in self._values:
            near = difflib.get_close_matches(key, keys, n=1, cutoff=0.6)
            self.wrong(key, "is not a key" + (f": did you mean {near[0]}?" if near else f": {', '.join(keys)} are"))


def text(value: Any) -> str:
    """A text that is not empty."""
    if not isinstance(value, str) or not value.strip():
        raise ValueError("expected a text in quotes")
    return value.strip()


def texts(value: Any, example: str) -> tuple[str, ...]:
    """A list of texts; ``example`` shows one."""
    if not isinstance(value, list):
        raise TypeError(f"expected a list such as {example}")
    return tuple(text(item) for item in value)
