"""report.html: well-formed, complete in itself, safe with hostile names, and there whatever is missing."""

import base64
import configparser
import hashlib
import io
import os
import re
import shlex
import subprocess
import sys
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import EpsImagePlugin, Image

from minigan.errors import DataError, UsageError
from minigan.recipes import RECIPES
from minigan.report import main
from minigan.reports import pictures
from minigan.reports.page import render, write_report
from minigan.runs.config import command_line, parse_command, read_config, read_run_config, write_config
from minigan.runs.doctor import Diagnosis
from minigan.runs.folder import RunFolder
from minigan.runs.pictures import save_png
from tests.reports.runs import make_run, score, write_evaluation, write_metrics

ROOT = Path(__file__).parents[2]
VOID = {"meta", "img", "input", "br", "link"}
EVIL = "<script>alert(1)</script>\"'><img src=x onerror=alert(1)>&amp;"


class Page(HTMLParser):
    """Checks that tags are balanced; collects the elements, and the text of each."""

    def __init__(self, html):
        super().__init__()
        self.stack, self.elements, self.texts = [], [], []
        self.feed(html)
        self.close()
        assert self.stack == []

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))
        if tag not in VOID:
            self.stack.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))

    def handle_endtag(self, tag):
        assert self.stack.pop() == tag

    def handle_data(self, text):
        self.texts.append(text)

    @property
    def text(self):
        return " ".join(" ".join(self.texts).split())

    def all(self, tag, **wanted):
        return [a for name, a in self.elements if name == tag and wanted.items() <= a.items()]


def check(html):
    """What holds for every page; returns it parsed."""
    parsed = Page(html)
    assert html.startswith("<!DOCTYPE html>")
    for drawing in re.findall(r"<svg .*?</svg>", html, re.DOTALL):
        ElementTree.fromstring(drawing)
    for path in parsed.all("path"):
        assert re.fullmatch(r"[MLahmvz\d., -]+|", path["d"])
    for _, attributes in parsed.elements:
        assert not [name for name in attributes if name.startswith("on") or name in ("style", "srcset", "action")]
        for name in ("src", "href", "data"):
            assert attributes.get(name, "data:image/").startswith("data:image/")
    assert not re.search(r"https?:|url\(|@import|fetch\(|XMLHttp|import\(", html)
    assert [image for image in parsed.all("img") if not image["alt"]] == []
    identities = [attributes["id"] for _, attributes in parsed.elements if "id" in attributes]
    assert len(identities) == len(set(identities))
    for attribute in ("aria-labelledby", "for"):
        assert {a[attribute] for _, a in parsed.elements if attribute in a} <= set(identities)
    headings = [int(tag[1]) for tag, _ in parsed.elements if re.fullmatch("h[1-6]", tag)]
    assert headings[0] == 1
    assert headings.count(1) == 1
    assert all(below - above <= 1 for above, below in pairwise(headings))
    return parsed


@pytest.fixture
def run(tmp_path):
    return make_run(tmp_path / "run")


def test_the_page_has_everything(run):
    parsed = check(render(run))
    for part in (
        "mlp-mnist", "40", "mnist5k", "Samples over time", "What D thinks of each image", "Losses", "Gradients in G",
        "Updates in D", "Dead units in D", "Saturation in G", "Diversity",
        "recall", "Frechet distance", "Fréchet distance", "2.500 ± 0.25", "500 test images", "batch_size = 8",
        "python -m minigan.train mlp-mnist --steps=40 --batch-size=8",
    ):  # fmt: skip
        assert part in parsed.text
    assert len(parsed.all("img")) == 5 + 1
    (slider,) = parsed.all("input")
    assert (slider["type"], slider["min"], slider["max"], slider["value"]) == ("range", "0", "4", "4")
    assert parsed.all("label") == [{"for": "slider"}]


def test_without_javascript_the_last_frame_shows(run):
    frames = check(render(run)).all("div", **{"class": "frame"})
    assert ["hidden" in frame for frame in frames] == [True] * 4 + [False]
    assert [frame["data-step"] for frame in frames] == ["0", "10", "20", "30", "40"]


