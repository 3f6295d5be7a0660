"""Figures: every mark in every format, nothing hidden, the same bytes every time."""

import re
import shutil
import subprocess
from dataclasses import replace
from itertools import pairwise

import matplotlib
import numpy as np
import pytest
import showcase
from matplotlib.font_manager import FontProperties, findfont
from matplotlib.text import Text

from lemmata.lab.errors import OutputError
from lemmata.lab.figure import Bars, Curve, Figure, Grid, Panel, Reference, Scatter
from lemmata.show import output
from lemmata.show.draw import caption, figure
from lemmata.show.looks import looks
from lemmata.show.notation import tex, typeset
from lemmata.show.output import check_output, save, svg
from lemmata.show.scale import Scale
from lemmata.show.style import VENUES, group_style

INF = float("inf")
CURVE = Curve("measured", (0, 4, 8), (0.5, 0.1, 0.02), (0.4, 0.05, 0.01), (0.6, 0.15, 0.03), n=5)
MARKS = {
    "curve": CURVE,
    "one point": Curve("point", (4,), (0.1,), (0.05,), (0.2,), n=5),
    "one seed": Curve("seed", (0, 4), (0.5, 0.1), (-INF, -INF), (INF, INF), n=1),
    "oracle": Reference("oracle", (0, 4, 8), (0.5, 0.08, 0.01), "oracle"),
    "prediction": Reference("slope -2/3", (1, 8), (0.5, 0.1), "prediction", 1),
    "published": Reference("published", (0, 8), (0.5, 0.02), "published"),
    "threshold": Reference("1 %", (0, 8), (0.01, 0.01), "threshold"),
    "upright threshold": Reference("S_1 = 1", (1, 1), (0, 1), "threshold"),
    "scatter": Scatter("a_i > 0", (0.1, 0.2), (0.3, 0.4), group=2),
    "shaded": Scatter("rows", (0.1, 0.2), (0.3, 0.4), (0.0, 1.0), shade_label="step, 0 to 400"),
    "bars": Bars("neurons", (0.1, 0.2, 0.3), (3, 5, 2), 1),
    "grid": Grid("accuracy", (0.0, 1.0, 2.0), (-1.0, 1.0), ((0.1, 0.5, float("nan")), (0.9, 1.0, 0.2))),
}


def panel(*marks, **options):
    return Panel(**{"title": "title", "x": "l_ts", "y": "error", "marks": marks, **options})


def one(*marks, **options):
    return Figure(panels=(panel(*marks, **options),), caption="Error against length.")


def points(ax, marker):
    """Where markers of this kind are, (P, 2)."""
    return np.array([line.get_xydata() for line in ax.lines if line.get_marker() == marker])[0]


def words(drawn):
    """Every text of a drawing."""
    drawn.draw_without_rendering()
    texts = drawn.findobj(Text)
    return [text.get_text() for text in texts if text.get_visible() and text.get_text()]


def ink(drawn):
    """The pixels inside the first panel that are neither white nor the grid's grey."""
    drawn.canvas.draw()
    box = drawn.axes[0].get_window_extent()
    rgba = np.asarray(drawn.canvas.buffer_rgba())[::-1]
    inside = rgba[int(box.y0) + 2 : int(box.y1) - 1, int(box.x0) + 2 : int(box.x1) - 1, :3]
    return int((inside.min(axis=2) < 220).sum())


@pytest.mark.parametrize("log", [False, True])
@pytest.mark.parametrize("name", MARKS)
def test_every_mark_leaves_ink_and_a_label(name, log):
    drawn = figure(one(MARKS[name], title="", y_log=log))
    assert ink(drawn) > 15
    assert typeset(MARKS[name].label) in " ".join(words(drawn))


def test_a_panel_without_marks_has_no_ink():
    assert ink(figure(one(title=""))) == 0


@pytest.mark.parametrize(("ending", "venue"), [("png", None), ("svg", "icml"), ("pdf", "neurips"), ("png", "iclr")])
def test_every_format(ending, venue, tmp_path):
    path = save(one(*MARKS.values()), tmp_path / f"figure.{ending}", venue=venue)
    start = {"png": b"\x89PNG", "svg": b"<?xml", "pdf": b"%PDF"}[ending]
    assert path.read_bytes().startswith(start)


