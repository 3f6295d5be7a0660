"""The report: one file that says everything, loads nothing, and is seen as it is meant."""

import re
from html import escape
from html.parser import HTMLParser

import numpy as np
import pytest
import showcase
from browser import look_at

from lemmata.lab.errors import DataError, OutputError
from lemmata.show.draw import figure
from lemmata.show.inline import inline_svg
from lemmata.show.notebook import notebook_html
from lemmata.show.report import report, write_report

VOID = {"meta", "link", "br", "hr", "img", "input", "wbr"}


class Reader(HTMLParser):
    """Reads a page: its elements, its ids, its words, what it would load, what it leaves open."""

    def __init__(self, page):
        super().__init__()
        self.open, self.ids, self.loads, self.targets, self.text = [], [], [], [], []
        self.tags = []
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.handle_startendtag(tag, attrs)
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        about = dict(attrs)
        self.tags.append(tag)
        self.ids += [about["id"]] if "id" in about else []
        link = about.get("href") or about.get("xlink:href") or ""
        if link.startswith("#"):
            self.targets.append(link[1:])
        elif link and tag != "a":
            self.loads.append(link)
        self.loads += [about[name] for name in ("src", "srcset", "data", "poster") if name in about]
        self.targets += re.findall(r"url\(#([^)]+)\)", str(about.values()))
        self.targets += (about.get("aria-labelledby") or "").split()

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] not in ("style", "title", "desc"):
            self.text.append(data)

    @property
    def words(self):
        return " ".join(" ".join(self.text).split())


@pytest.fixture(scope="module")
def page():
    return report([showcase.result(), showcase.not_run()], papers=[showcase.PAPER])


@pytest.fixture(scope="module")
def changed():
    return report([showcase.result(changes={"m": 64})], papers=[showcase.PAPER])


@pytest.fixture(scope="module")
def words(page):
    return Reader(page).words


def test_the_page_is_whole_and_every_id_is_there_once(page):
    reader = Reader(page)
    assert reader.open == []
    assert len(reader.ids) == len(set(reader.ids))
    assert set(reader.targets) <= set(reader.ids)


def test_ids_of_two_figures_do_not_meet():
    drawn = figure(showcase.result())
    words = {"title": "t", "description": "d", "themed": True}
    one, two = (inline_svg(drawn, prefix=prefix, **words) for prefix in ("one", "two"))
    assert len(Reader(one).ids) > 20
    assert not set(Reader(one).ids) & set(Reader(two).ids)
    assert set(Reader(two).targets) <= set(Reader(two).ids)


def test_nothing_is_loaded(page):
    reader = Reader(page)
    assert [link for link in reader.loads if not link.startswith("data:")] == []
    assert "script" not in reader.tags and "iframe" not in reader.tags
    assert not re.search(r"@import|url\((?!#|data:)", page)
    assert not re.search(r"https?://", page)


def test_the_first_screen_tells_what_why_and_how_many(words):
    for said in (
        "How Toys Learn & Generalise",
        "Ada Author, Bo Writer · TOY 2024 · arXiv 2400.00000",
        "2 claims of this paper were written down as 4 predictions",
        "10 small networks were trained and measured (profile quick, 5 seeds a condition)",
        "1 CONFIRMED",
        "2 REFUTED",
        "0 UNDECIDED",
        "1 NOT RUN",
        "3 predictions were judged in all",
        "about 0.2 of them can be expected to, by chance alone",
        "The rule came before the run.",
        "refutes that the bound is tight, never the theorem",
    ):
        assert said in words, said


def test_a_claim_says_everything_that_a_verdict_rests_on(page, words):
    judged = showcase.result().verdicts[0]
    assert judged.estimate is not None
    for said in (
        "Theorem 1, slide 9",
        f"{judged.estimate.value:.4g}",
        f"[{judged.estimate.lo:.4f}, {judged.estimate.hi:.4f}]",
        str(judged.prediction.rule),
        "(Student t over seeds)",
        "slower lr=0.1",
        "Shaded: 95 % intervals over n = 5 seeds.",
        "2 given by the paper, 3 chosen here",
        "sampler iid how prompts are drawn chosen",
        "m 32, 64 width of the network given",
        "needs the data folder nowhere: pass --data DIR",
        "lemmata check toy.lengths --quick --seeds 5",
        "@inproceedings{toy2024, title = {How Toys Learn}, }",
        "Python 3.",
        "torch 2.",
        "5 minutes of computing",
    ):
        assert said in words, said
    assert "@article{uncited}" not in words
    assert "The error falls with <i>l</i><sub>ts</sub> at the rate α<sup>−2/3</sup>" in page
    assert "is small &lt;for all m&gt;" in page


def test_every_prediction_is_reached_from_the_table_of_verdicts(page):
    for judged in showcase.result().verdicts:
        anchor = judged.id.replace(".", "-").replace("/", "-")
        assert f'href="#{anchor}"' in page and f'id="{anchor}"' in page