def test_the_policy_allows_this_style_and_this_script_and_nothing_else(run):
    html = render(run)
    (policy,) = [meta["content"] for meta in check(html).all("meta") if "http-equiv" in meta]
    rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
    assert rules["default-src"] == "'none'"
    assert rules["img-src"] == "data:"
    for kind, tag in (("script-src", "script"), ("style-src", "style")):
        (content,) = re.findall(rf"<{tag}>(.*?)</{tag}>", html, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
        assert rules[kind] == f"'sha256-{digest}'"


def test_classes_of_the_scored_samples_are_drawn_where_they_are_few(run):
    def drawn(classes):
        write_evaluation(run, **{"class histogram": classes})
        return check(render(run)).text.count("Classes of these samples")

    assert drawn([250, 150, 100]) == 1
    assert [drawn(classes) for classes in ([], [0, 0, 0], [1] * 1000)] == [0, 0, 0]
    for damaged in ([-1, 3], ["many"], [float("inf")], 7):
        assert drawn(damaged) == 0
        assert "evaluation.json could not be read" in check(render(run)).text
    write_evaluation(run)


def test_what_was_wrong_only_earlier_is_told_as_such(tmp_path, monkeypatch):
    folder = make_run(tmp_path / "run")
    monkeypatch.setattr("minigan.reports.contents.diagnose", lambda *_: [])
    monkeypatch.setattr("minigan.reports.contents.course", lambda *_: {"D is too strong": (12, 1024)})
    text = check(render(folder)).text
    assert "Nothing that is known to go wrong in a GAN shows in the numbers of its training at the end;" in text
    assert "Earlier, steps 12 to 1,024: D is too strong." in text
    monkeypatch.setattr("minigan.reports.page.too_early", lambda _: "this is not known")
    assert "they do not judge the samples. This is not known." in check(render(folder)).text
    now = Diagnosis("D is too strong", "seen", ("mend it",))
    monkeypatch.setattr("minigan.reports.contents.diagnose", lambda *_: [now])
    assert "Earlier" not in check(render(folder)).text


def test_hostile_names_are_text(tmp_path, monkeypatch):
    data = EVIL.replace('"', '\\"') + "\udcff\\u0000\\u202e"
    folder = make_run(tmp_path / "<b>run'\"", data=f"folder:{data}", layers=(EVIL, "\x00\x1b", "dense1"))
    folder.scores.write_text(f'step,"{EVIL.replace(chr(34), "")}"\n40,1\n')
    write_evaluation(folder, scores=[score(EVIL, better=EVIL, space=EVIL)], **{"compared with": EVIL})
    monkeypatch.setattr("minigan.reports.contents.diagnose", lambda *_: [Diagnosis(EVIL, EVIL, (EVIL, EVIL))])
    html = write_report(folder).read_bytes().decode()
    parsed = check(html)
    assert len(parsed.all("script")) == 1
    assert len(parsed.all("img")) == 5 + 1
    assert not parsed.all("b")
    assert parsed.text.count("<script>alert(1)</script>") > 10
    assert "\\udcff" in html
    assert not re.search("[\x00\x1b\u202e]", html)


def test_a_path_that_is_no_utf_8_can_hold_a_run(tmp_path):
    folder = make_run(tmp_path / "run\udcff")
    folder.metrics.write_text("something else\n")
    assert "metrics.csv could not be read: metrics.csv: not a metrics file" in check(render(folder)).text


FILES = ("config", "metrics", "vitals", "scores", "evaluation", "neighbours")


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("content", [None, b"", b"\xff\x00{nonsense\n", b"{}\n", b"step,\nx\n"])
def test_a_missing_or_damaged_file_costs_its_own_section(run, name, content):
    path = getattr(run, name)
    path.unlink()
    if content is not None:
        path.write_bytes(content)
    parsed = check(render(run))
    sections = {"Losses": "metrics", "Gradients in G": "vitals", "recall": "scores", "2.500 ± 0.25": "evaluation"}
    for words, needs in sections.items():
        assert (words in parsed.text) == (needs != name)
    if content == b"\xff\x00{nonsense\n":
        assert f"{path.name} could not be read" in parsed.text


def test_a_folder_with_nothing_else_can_be_an_older_run(tmp_path):
    for name in ("config", "metrics", "samples"):
        full, old = make_run(tmp_path / f"full-{name}"), RunFolder(tmp_path / name)
        old.path.mkdir()
        getattr(full, name).rename(getattr(old, name))
        check(render(old))
        write_report(old)


def test_a_folder_that_holds_no_run_is_refused(tmp_path):
    with pytest.raises(UsageError, match="holds no run of minigan"):
        write_report(RunFolder(tmp_path))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("rows", [[], [2], [2, 4]])
def test_few_rows_make_a_page(run, rows):
    write_metrics(run, rows)
    parsed = check(render(run))
    assert ("No measurements" in parsed.text) == (not rows)
    assert ("plays it again from the start" in parsed.text) == bool(rows)


def test_not_a_number_is_no_point_of_a_path(run):
    run.metrics.write_text(run.metrics.read_text() + "42,nan,inf,-inf,nan,0.5\n")
    run.scores.write_text("step,recall\n20,nan\n40,inf\n")
    parsed = check(render(run))
    assert "Losses" in parsed.text
    assert "recall" not in parsed.text


def test_equal_runs_give_equal_pages_wherever_and_whenever_they_are(tmp_path):
    one, other = make_run(tmp_path / "one"), make_run(tmp_path / "a" / "nother")
    for run in (one, other):
        run.sample_path(20).write_bytes(b"damaged")
    os.utime(other.metrics, (1, 1))
    assert write_report(one).read_bytes() == write_report(other).read_bytes()
    assert b"step-000000020.png could not be read" in one.report.read_bytes()


def test_a_page_is_replaced_in_full_or_not_at_all(run, monkeypatch):
    before = write_report(run).read_bytes()
    monkeypatch.setattr("os.replace", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    write_metrics(run, [2])
    with pytest.raises(OSError, match="No space left"):
        write_report(run)
    assert run.report.read_bytes() == before


# Pictures -------------------------------------------------------------------------------------------


def opened(picture):
    kind, _, content = picture.uri.partition(";base64,")
    content = base64.b64decode(content)
    image = Image.open(io.BytesIO(content))
    assert kind == f"data:image/{image.format.lower()}"
    assert image.size == (picture.width, picture.height)
    return image, content


def noise(height, width, channels=3):
    return np.random.default_rng(0).integers(0, 256, (height, width, channels), dtype=np.uint8)


def test_a_small_png_is_taken_as_it_is(tmp_path):
    save_png(tmp_path / "x.png", noise(20, 30))
    _, content = opened(pictures.embedded(tmp_path / "x.png", 10_000))
    assert content == (tmp_path / "x.png").read_bytes()


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("budget", [20_000, 3_000, 700])
def test_a_large_one_is_made_to_fit(tmp_path, channels, budget):
    save_png(tmp_path / "x.png", noise(150, 200, channels))
    image, content = opened(pictures.embedded(tmp_path / "x.png", budget))
    assert len(content) <= budget
    assert image.mode == ("L" if channels == 1 else "RGB")
    assert abs(image.width / image.height - 4 / 3) < 0.15


def test_a_wide_one_becomes_smaller_even_if_its_file_is_small(tmp_path):
    save_png(tmp_path / "x.png", np.zeros((10, 3000, 1), np.uint8))
    image, _ = opened(pictures.embedded(tmp_path / "x.png", 100_000))
    assert image.size == (1320, 4)


@pytest.mark.parametrize("kind", ["GIF", "EPS"])
def test_another_format_behind_the_name_is_refused_and_run_by_nobody(kind, tmp_path, monkeypatch):
    """Pillow gives an EPS file, which is a program, to Ghostscript."""
    monkeypatch.setattr(EpsImagePlugin, "Ghostscript", lambda *_, **__: pytest.fail("it was run"))
    Image.fromarray(noise(20, 20)).convert("RGB").save(tmp_path / "x.png", format=kind)
    with pytest.raises(DataError, match="a picture that cannot be read"):
        pictures.embedded(tmp_path / "x.png", 100_000)


@pytest.mark.filterwarnings("error")
def test_a_picture_of_too_many_pixels_is_refused_before_it_is_read(tmp_path):
    Image.new("1", (13000, 13000)).save(tmp_path / "x.png")
    with pytest.raises(DataError, match="13000 x 13000 pixels"):
        pictures.embedded(tmp_path / "x.png", 100_000)


def test_a_damaged_one_is_named(tmp_path):
    (tmp_path / "x.png").write_bytes(b"no picture")
    with pytest.raises(DataError, match=r"x\.png"):
        pictures.embedded(tmp_path / "x.png", 1000)


def test_small_pictures_are_enlarged_by_whole_numbers():
    assert [pictures.Picture("", width, 9).enlarged for width in (1, 298, 321, 658)] == [640, 596, 321, 658]


def test_the_page_has_a_bounded_size_with_the_first_picture_and_the_last(tmp_path, monkeypatch):
    monkeypatch.setattr(pictures, "BUDGET", 60_000)
    folder = make_run(tmp_path / "run", steps=range(60))
    bare = len(render(folder))
    for path in folder.sample_files():
        save_png(path, noise(30, 30))
    html = render(folder)
    assert len(html) < bare + 60_000 * 4 / 3
    steps = [int(frame["data-step"]) for frame in check(html).all("div", **{"class": "frame"})]
    assert len(steps) == 40
    assert (steps[0], steps[-1]) == (0, 59)
    assert set(np.diff(steps)) == {1, 2}
    assert "40 of 60 pictures" in html


def test_many_rows_stay_small(run):
    rng = np.random.default_rng(0)
    numbers = rng.random((20_000, 5))
    lines = [f"{step},{a},{b},{c},{d},{e}" for step, (a, b, c, d, e) in enumerate(numbers.round(3).tolist(), 1)]
    header = run.metrics.read_text().partition("\n")[0]
    run.metrics.write_text("\n".join([header, *lines]) + "\n")
    assert len(render(run)) < 200_000


# Commands -------------------------------------------------------------------------------------------


def test_the_command_writes_the_page_and_says_where(run, tmp_path, capsys):
    assert main([str(run.path)]) == 0
    assert capsys.readouterr().out == f"{run.report}\n"
    assert main([str(run.path), "--out", str(tmp_path / "page.html")]) == 0
    assert (tmp_path / "page.html").read_bytes() == run.report.read_bytes()


@pytest.mark.parametrize(
    "argv",
    [
        [], ["--steps", "9", "--seed", "3"], ["dcgan-28", "--no-first-norm"],
        ["mlp-2014", "--epochs", "2", "--last-batch", "keep"],
        ["dcgan-64", "--size", "48", "96", "--flip", "--data", "folder:/a b'\"$x", "--lr", "1e-05"],
        ["mlp-mnist", "--hidden-g", "8", "9", "--precision", "float64", "--snapshot-every", "7"],
    ],
)  # fmt: skip
def test_the_command_on_the_page_gives_the_same_run(tmp_path, argv):
    options, recipe = parse_command(argv)
    folder = RunFolder(tmp_path)
    write_config(folder, options, recipe)
    words = command_line(*read_config(folder.config))
    python, switch, module, *rest = shlex.split(" ".join(words))
    assert (python, switch, module) == ("python", "-m", "minigan.train")
    assert parse_command(rest) == read_run_config(folder.config) == (options, recipe)


def test_every_recipe_by_itself_is_a_short_command(tmp_path):
    for name in RECIPES:
        folder = RunFolder(tmp_path)
        write_config(folder, *parse_command([name]))
        assert command_line(*read_config(folder.config)) == ["python", "-m", "minigan.train", name]


def test_the_template_is_packed():
    parser = configparser.ConfigParser()
    parser.read(ROOT / "setup.cfg")
    patterns = parser["options.package_data"]["minigan.reports"].split(",")
    packed = {path for pattern in patterns for path in (ROOT / "minigan/reports").glob(pattern.strip())}
    assert set((ROOT / "minigan/reports/template").iterdir()) <= packed


def test_jinja_is_imported_only_for_a_page():
    script = "import sys, minigan.reports.page; print('jinja2' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("metrics.csv", "step,loss_d,loss_g,d_real,d_fake,d_fake_g\nnan,1,1,0.5,0.5,0.5\n"),
        ("metrics.csv", "step,loss_d,loss_g,d_real,d_fake,d_fake_g\ninf,1,1,0.5,0.5,0.5\n"),
        (
            "evaluation.json",
            '{"step": 1, "samples": 2, "compared with": "x", "scores": [], "class histogram": [1e308]}',
        ),
        ("evaluation.json", '{"step": 1%s, "samples": 2, "compared with": "x", "scores": []}' % ("0" * 400)),
    ],
)
def test_a_file_with_numbers_that_are_none_costs_its_own_section(name, content, tmp_path):
    (tmp_path / "config.toml").write_text('recipe = "mlp-mnist"\n')
    (tmp_path / name).write_text(content)
    assert f"{name} could not be read" in write_report(RunFolder(tmp_path)).read_text()


def test_a_pipe_in_the_folder_is_not_waited_for(tmp_path):
    (tmp_path / "config.toml").write_text('recipe = "mlp-mnist"\n')
    os.mkfifo(tmp_path / "metrics.csv")
    assert "metrics.csv could not be read: not a regular file" in write_report(RunFolder(tmp_path)).read_text()


def test_a_step_that_no_run_reaches_is_no_picture_of_it(tmp_path):
    (tmp_path / "samples").mkdir()
    for digits in ("000000010", "9" * 23):
        Image.fromarray(noise(20, 20)).save(tmp_path / "samples" / f"step-{digits}.png")
    assert [path.name for path in RunFolder(tmp_path).sample_files()] == ["step-000000010.png"]


def test_of_a_critic_no_opinions_are_shown(tmp_path):
    folder = make_run(tmp_path)
    assert "What D thinks" in render(folder)
    folder.config.write_text(folder.config.read_text().replace("mlp-mnist", "wgan-gp-28"))
    page = check(render(folder))
    assert "What D thinks" not in page.text
    assert "D(x)" not in page.text
    assert "Losses" in page.text
    assert "The critic gives real images no more than others" in page.text  # D's loss is positive
    assert "probabilities" not in page.text