def test_pgf_is_set_by_pdflatex(tmp_path):
    if shutil.which("pdflatex") is None:
        pytest.skip("LaTeX is missing: install TeX Live for this test")
    hard = one(CURVE, title="80 % & α' ≥ S_1", x="l_ts of row_norm", y="M₁ # $a_i$")
    save(hard, tmp_path / "figure.pgf", venue="icml")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["figure.pgf"]
    document = r"\documentclass{article}\usepackage{pgf}\begin{document}\input{figure.pgf}\end{document}"
    (tmp_path / "paper.tex").write_text(document)
    command = ["pdflatex", "-interaction=batchmode", "-halt-on-error", "paper.tex"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, timeout=60, check=False)
    assert done.returncode == 0, (tmp_path / "paper.log").read_text()[-800:]
    assert (tmp_path / "paper.pdf").read_bytes().startswith(b"%PDF")


def test_pgf_without_latex_says_what_is_missing(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(OutputError, match="LaTeX on the PATH") as error:
        save(one(CURVE), tmp_path / "figure.pgf")
    assert "write a .pdf" in error.value.fix
    assert not list(tmp_path.iterdir())


def test_labels_that_latex_cannot_set_are_an_error(tmp_path):
    if shutil.which("pdflatex") is None:
        pytest.skip("LaTeX is missing: install TeX Live for this test")
    with pytest.raises(OutputError, match="labels that LaTeX can set"):
        save(one(CURVE, x=r"$\nosuchcommand$"), tmp_path / "figure.pgf")


@pytest.mark.parametrize(("ending", "times"), [("svg", 3), ("pdf", 2), ("png", 2)])
def test_the_same_figure_is_the_same_bytes(ending, times, tmp_path):
    data = showcase.result().figure
    made = {save(data, tmp_path / f"{i}.{ending}").read_bytes() for i in range(times)}
    assert len(made) == 1


def test_the_user_s_own_settings_neither_matter_nor_change():
    before = svg(figure(showcase.result()))
    with matplotlib.rc_context({"font.size": 30, "axes.facecolor": "red", "svg.hashsalt": None}):
        mine = dict(matplotlib.rcParams)
        assert svg(figure(showcase.result())) == before
        assert dict(matplotlib.rcParams) == mine


def test_no_date_and_no_type_3_font_in_a_pdf(tmp_path):
    content = save(showcase.result(), tmp_path / "figure.pdf", venue="neurips").read_bytes()
    assert b"CreationDate" not in content
    assert b"/Type3" not in content and b"/Type42" not in content
    assert b"/CIDFontType2" in content


@pytest.mark.parametrize(
    ("venue", "panels", "width"),
    [("icml", 1, 3.25), ("icml", 2, 6.75), ("neurips", 1, 5.5), ("iclr", 3, 5.5)],
)
def test_the_venue_sets_width_and_fonts(venue, panels, width):
    drawn = figure(Figure(panels=(panel(CURVE),) * panels, caption=""), venue=venue)
    assert drawn.get_figwidth() == width
    label = drawn.axes[0].xaxis.label
    assert "STIXGeneral" in findfont(FontProperties(family=label.get_fontfamily()))
    assert label.get_fontsize() == VENUES[venue].body


@pytest.mark.parametrize(("panels", "columns", "rows"), [(1, 1, 1), (2, 2, 1), (3, 3, 1), (4, 2, 2), (5, 3, 2)])
def test_panels_stand_side_by_side_and_then_wrap(panels, columns, rows):
    drawn = figure(Figure(panels=(panel(CURVE),) * panels, caption=""))
    drawn.draw_without_rendering()
    places = [ax.get_position() for ax in drawn.axes if ax.axison]
    assert len(places) == panels
    assert len({round(place.x0, 2) for place in places}) == columns
    assert len({round(place.y0, 2) for place in places}) == rows


def test_nothing_is_cut_off():
    drawn = figure(showcase.result(), venue="icml")
    drawn.draw_without_rendering()
    for ax in drawn.axes:
        box = ax.get_tightbbox()
        assert box is None or (box.x0 >= -1 and box.x1 <= drawn.bbox.x1 + 1 and box.y0 >= -1)


def test_zero_is_shown_on_a_logarithmic_axis():
    zeros = Curve("measured", (0, 4, 8), (0.5, 0.1, 0.0), (0.4, 0.05, 0.0), (0.6, 0.15, 0.0), n=5)
    drawn = figure(one(zeros, y_log=True))
    ax = drawn.axes[0]
    assert "0" in [label.get_text() for label in ax.get_yticklabels()]
    triangles = points(ax, "v")
    assert triangles[:, 0].tolist() == [8]
    assert ax.get_ylim()[0] < triangles[0, 1] < 0.1
    assert "exactly zero was measured" in caption(one(zeros, y_log=True))
    assert "zero" not in caption(one(zeros))


def test_a_line_to_zero_ends_at_the_break():
    zeros = Curve("measured", (0, 4, 8), (0.5, 0.1, 0.0), (0.4, 0.05, 0.0), (0.6, 0.15, 0.0), n=5)
    low = Reference("oracle", (0, 4, 8), (0.5, 1e-3, 1e-9), "oracle")
    ax = figure(one(zeros, low, y_log=True, y_range=(0.01, 1))).axes[0]
    floor = ax.transData.transform((0, 0.01))[1]
    solid, dashed = (line for line in ax.lines if len(np.array(line.get_xydata())) == 3)
    for box in (solid.get_clip_box(), dashed.get_clip_box()):
        assert box is not None and box.y0 == pytest.approx(floor)
    # Above the break it still goes where it is going.
    assert np.array(dashed.get_xydata())[1].tolist() == [4, 1e-3]


def test_no_measured_mean_is_left_out_by_the_range_that_a_claim_asks_for():
    ax = figure(one(CURVE, y_log=True, y_range=(0.1, 0.2))).axes[0]
    assert ax.get_ylim()[0] < 0.02 and ax.get_ylim()[1] > 0.5


def test_values_below_zero_are_not_called_zero():
    scale = Scale.of([-1.0, 0.1, 1.0], log=True)
    assert scale.zero_label == "≤ 0"
    assert Scale.of([0.0, 0.1, 1.0], log=True).zero_label == "0"
    assert Scale.of([0.1, 1.0], log=True).zero is None


def test_only_zeros_on_a_logarithmic_axis_are_drawn_on_a_linear_one():
    zeros = Curve("measured", (0, 4), (0.0, 0.0), (0.0, 0.0), (0.0, 0.0), n=5)
    drawn = figure(one(zeros, y_log=True))
    assert drawn.axes[0].get_yscale() == "linear"


def test_an_enormous_interval_does_not_squash_the_curve():
    wide = replace(CURVE, hi=(0.6, 0.15, 50.0))
    assert figure(one(wide)).axes[0].get_ylim()[1] < 2
    assert figure(one(wide, y_log=True)).axes[0].get_ylim()[1] < 2


def test_a_failure_is_marked_and_told():
    failed = Curve("m", (0, 4, 8), (0.5, np.nan, 0.1), (0.4, -INF, 0.0), (0.6, INF, 0.2), n=5)
    drawn = figure(one(failed))
    assert points(drawn.axes[0], "x")[:, 0].tolist() == [4]
    assert "diverged" in caption(one(failed))


@pytest.mark.parametrize(
    ("seeds", "said"),
    [
        ([5], "over n = 5 seeds"),
        ([10, 5], "over n = 5 to 10 seeds"),
        ([1], "One seed, and so no interval"),
    ],
)
def test_the_caption_says_over_how_many_seeds(seeds, said):
    marks = [replace(CURVE, n=n) for n in seeds]
    assert caption(one(*marks)).startswith("Error against length. ")
    assert said in caption(one(*marks))


def test_published_numbers_are_labelled_as_read_off():
    assert "published (read off the published figure)" in words(figure(one(MARKS["published"])))


def test_lines_that_repeat_the_colours_share_one_entry():
    curves = [replace(CURVE, label=f"m = {i}", group=i) for i in range(4)]
    oracles = [Reference(f"oracle {i}", (0, 8), (0.5, 0.1), "oracle", i) for i in range(4)]
    shown = " ".join(words(figure(one(*curves, *oracles))))
    assert "oracle of the same colour" in shown
    assert "oracle 3" not in shown and "m = 3" in shown


def test_lines_of_one_style_are_told_apart():
    slopes = [Reference(name, (1, 8), (0.5, 0.1), "prediction") for name in ("slides", "poster")]
    published = [Reference(name, (1, 8), (0.5, 0.1), "published") for name in ("a", "b")]
    for pair in (slopes, published):
        one_look, other = looks(pair)
        assert (one_look.line, one_look.marker) != (other.line, other.marker)
    assert {"slides", "poster"} <= set(words(figure(one(*slopes))))


def test_a_line_without_points_has_no_entry():
    assert "fit" not in words(figure(one(CURVE, Reference("fit", (), (), "oracle"))))


def test_a_long_curve_has_few_markers():
    steps = tuple(float(v) for v in range(100))
    long = Curve("measured", steps, steps, steps, steps, n=5)
    (line,) = [line for line in figure(one(long)).axes[0].lines if line.get_marker() == "o"]
    marked = line.get_markevery()
    assert isinstance(marked, list) and 8 <= len(marked) <= 20


def test_panels_with_the_same_entries_share_a_legend():
    shared = figure(Figure(panels=(panel(CURVE), panel(CURVE)), caption=""))
    apart = figure(Figure(panels=(panel(CURVE), panel(MARKS["bars"])), caption=""))
    legends = [sum(ax.get_legend() is not None for ax in f.axes) for f in (shared, apart)]
    assert legends == [1, 2]


def test_groups_differ_in_colour_and_in_marker():
    styles = [group_style(group) for group in range(7)]
    assert len({colour for colour, _ in styles}) == len({marker for _, marker in styles}) == 7
    assert len({group_style(group) for group in range(56)}) == 56


def test_bars_at_the_same_place_stand_side_by_side():
    drawn = figure(one(MARKS["bars"], replace(MARKS["bars"], group=2)))
    edges = sorted(tuple(bar.get_window_extent().intervalx) for bar in drawn.axes[0].patches)
    assert all(right <= left + 1e-9 for (_, right), (left, _) in pairwise(edges))
    assert drawn.axes[0].get_ylim()[0] == 0


def test_ticks_of_a_logarithmic_axis_are_the_values_that_were_tried():
    tried = Curve("m", (0.2, 0.4, 0.8), (9, 5, 3), (8, 4, 2), (10, 6, 4), n=5)
    labels = figure(one(tried, x_log=True)).axes[0].get_xticklabels()
    assert [label.get_text() for label in labels] == ["0.2", "0.4", "0.8"]


@pytest.mark.parametrize(("lo", "hi"), [(0.6, 0.9), (2, 30), (1e-3, 1), (1e-9, 1), (1e-30, 1e30), (3, 3)])
def test_every_logarithmic_axis_has_two_to_eight_ticks(lo, hi):
    assert 2 <= len(Scale.of([lo, hi], log=True).ticks) <= 8


def test_notation():
    assert typeset("beta and betatron") == "β and betatron"
    assert typeset("mu'_j in row_norms") == r"$\mu'_{j}$ in row_norms"
    assert tex("a $b_1$ 5 % costs $") == r"a \$b\_1\$ 5 \% costs \$"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("figure.bmp", "ends in .png, .svg, .pdf, .pgf\ngot      .bmp"),
        ("figure", "which has none"),
        ("nowhere/figure.png", "in a folder that exists"),
        ("there.png", "not there yet"),
        ("folder.png", "the folder"),
    ],
)
def test_a_file_that_cannot_be_written_is_refused_before_any_work(name, message, tmp_path):
    (tmp_path / "there.png").write_bytes(b"mine")
    (tmp_path / "folder.png").mkdir()
    with pytest.raises(OutputError, match=re.escape(message)):
        check_output(tmp_path / name, endings=output.FIGURE_ENDINGS, force=False)
    with pytest.raises(OutputError):
        save(one(CURVE), tmp_path / name)
    assert (tmp_path / "there.png").read_bytes() == b"mine"
    assert len(list(tmp_path.iterdir())) == 2


def test_force_replaces_a_file(tmp_path):
    path = tmp_path / "figure.SVG"
    path.write_bytes(b"old")
    save(one(CURVE), path, force=True)
    assert path.read_bytes().startswith(b"<?xml")


def test_a_full_disk_leaves_what_was_there(tmp_path, monkeypatch):
    def full(path, data):
        raise OSError(28, "No space left on device")

    (tmp_path / "figure.png").write_bytes(b"old")
    monkeypatch.setattr(output.files, "write_whole", full)
    with pytest.raises(OutputError, match="No space left"):
        save(one(CURVE), tmp_path / "figure.png", force=True)
    assert (tmp_path / "figure.png").read_bytes() == b"old"


def test_an_unknown_venue_suggests_the_nearest(tmp_path):
    with pytest.raises(OutputError, match="did you mean icml"):
        save(one(CURVE), tmp_path / "figure.png", venue="icmll")
    assert not list(tmp_path.iterdir())
