"""The report is one file that loads nothing and runs nothing, says what the model is not, and shows every data set."""

import json
from html.parser import HTMLParser
from types import SimpleNamespace

import numpy as np
import pytest

from model.findings import Vertebra
from tests.training.known_results import MASK, evaluation, level, refused, result
from training.evaluation.html_parts import element, page, paragraph, table, text
from training.evaluation.html_report import Report, write_report
from training.evaluation.worst_cases import gallery_folder, worst_cases

BUNDLE = SimpleNamespace(name="test", version="2", sha256="f" * 64)
PIXEL = bytes.fromhex(
    "89504e470d0a1a0a0000000d49484452000000010000000108000000003a7e9b550000000a49444154789c63000000020001"
    "48afa4710000000049454e44ae426082"
)


class Reader(HTMLParser):
    """Collects the elements, their attributes and the words of a page."""

    def __init__(self, content):
        super().__init__()
        self.tags, self.sources, self.words = [], [], []
        self.feed(content)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.sources += [value for name, value in attrs if name in {"src", "href"}]

    def handle_data(self, data):
        self.words.append(data)


def some_results(count=24, name="study"):
    rng = np.random.default_rng(3)
    made = []
    for number in range(count):
        broken = Vertebra(number % 7 + 1) if number % 3 == 0 else None
        levels = [
            level(one, float(np.clip(rng.normal(0.3 + 0.4 * (one is broken), 0.15), 0, 1)), one is broken,
                  kind="lamina" if one is broken else "", mask=MASK)
            for one in Vertebra
        ]  # fmt: skip
        made.append(result(f"{name} {number}", *levels, site="north" if number % 2 else "south"))
    return made


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    folder = tmp_path_factory.mktemp("report")
    many = evaluation(*some_results(), refused("gone", Vertebra.C2), data="first <script>alert(1)</script>")
    few = evaluation(result("x", level(Vertebra.C1, 0.2), unknown=(Vertebra.C2,)), data="second & small")
    worst = worst_cases(many.results, 1)
    pictures = gallery_folder(folder, many.data)
    pictures.mkdir(parents=True)
    (pictures / worst[0].file_name).write_bytes(PIXEL)
    report = Report([many, few], {many.data: worst}, {"Prepared folder": "<b>rsna</b>"}, ["Measured on training data."])
    path = write_report(folder, report, BUNDLE)
    return path, worst


def test_nothing_is_loaded_and_nothing_runs(written):
    path, _ = written
    page = Reader(path.read_text(encoding="utf-8"))
    assert not {"script", "link", "iframe", "object", "form", "b"} & {*page.tags}
    assert page.sources
    assert all(source.startswith("data:image/png;base64,") for source in page.sources)
    assert "default-src 'none'" in path.read_text(encoding="utf-8").replace("&#x27;", "'")


def test_it_says_what_the_model_is_not_and_what_was_measured(written):
    path, worst = written
    words = " ".join(Reader(path.read_text(encoding="utf-8")).words)
    assert words.index("Not a medical device") < words.index("What was measured")
    for wanted in (
        "ffff",
        "<b>rsna</b>",
        "first <script>",
        "second & small",
        "Measured on training data.",
        "25",
        "too noisy",
        "C2 (1): x",
        "Only",
        "RSNA weighted log loss",
        "95% sensitivity of levels",
        "97% specificity of whole studies",
        "lamina",
        "north",
        "(no picture)",
        worst[0].title,
    ):
        assert wanted in words, wanted


def test_every_figure_lies_beside_it_as_json(written):
    path, _ = written
    figures = json.loads((path.parent / "figures.json").read_text(encoding="utf-8"))
    first, second = figures["data_sets"]
    assert figures["bundle"]["sha256"] == "f" * 64
    assert first["whole_studies"]["average_precision"]["low"] <= first["whole_studies"]["average_precision"]["value"]
    assert first["hausdorff95_mm"]["C4"]["value"] == 1.5
    assert len(first["results"]) == 25
    assert second["levels"]["sensitivity"] is None
    assert "NaN" not in (path.parent / "figures.json").read_text(encoding="utf-8")


def test_every_string_is_escaped():
    wild = '"><img src=x onerror=alert(1)>'
    content = page(wild, paragraph(wild, wild), table([wild], [[wild]]), element("p", text(wild), kind=wild))
    assert {*Reader(content).tags} == {
        "html", "head", "meta", "title", "style", "body", "p", "table", "thead", "tbody", "tr", "th", "td",
    }  # fmt: skip


def test_a_crooked_table_is_refused():
    with pytest.raises(ValueError, match="2 cells"):
        table(["a", "b"], [["x"]])
