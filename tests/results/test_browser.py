"""The report in a browser: make test-browser."""

from collections.abc import Iterator
from shutil import which

import html5lib
import pytest
from playwright.sync_api import Page, sync_playwright

from lskd_cli.results.grouping import group_runs
from lskd_cli.results.page import ReportSection, render_page
from lskd_cli.results.report_figures import (
    TsneOptions,
    logit_figures,
    make_names_unique,
    run_figures,
)
from tests.results.helpers import made_group, made_outputs, made_run


def _html() -> str:
    group = made_group()
    figures = run_figures(group)
    figures += logit_figures(group, made_outputs(), 0, TsneOptions((), 100), print)
    (other,) = group_runs(
        [made_run("dkd-v13-v8", stand, 0, [60.0, 74.0 + stand]) for stand in (False, True)]
    )
    sections = [ReportSection(group, figures), ReportSection(other, run_figures(other))]
    make_names_unique([figure for section in sections for figure in section.figures])
    return render_page(sections, "best")


def test_the_page_is_valid_html() -> None:
    html = _html()
    assert html5lib.HTMLParser(strict=True).parse(html) is not None
    with pytest.raises(html5lib.html5parser.ParseError):
        html5lib.HTMLParser(strict=True).parse(html.replace("</figcaption>", "", 1))


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    """The page, opened from disk; every message of the browser is a failure."""
    file = tmp_path_factory.mktemp("report") / "index.html"
    file.write_text(_html(), encoding="utf-8")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=which("chromium"), args=["--no-sandbox"]
        )
        opened = browser.new_page(color_scheme="light")
        complaints: list[str] = []
        opened.on("console", lambda message: complaints.append(message.text))
        opened.on("pageerror", lambda error: complaints.append(str(error)))
        opened.on("request", lambda request: complaints.append(request.url))
        opened.goto(file.as_uri())
        yield opened
        browser.close()
    assert complaints == [file.as_uri()]


@pytest.mark.browser
def test_a_table_is_sorted_by_a_click_on_a_heading(page: Page) -> None:
    table = page.locator("table.comparison").first
    heading = table.get_by_role("button", name="Plain")
    plain = [column.inner_text() for column in table.locator("th").all()].index("Plain")

    def column() -> list[str]:
        rows = table.locator("tbody tr").all()
        return [row.locator("td").nth(plain).inner_text() for row in rows]

    heading.click()
    assert column() == ["60.00", "70.00", "74.00"]
    heading.click()
    assert column() == ["74.00", "70.00", "60.00"]
    assert table.locator("th").nth(plain).get_attribute("aria-sort") == "descending"


@pytest.mark.browser
def test_the_button_changes_between_light_and_dark(page: Page) -> None:
    def colors() -> list[str]:
        return [
            page.evaluate(f"getComputedStyle(document.querySelector('{of}')).{what}")
            for of, what in (("body", "backgroundColor"), ("body", "color"), ("figure svg", "fill"))
        ]

    light = colors()
    page.locator("#theme").click()
    dark = colors()
    assert light[0] == "rgb(255, 255, 255)"
    assert dark[0] == "rgb(17, 24, 39)"
    assert light[2] != dark[2] == dark[1]
    page.locator("#theme").click()
    assert colors() == light


@pytest.mark.browser
def test_every_figure_has_alternative_text_and_is_drawn(page: Page) -> None:
    figures = page.get_by_role("img")
    names = [figure.get_attribute("aria-label") for figure in figures.all()]
    assert len(names) == page.locator("figure svg").count() == 7
    assert names[0] == "Accuracy and loss by epoch: resnet56 → resnet20, cifar100, 240 epochs"
    for figure in figures.all():
        box = figure.bounding_box()
        assert box is not None
        assert box["width"] > 500


@pytest.mark.browser
def test_on_a_phone_the_page_is_as_wide_as_the_screen(page: Page) -> None:
    before = page.viewport_size
    assert before is not None
    page.set_viewport_size({"width": 390, "height": 844})
    assert page.evaluate("document.documentElement.scrollWidth") == 390
    page.set_viewport_size(before)


@pytest.mark.browser
def test_presets_fold_out(page: Page) -> None:
    preset = page.locator("details").first
    assert not preset.locator("pre").is_visible()
    preset.locator("summary").click()
    assert "student: resnet20" in preset.locator("pre").inner_text()
