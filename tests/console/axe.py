"""axe-core, which finds what keeps people with a disability from using a page; its npm package, and what it says.

It is put into the page through the DevTools protocol, which needs no right that the page's Content-Security-Policy
would have to give.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

from tests.npm_package import NpmPackage
from tests.viewer.chromium import Page

SCRIPT = "axe.min.js"
AXE = NpmPackage(
    "axe-core",
    "4.14.1",
    "sha512-FHfa+lmNjQZfJz1q8wKqIDwC6DExcHt/pkjNQb09a3NPjCKg2rhu5qb2S4r76ASyFNNtuFooJpZe37OgudVGtQ==",
    lambda path: path if path in {SCRIPT, "LICENSE"} else None,
)
RUN = """axe.run(document, {resultTypes: ['violations', 'incomplete']}).then(found => ({
  violations: found.violations.map(rule => [rule.impact, rule.id, rule.nodes.map(node => node.html).slice(0, 5)]),
  passes: found.passes.length}))"""
SERIOUS = ("serious", "critical")


@dataclass(frozen=True)
class Barrier:
    """A rule that a page breaks: how bad, which, and the elements (HTML) that break it."""

    impact: str
    rule: str
    elements: tuple[str, ...]


@cache
def source() -> str:
    """The script."""
    return (AXE.fetched() / SCRIPT).read_text()


def barriers(page: Page) -> Sequence[Barrier]:
    """What axe-core finds in the page as it is shown now."""
    page.run(f"{source()}; true")
    found = page.run(RUN)
    assert found["passes"] > 5, "axe-core looked at nothing"
    return [Barrier(impact, rule, tuple(elements)) for impact, rule, elements in found["violations"]]


def serious(page: Page) -> Sequence[Barrier]:
    """Those that keep somebody from using the page."""
    return [barrier for barrier in barriers(page) if barrier.impact in SERIOUS]
