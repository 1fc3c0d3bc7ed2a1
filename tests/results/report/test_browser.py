"""The report in a browser: make test-browser."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from shutil import which

import html5lib
import pytest
from playwright.sync_api import Browser, Locator, Page, expect, sync_playwright

from lskd_cli.results.grouping import group_runs
from lskd_cli.results.report.page import ReportSection, finish_watching, render_page, write_page
from lskd_cli.results.report.report_figures import (
    TsneOptions,
    logit_figures,
    make_names_unique,
    run_figures,
)
from lskd_cli.results.runs import Run
from tests.results.helpers import made_group, made_outputs, made_run

# Curves of both methods over 240 epochs, with several seeds of KD.
_KD = [
    made_run("kd-r56-r20", stand, seed, [40 + 0.1 * epoch + stand + seed for epoch in range(240)])
    for stand in (False, True)
    for seed in (1, 2)
]


def _sections(*more: Run) -> list[ReportSection]:
    group = made_group(*more)
    figures = run_figures(group, "best")
    figures += logit_figures(group, made_outputs(), 0, TsneOptions((), 100), print)
    dkd = [made_run("dkd-v13-v8", stand, 0, [60.0, 74.0 - stand]) for stand in (False, True)]
    unfinished = made_run("mlkd-v13-v8", False, 0, [50.0, 51.0], "running")
    unfinished.history[-1]["seconds"] = 60.0
    others = group_runs([*dkd, unfinished])
    sections = [ReportSection(group, figures)]
    sections += [ReportSection(other, run_figures(other, "best")) for other in others]
    make_names_unique([figure for section in sections for figure in section.figures])
    return sections


def _html() -> str:
    return render_page(_sections(*_KD), "best")


def test_the_page_is_valid_html() -> None:
    html = _html()
    assert html5lib.HTMLParser(strict=True).parse(html) is not None
    with pytest.raises(html5lib.html5parser.ParseError):
        html5lib.HTMLParser(strict=True).parse(html.replace("</figcaption>", "", 1))


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(
            executable_path=which("chromium"), args=["--no-sandbox"]
        )
        yield chromium
        chromium.close()


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("report") / "index.html"
    path.write_text(_html(), encoding="utf-8")
    return path


@pytest.fixture
def page(browser: Browser, file: Path) -> Iterator[Page]:
    """The page, opened from disk; every message of the browser and every request is a failure."""
    context = browser.new_context(
        color_scheme="light", permissions=["clipboard-read", "clipboard-write"]
    )
    opened = context.new_page()
    complaints: list[str] = []
    opened.on("console", lambda message: complaints.append(message.text))
    opened.on("pageerror", lambda error: complaints.append(str(error)))
    opened.on("request", lambda request: complaints.append(request.url))
    opened.goto(file.as_uri())
    yield opened
    context.close()
    requested = [text for text in complaints if not text.startswith("blob:")]
    assert [text.partition("#")[0] for text in requested] == [file.as_uri()] * len(requested)


def _curves(page: Page, index: int = 0) -> Locator:
    """A drawn panel of test accuracies."""
    figure = page.locator('figure[data-figure^="accuracy"]').nth(index)
    chart = figure.locator(".chart").first
    chart.scroll_into_view_if_needed()
    expect(chart.locator("canvas, svg.marks")).to_be_visible()
    return chart


def _signal(chart: Locator, name: str) -> object:
    return chart.evaluate("(chart, name) => drawn.get(chart).view.signal(name)", name)


def _roles(chart: Locator) -> set[str]:
    rows = chart.evaluate("chart => drawn.get(chart).view.data('rows').map(row => row.role)")
    return set(rows)


@pytest.mark.browser
def test_the_first_screen_shows_every_comparison_and_what_is_unfinished(page: Page) -> None:
    overview = page.locator("#overview svg.marks")
    expect(overview).to_be_visible()
    text = overview.text_content() or ""
    for line in ("resnet56 → resnet20", "cifar100, 240 epochs, n = 3", "vgg13 → vgg8", "DKD"):
        assert line in text
    assert "-1.00" in text
    box = overview.bounding_box()
    assert box is not None
    assert box["y"] + box["height"] < 720
    unfinished = page.locator("#unfinished")
    assert (
        "mlkd-v13-v8: epoch 2 of 480, 7:58:00 of training left (running)" in unfinished.inner_text()
    )


@pytest.mark.browser
def test_a_difference_is_colored_by_its_interval(page: Page) -> None:
    cells = page.locator("#comparison td.difference")
    classes = {cell.inner_text(): cell.get_attribute("class") for cell in cells.all()}
    by_sign = {text: (name or "").split()[-1] for text, name in classes.items() if text}
    assert by_sign == {"-1.00": "unclear", "+1.33 [-0.10, +2.77]": "unclear"}
    colors = page.evaluate(
        """["higher", "lower", "unclear"].map(sign => {
             const cell = document.querySelector("#comparison td.difference");
             cell.className = `difference ${sign}`;
             return getComputedStyle(cell).color;
           })"""
    )
    assert len(set(colors)) == 3


@pytest.mark.browser
def test_a_table_is_sorted_by_a_click_on_a_heading(page: Page) -> None:
    table = page.locator("table.results").first
    heading = table.get_by_role("button", name="Plain")
    plain = [column.inner_text() for column in table.locator("th").all()].index("Plain")

    def column() -> list[str]:
        rows = table.locator("tbody tr").all()
        return [row.locator("td").nth(plain).inner_text() for row in rows]

    heading.click()
    assert column() == ["60.00", "66.93 ± 2.70", "74.00"]
    heading.click()
    assert column() == ["74.00", "66.93 ± 2.70", "60.00"]
    assert table.locator("th").nth(plain).get_attribute("aria-sort") == "descending"


@pytest.mark.browser
def test_visible_rows_are_copied_in_the_order_of_the_screen(page: Page) -> None:
    table = page.locator("#comparison .table").first
    table.get_by_role("button", name="Plain").click()
    table.get_by_role("button", name="Plain").click()
    table.get_by_role("button", name="Markdown").click()
    expect(table.get_by_role("button", name="copied")).to_be_visible()
    lines = page.evaluate("navigator.clipboard.readText()").splitlines()
    assert lines[0].startswith("Top-1 test accuracy (%)")
    assert [line.split("|")[4].strip() for line in lines[4:]] == ["DKD", "KD", "baseline"]
    page.locator('[data-filter="method"]').select_option("KD")
    table.get_by_role("button", name="LaTeX").click()
    page.wait_for_timeout(100)
    latex = page.evaluate("navigator.clipboard.readText()")
    assert latex.count(r"\\") == 2  # the headings and one row
    assert r"\toprule" in latex
    assert latex.strip().endswith(r"\end{tabular}")
    table.get_by_role("button", name="CSV").click()
    page.wait_for_timeout(100)
    assert len(page.evaluate("navigator.clipboard.readText()").splitlines()) == 2


@pytest.mark.browser
def test_filters_apply_to_rows_sections_contents_and_charts(page: Page) -> None:
    forest = page.locator("#overview svg.marks")
    expect(forest).to_be_visible()
    page.locator('[data-filter="method"]').select_option("DKD")
    expect(forest).not_to_contain_text("resnet56")
    expect(forest).to_contain_text("vgg13 → vgg8")
    rows = page.locator("#comparison tbody tr:visible")
    assert [row.locator("td").nth(2).inner_text() for row in rows.all()] == ["vgg8"]
    assert page.locator("section[data-pair]:visible").count() == 1
    assert page.locator("nav li[data-pair]:visible").count() == 1
    page.locator('[data-filter="method"]').select_option("")
    page.locator('[data-filter="state"]').select_option("unfinished")
    assert page.locator("#runs tbody tr:visible").count() == 1
    page.get_by_role("button", name="Reset").click()
    assert page.locator("#runs tbody tr:visible").count() == 10
    assert page.locator("section[data-pair]:visible").count() == 3


@pytest.mark.browser
def test_the_legend_switches_curves_on_and_off(page: Page) -> None:
    chart = _curves(page)
    assert _roles(chart) == {"baseline", "plain", "+Ours", "published +Ours"}
    button = page.locator("figure:has(canvas) .legend").first.get_by_role("button", name="plain")
    button.click()
    assert button.get_attribute("aria-pressed") == "false"
    assert _roles(chart) == {"baseline", "+Ours", "published +Ours"}
    button.click()
    assert "plain" in _roles(chart)


@pytest.mark.browser
def test_the_last_epochs_are_enlarged_in_both_directions(page: Page) -> None:
    chart = _curves(page)
    whole = [_signal(chart, name) for name in ("x_min", "y_min")]
    page.locator("#zoom").fill("75")
    last = [_signal(chart, name) for name in ("x_min", "y_min")]
    assert whole[0] == 1
    assert last[0] == 180
    assert isinstance(whole[1], float)
    assert isinstance(last[1], float)
    assert last[1] > whole[1] + 10
    assert page.locator('output[for="zoom"]').inner_text() == "last 25 %"


@pytest.mark.browser
def test_smoothing_averages_neighboring_epochs(page: Page) -> None:
    chart = _curves(page, 2)
    values = "chart => drawn.get(chart).view.data('rows').filter(row => row.role == 'plain')"
    first = [row["value"] for row in chart.evaluate(values)]
    page.locator("#smoothing").fill("3")
    smooth = [row["value"] for row in chart.evaluate(values)]
    assert first == [60.0, 74.0]
    assert smooth == [67.0, 67.0]


@pytest.mark.browser
def test_curve_row_and_seed_are_highlighted_together(page: Page) -> None:
    chart = _curves(page)
    row = page.locator('#runs tr[data-run="runs/kd-r56-r20+stand/seed2"]')
    row.hover()
    assert _signal(chart, "highlighted_run") == "runs/kd-r56-r20+stand/seed2"
    assert _signal(chart, "highlighted_run_name") == "kd-r56-r20+stand"
    assert page.locator('section tr[data-run-name="kd-r56-r20+stand"].highlighted').count() == 2
    page.mouse.move(0, 0)
    assert _signal(chart, "highlighted_run_name") == ""


@pytest.mark.browser
def test_the_pointer_on_a_curve_shows_run_epoch_and_value(page: Page) -> None:
    chart = _curves(page)
    box = chart.bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + 0.7 * box["width"], box["y"] + 0.4 * box["height"])
    tooltip = page.locator("#vg-tooltip-element")
    expect(tooltip).to_be_visible()
    text = tooltip.inner_text()
    assert re.search(r"run\s+(runs/kd-r56-r20|published)", text)
    assert re.search(r"epoch\s+\d+", text)
    assert re.search(r"top-1 \(%\)\s+\d+\.\d\d", text)
    page.wait_for_function("highlighted.trim() !== ''")
    if "runs/" in text:
        expect(page.locator("#runs tr.highlighted")).to_have_count(1)


@pytest.mark.browser
def test_a_click_on_a_comparison_opens_its_section(page: Page) -> None:
    page.locator("#fold-vgg13-vgg8-cifar100-240-epochs > summary").click()
    page.evaluate("scrollTo(0, 0)")
    label = page.locator("#overview").get_by_text("vgg13 → vgg8").bounding_box()
    chart = page.locator("#overview svg.marks").bounding_box()
    assert label is not None
    assert chart is not None
    page.mouse.click(chart["x"] + 0.4 * chart["width"], label["y"])
    page.wait_for_url("**#vgg13-vgg8-cifar100-240-epochs")
    section = page.locator("#vgg13-vgg8-cifar100-240-epochs")
    expect(section.locator(".table").first).to_be_visible()
    assert section.locator("details.pair").get_attribute("open") is not None


@pytest.mark.browser
def test_a_link_goes_to_its_section_every_time(page: Page) -> None:
    link = page.locator('nav a[href="#runs"]')
    for _ in range(2):
        link.click()
        expect(page.locator("#runs")).to_be_in_viewport()
        assert page.evaluate("scrollY") > 0
        page.evaluate("scrollTo(0, 0)")
        expect(page.locator("h1")).to_be_in_viewport()


@pytest.mark.browser
def test_a_filter_by_the_baseline_leaves_curves_and_a_single_panel_fills_its_figure(
    page: Page,
) -> None:
    select = page.locator('[data-filter="method"]')
    select.select_option("baseline")
    assert page.locator('figure[data-figure^="accuracy"] .panel:visible').count() >= 1
    chart = _curves(page)
    page.wait_for_function(
        "chart => Math.abs(drawn.get(chart).view.width() - chart.clientWidth) < 100",
        arg=chart.element_handle(),
    )


@pytest.mark.browser
def test_the_button_changes_between_light_and_dark(page: Page) -> None:
    label = page.locator("#overview svg.marks text").first

    def colors() -> list[str]:
        expect(label).to_be_visible()
        page.wait_for_timeout(300)
        body = page.evaluate("getComputedStyle(document.body).backgroundColor")
        return [body, label.get_attribute("fill") or ""]

    light = colors()
    page.locator("#theme").click()
    dark = colors()
    assert light[0] == "rgb(255, 255, 255)"
    assert dark[0] == "rgb(17, 24, 39)"
    assert light[1] != dark[1]
    page.locator("#theme").click()
    assert colors() == light


@pytest.mark.browser
def test_all_figures_are_drawn_and_have_names(page: Page) -> None:
    figures = page.locator("figure")
    names = [figure.get_attribute("aria-label") for figure in figures.all()]
    assert names[1] == "Test accuracy by epoch: resnet56 → resnet20, cifar100, 240 epochs"
    assert len(names) == 1 + 2 * 3 + 5
    page.evaluate("all('details.figure').forEach(figure => { figure.open = true; })")
    for chart in page.locator(".chart").all():
        chart.scroll_into_view_if_needed()
        drawing = chart.locator("canvas, svg.marks")
        expect(drawing).to_be_visible()
        box = drawing.bounding_box()
        assert box is not None
        assert box["width"] > 200
        assert box["height"] > 60


@pytest.mark.browser
def test_a_printed_page_has_all_figures_and_no_controls(page: Page, tmp_path: Path) -> None:
    page.emulate_media(media="print")
    assert not page.locator(".controls").is_visible()
    assert not page.locator("nav").is_visible()
    page.wait_for_function(
        "all('details.figure[open] .chart').every(chart => chart.firstElementChild)"
    )
    page.pdf(path=tmp_path / "page.pdf")
    assert (tmp_path / "page.pdf").stat().st_size > 50_000


@pytest.mark.browser
def test_on_a_phone_the_page_is_as_wide_as_the_screen(browser: Browser, file: Path) -> None:
    phone = browser.new_page(viewport={"width": 390, "height": 844})
    phone.goto(file.as_uri())
    expect(phone.locator("#overview svg.marks")).to_be_visible()
    assert phone.evaluate("document.documentElement.scrollWidth") == 390
    assert phone.locator("#contents").get_attribute("open") is None
    phone.close()


@pytest.mark.browser
def test_filters_can_be_opened_again_after_the_page_has_become_wide(
    browser: Browser, file: Path
) -> None:
    page = browser.new_page(viewport={"width": 600, "height": 800})
    page.goto(file.as_uri())
    assert not page.locator('[data-filter="method"]').is_visible()
    page.set_viewport_size({"width": 1400, "height": 800})
    expect(page.locator('[data-filter="method"]')).to_be_visible()
    expect(page.locator("#contents li").first).to_be_visible()
    page.reload()
    expect(page.locator('[data-filter="method"]')).to_be_visible()
    page.close()


@pytest.mark.browser
def test_a_page_without_storage_and_with_an_old_filter_is_complete(
    browser: Browser, file: Path
) -> None:
    page = browser.new_page()
    page.goto(file.as_uri())
    page.evaluate(
        "sessionStorage.setItem(STORE, JSON.stringify({filters: {method: 'of another page'}}))"
    )
    page.reload()
    assert page.locator("#comparison tbody tr:visible").count() > 1
    page.add_init_script(
        "Object.defineProperty(window, 'sessionStorage', {get() { throw new Error('blocked') }})"
    )
    page.reload()
    expect(page.locator("#overview svg.marks")).to_be_visible()
    page.close()


@pytest.mark.browser
def test_sections_stay_as_they_are_when_their_link_is_clicked(page: Page) -> None:
    fold = page.locator("details[id]:has(> summary a.anchor)").first
    assert fold.get_attribute("open") is not None
    fold.locator("a.anchor").first.click()
    page.reload()
    assert fold.get_attribute("open") is not None
    fold.locator("summary").first.click(position={"x": 2, "y": 2})
    page.reload()
    assert fold.get_attribute("open") is None


@pytest.mark.browser
def test_presets_fold_out(page: Page) -> None:
    preset = page.locator("#fold-presets details").first
    assert not preset.locator("pre").is_visible()
    preset.locator("summary").click()
    assert "student: resnet20" in preset.locator("pre").inner_text()


@pytest.mark.browser
def test_a_watched_page_reloads_at_the_same_place_with_the_same_settings(
    browser: Browser, tmp_path: Path
) -> None:
    file = tmp_path / "index.html"
    write_page(file, _sections(*_KD), "best", "1")
    page = browser.new_page()
    page.goto(file.as_uri())
    page.locator('[data-filter="method"]').select_option("KD")
    page.locator("#runs").scroll_into_view_if_needed()
    page.wait_for_timeout(1500)  # until the charts above are drawn
    before = page.evaluate("document.getElementById('runs').getBoundingClientRect().top")
    more = made_run("kd-r56-r20", True, 3, [61.0, 62.0], "running")
    write_page(file, _sections(*_KD, more), "best", "2")
    page.wait_for_selector('body[data-version="2"]', timeout=10_000)
    expect(page.locator('#runs tr[data-run="runs/kd-r56-r20+stand/seed3"]')).to_be_visible()
    after = page.evaluate("document.getElementById('runs').getBoundingClientRect().top")
    assert after == pytest.approx(before, abs=5)
    assert page.locator('[data-filter="method"]').input_value() == "KD"
    write_page(file, _sections(*_KD), "best")
    finish_watching(tmp_path)
    page.wait_for_selector("body:not([data-version])", timeout=10_000)
    page.close()


@pytest.mark.browser
def test_two_hundred_runs_open_quickly_in_a_small_file(browser: Browser, tmp_path: Path) -> None:
    pairs = ("r56-r20", "r32x4-r8x4", "v13-v8", "w40-2-w16-2", "r110-r32")
    runs = [
        made_run(f"{method}-{pair}", stand, seed, [50 + epoch / 10 + seed for epoch in range(240)])
        for pair in pairs
        for method in ("kd", "dkd", "ctkd", "mlkd")
        for stand in (False, True)
        for seed in range(5)
    ]
    sections = [ReportSection(group, run_figures(group, "best")) for group in group_runs(runs)]
    make_names_unique([figure for section in sections for figure in section.figures])
    file = tmp_path / "index.html"
    write_page(file, sections, "best")
    assert len(runs) == 200
    assert file.stat().st_size < 10e6
    html = file.read_text("utf-8")
    (data,) = re.findall(r'<script type="application/json" id="data">(.*)</script>', html)
    assert len(json.loads(data)["runs"]) == 200
    page = browser.new_page()
    page.goto(file.as_uri())
    expect(page.locator("#overview svg.marks")).to_be_visible()
    print("first chart after", page.evaluate("performance.now()"), "ms")  # noqa: T201
    page.close()