def test_a_figure_speaks_to_those_who_do_not_see_it(page):
    shown = page[page.index("<svg") : page.index("</svg>")]
    assert 'role="img" aria-labelledby="toy-lengths-title toy-lengths-description"' in shown
    assert '<title id="toy-lengths-title">Longer prompts, smaller error</title>' in shown
    assert "0-1 error against examples l_ts, for m = 32; m = 64" in shown
    assert "<metadata" not in page and "<!DOCTYPE svg" not in page


def test_changed_constants_are_labelled_everywhere(changed, page):
    said = Reader(changed).words
    assert "Some verdicts here are not the registered ones." in said
    assert said.count("with changed constants: not the registered verdict") == 3
    assert "Not the registered constants: m=64" in said
    assert "m 64 width of the network changed" in said
    assert "lemmata check toy.lengths --quick --seeds 5 --set m=64" in said
    assert "registered ones" not in Reader(page).words


def test_a_long_table_is_cut_and_says_how_to_print_all_of_it(monkeypatch):
    monkeypatch.setattr("lemmata.show.section.ROWS_SHOWN", 5)
    said = Reader(report([showcase.result()], papers=[showcase.PAPER])).words
    assert "Measurements: 12 rows" in said
    assert "The first 5 rows. All of them: lemmata table toy.lengths --quick --seeds 5 --csv" in said


def test_a_figure_that_lacks_its_data_leaves_a_reason(monkeypatch):
    def lacking(frames):
        raise DataError("measurements of error at m = 7", "none", "change nothing")

    result = showcase.result()
    object.__setattr__(result.claim, "figure", lacking)
    try:
        said = Reader(report([result], papers=[showcase.PAPER])).words
        assert "No figure: expected measurements of error at m = 7, got none." in said
        assert "<svg" not in notebook_html(result)
    finally:
        object.__setattr__(result.claim, "figure", showcase.figure)


def test_two_papers_and_no_results_have_a_page():
    said = Reader(report([], papers=[showcase.PAPER])).words
    assert "0 claims" in said and "0 predictions were judged in all" in said


def test_the_file_is_written_once_and_not_over_another(tmp_path):
    path = tmp_path / "report.html"
    write_report(path, [showcase.result()], papers=[showcase.PAPER])
    assert path.read_text().startswith("<!doctype html>")
    assert [p.name for p in tmp_path.iterdir()] == ["report.html"]
    with pytest.raises(OutputError, match="not there yet"):
        write_report(path, [showcase.result()], papers=[showcase.PAPER])
    write_report(path, [showcase.not_run()], papers=[showcase.PAPER], force=True)
    assert "toy.lengths" not in path.read_text()
    with pytest.raises(OutputError, match=r"ends in \.html"):
        write_report(tmp_path / "report.pdf", [], papers=[])


def colours(picture, box):
    """How many colours are seen in a box of a picture."""
    left, top, width, height = (int(v) for v in box)
    part = picture[top : top + height, left : left + width]
    return len(np.unique((part.reshape(-1, 3) * 15).round(), axis=0))


def test_a_browser_shows_the_figures_and_reports_no_error(page, tmp_path):
    seen = look_at(page, tmp_path)
    assert seen.console == []
    assert seen.found["loaded"] == [] and seen.found["broken"] == 0
    (box,) = seen.found["figures"]
    assert box[2] > 600 and box[3] > 200
    assert colours(seen.picture, box) > 20
    assert seen.found["width"] <= 1100


def test_a_telephone_shows_the_page_without_scrolling_sideways(page, tmp_path):
    frame = "<iframe style='width:375px;height:2000px;border:0' srcdoc='{}'></iframe>"
    seen = look_at(f"<!doctype html><body>{frame.format(escape(page))}</body>", tmp_path)
    assert seen.console == []
    assert seen.found["framed"] == [375]


def test_the_check_in_the_browser_can_fail(tmp_path):
    bad = "<figure><svg width=9 height=9><use href='#no'></svg></figure><img src='http://10.0.0.1/a'>"
    seen = look_at(f"<body>{bad}<script>console.error('no')</script></body>", tmp_path)
    assert seen.console and seen.found["broken"] == 1
    assert seen.found["loaded"] == ["http://10.0.0.1/a"]
    assert colours(seen.picture, seen.found["figures"][0]) == 1


def test_a_notebook_shows_verdicts_figure_and_table():
    shown = notebook_html(showcase.result(changes={"m": 64}))
    reader = Reader(shown)
    assert reader.open == [] and len(reader.ids) == len(set(reader.ids))
    assert "toy.lengths/small CONFIRMED" in reader.words
    assert "Not the registered constants: m=64" in reader.words
    assert "12 rows of measurements" in reader.words
    assert shown.count("<svg") == 1 and "currentColor" not in shown
    assert "<svg" not in notebook_html(showcase.not_run())
