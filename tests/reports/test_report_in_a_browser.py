"""report.html in a real browser: the slider moves everything, and nothing leaves the page.

Needs Chromium with its driver (Debian: apt-get install chromium chromium-driver) and is skipped without them.
"""

import json
import shutil
from itertools import pairwise

import pytest

from minigan.reports.page import write_report
from tests.reports.runs import make_run

webdriver = pytest.importorskip("selenium.webdriver", reason="needs selenium")
from selenium.webdriver.common.by import By  # noqa: E402
from selenium.webdriver.common.keys import Keys  # noqa: E402
from selenium.webdriver.support.ui import WebDriverWait  # noqa: E402

CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
pytestmark = pytest.mark.skipif(not (CHROMIUM and DRIVER), reason="needs chromium and chromedriver")
FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync", "--window-size=1200,900",
)  # fmt: skip


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for flag in (*FLAGS, f"--user-data-dir={tmp_path_factory.mktemp('profile')}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(DRIVER))
    yield driver
    driver.quit()


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    return write_report(make_run(tmp_path_factory.mktemp("page") / "run")).as_uri()


@pytest.fixture
def page(browser, address):
    """The page, just opened; at the end nothing may have been asked for or complained about."""
    for kind in ("performance", "browser"):
        browser.get_log(kind)
    browser.get(address)
    yield browser
    assert browser.get_log("browser") == []
    urls = requested(browser, address)
    assert address in urls
    assert [url for url in urls if url != address and not url.startswith("data:image/")] == []


def requested(browser, address):
    """The addresses of everything that the page asked for, itself included."""
    messages = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    sent = [message["params"] for message in messages if message["method"] == "Network.requestWillBeSent"]
    return [request["request"]["url"] for request in sent if request["documentURL"] == address]


def visible(browser):
    """What a person sees: (alternative text of the picture, its source, the histogram, the label, the cursor)."""
    (frame,) = [frame for frame in browser.find_elements(By.CLASS_NAME, "frame") if frame.is_displayed()]
    image = frame.find_element(By.TAG_NAME, "img")
    bars = [path.get_attribute("d") for path in frame.find_elements(By.CSS_SELECTOR, ".histogram .bars")]
    cursor = browser.find_element(By.CLASS_NAME, "cursor")
    return (
        image.get_attribute("alt"), image.get_attribute("src"), bars,
        browser.find_element(By.ID, "at").text, float(cursor.get_attribute("x1")),
    )  # fmt: skip


def test_it_opens_with_the_last_step(page):
    alt, _, _, label, _ = visible(page)
    assert (alt, label) == ("Samples at step 40", "step 40")
    loaded = "return [...document.images].every(image => image.complete && image.naturalWidth > 0)"
    assert page.execute_script(loaded)
    assert page.execute_script("return getComputedStyle(document.body).backgroundColor") == "rgb(251, 250, 247)"


def test_the_keyboard_moves_picture_histogram_label_and_cursor(page):
    slider = page.find_element(By.ID, "slider")
    seen = [visible(page)]
    for step in (30, 20):
        slider.send_keys(Keys.ARROW_LEFT)
        seen.append(visible(page))
        assert seen[-1][0] == f"Samples at step {step}"
        assert seen[-1][3] == slider.get_attribute("aria-valuetext") == f"step {step}"
    for before, after in pairwise(seen):
        assert all(one != other for one, other in zip(before, after, strict=True))
        assert after[4] < before[4]


def test_it_plays_to_the_end(page):
    play = page.find_element(By.ID, "play")
    play.click()
    assert play.text == "Pause"
    assert visible(page)[3] != "step 40"
    play.click()
    assert play.text == "Play"
    page.execute_script("document.getElementById('slider').value = 3; document.getElementById('play').click()")
    WebDriverWait(page, 20).until(lambda _: play.text == "Play")
    assert visible(page)[3] == "step 40"


def test_without_javascript_the_last_frame_is_there_and_no_dead_control(page, address):
    page.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
    try:
        page.get(address)
        (frame,) = [frame for frame in page.find_elements(By.CLASS_NAME, "frame") if frame.is_displayed()]
        assert frame.get_attribute("data-step") == "40"
        assert not page.find_element(By.ID, "slider").is_displayed()
    finally:
        page.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})


@pytest.mark.parametrize("width", [1200, 768, 340])
def test_no_width_needs_scrolling_to_the_side(page, width):
    page.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride", {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": False}
    )
    page.execute_script("document.querySelectorAll('details').forEach(part => part.open = true)")
    assert page.execute_script("return document.documentElement.scrollWidth") <= width
    page.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def test_an_injected_script_or_request_is_stopped_by_the_policy(browser, address):
    """What would happen if something got through the escaping."""
    browser.get(address)
    browser.execute_script(
        "const image = new Image(); image.src = 'http://127.0.0.1:9/x.png'; document.body.append(image);"
        "const script = document.createElement('script'); script.textContent = 'window.hacked = 1';"
        "document.body.append(script)"
    )
    assert browser.execute_script("return window.hacked") is None
    complaints = " ".join(entry["message"] for entry in browser.get_log("browser"))
    assert "img-src" in complaints
    assert "script-src" in complaints
