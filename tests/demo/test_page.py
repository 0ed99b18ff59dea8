"""The page in a real browser: sliders, drawing, examples, keyboard, errors, narrow windows."""

import os
import shutil
import time

import numpy as np
import pytest

pytestmark = pytest.mark.browser
FLAGS = (
    *("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
    "--disable-dev-shm-usage",
)


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    webdriver = pytest.importorskip("selenium.webdriver", reason="needs Selenium")
    chromium, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if not chromium or not driver:
        pytest.skip("needs chromium and chromedriver")
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for flag in (*FLAGS, f"--user-data-dir={tmp_path_factory.mktemp('profile')}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    service = webdriver.ChromeService(executable_path=driver)
    with webdriver.Chrome(options=options, service=service) as chrome:
        chrome.set_window_size(1280, 900)
        yield chrome


@pytest.fixture
def page(browser, site):
    browser.get(site.url)
    page = Page(browser)
    page.wait(lambda: page.pixels("decoded").size == 32 * 32)
    yield page
    folder = os.environ.get("ROTFAST_SCREENSHOTS")
    if folder:
        browser.save_screenshot(
            os.path.join(folder, f"{os.environ['PYTEST_CURRENT_TEST'].split(':')[2].split()[0]}.png")
        )
    assert [line for line in browser.get_log("browser") if line["level"] == "SEVERE"] == []


class Page:
    def __init__(self, browser):
        self.browser = browser

    def find(self, selector):
        return self.browser.find_element("css selector", selector)

    def wait(self, true, seconds=10):
        end = time.monotonic() + seconds
        while not true():
            assert time.monotonic() < end, "waited in vain"
            time.sleep(0.02)

    def pixels(self, canvas):
        values = self.browser.execute_script(
            "const c = document.getElementById(arguments[0]);"
            "const { data } = c.getContext('2d').getImageData(0, 0, c.width, c.height);"
            "return [...data].filter((_, i) => i % 4 == 0)",
            canvas,
        )
        side = int(len(values) ** 0.5)
        return np.array(values).reshape(side, side) if side * side == len(values) else np.array(values)

    def code(self):
        return [output.text for output in self.browser.find_elements("css selector", "#sliders output")]

    def slide(self, selector, value):
        """Move a slider as a pointer does: the value changes and the browser tells the page."""
        self.browser.execute_script(
            "arguments[0].value = arguments[1];"
            "arguments[0].dispatchEvent(new Event('input', { bubbles: true }))",
            self.find(selector),
            value,
        )

    def draw(self, *points):
        from selenium.webdriver import ActionChains

        canvas = self.find("#drawing")
        actions = ActionChains(self.browser, duration=20)
        actions.move_to_element_with_offset(canvas, *points[0]).click_and_hold()
        for x, y in points[1:]:
            actions.move_to_element_with_offset(canvas, x, y)
        actions.release().perform()


def lit(image):
    """Height and width of what is bright."""
    rows, columns = np.nonzero(image > 100)
    return (np.ptp(rows), np.ptp(columns)) if len(rows) else (0, 0)


def test_it_shows_the_model(page):
    assert page.find("#run").text == "a bar"
    labels = [label.text for label in page.browser.find_elements("css selector", "#sliders label")]
    assert labels == ["angle", "brightness"]
    assert page.code() == ["0°", "0.00"]
    assert not page.find("#error").is_displayed()


def test_the_decoded_image_follows_the_sliders(page):
    page.slide("#dimension-1", 1)
    page.wait(lambda: lit(page.pixels("decoded")) == (19, 3))
    page.slide("#dimension-0", 90)
    page.wait(lambda: lit(page.pixels("decoded")) == (3, 19))
    assert page.code() == ["90°", "1.00"]


def test_many_moves_end_at_the_last_one(page):
    page.slide("#dimension-1", 1)
    for angle in range(-90, 91, 2):
        page.slide("#dimension-0", angle)
    page.wait(lambda: lit(page.pixels("decoded")) == (3, 19))
    page.slide("#dimension-0", 0)
    page.wait(lambda: lit(page.pixels("decoded")) == (19, 3))


def test_sliders_have_names_and_obey_the_keyboard(page):
    from selenium.webdriver.common.keys import Keys

    slider = page.find("#dimension-0")
    assert slider.accessible_name == "angle"
    slider.send_keys(Keys.ARROW_LEFT, Keys.ARROW_LEFT)
    assert page.code()[0] == "−2°"
    slider.send_keys(Keys.HOME)
    assert page.code()[0] == "−90°"
    assert slider.get_attribute("aria-valuetext") == "−90°"


def test_every_control_is_reached_by_tab(page):
    from selenium.webdriver import ActionChains
    from selenium.webdriver.common.keys import Keys

    reached = []
    for _ in range(9):
        ActionChains(page.browser).send_keys(Keys.TAB).perform()
        focused = page.browser.switch_to.active_element
        reached.append(focused.get_attribute("id") or focused.text)
    # "back" leads nowhere before something was drawn, so it is passed over.
    assert reached == ["clear", "centred", "1", "7", "turn", "random", "zeros", "dimension-0", "dimension-1"]


def test_a_drawing_is_encoded_and_decoded(page):
    page.draw((-60, 80), (0, 0), (60, -80))  # leans to the right: clockwise
    page.wait(lambda: page.code()[1] != "0.00")
    angle = float(page.code()[0].rstrip("°").replace("−", "-"))
    assert angle == pytest.approx(-np.rad2deg(np.arctan(60 / 80)), abs=6)
    page.wait(lambda: page.pixels("decoded").max() > 200)
    assert lit(page.pixels("seen"))[0] > 15
    page.slide("#dimension-1", 3)
    page.find("#back").click()
    assert float(page.code()[1]) <= 1
    page.find("#zeros").click()
    assert page.code() == ["0°", "0.00"]
    page.wait(lambda: page.pixels("decoded").max() == 0)


def test_a_single_dot_counts_as_ink(page):
    page.draw((0, 0))
    page.wait(lambda: page.pixels("seen").max() > 200)


def test_turning_the_drawing_turns_the_code(page):
    page.draw((0, 90), (0, -90))
    page.wait(lambda: page.code()[1] != "0.00")
    page.slide("#turn", 40)
    assert page.find("#turn-value").text == "40°"
    page.wait(lambda: page.code()[0].startswith(("39", "40", "41")))
    marks = page.browser.find_elements("css selector", ".mark:not([hidden])")
    assert len(marks) == 2


def test_clearing_forgets_the_drawing(page):
    page.draw((0, 90), (0, -90))
    page.wait(lambda: page.pixels("seen").max() > 0)
    page.find("#clear").click()
    page.wait(lambda: page.pixels("seen").max() == 0)
    assert page.pixels("drawing").max() == 0
    assert not page.find("#back").is_enabled()
    assert not page.browser.find_elements("css selector", ".mark:not([hidden])")


def test_examples(page):
    page.find("#digits button:nth-child(2)").click()  # a square
    page.wait(lambda: lit(page.pixels("seen"))[0] > 15)
    assert page.pixels("drawing").max() == 255


def test_a_random_code_stays_within_the_sliders_or_is_kept_beyond(page):
    page.find("#random").click()
    assert page.code() != ["0°", "0.00"]
    assert -90 <= float(page.code()[0].rstrip("°").replace("−", "-")) <= 90


def test_an_error_is_shown_and_goes_away(page, browser):
    browser.execute_script(
        "window.wasFetch = window.fetch; window.fetch = () => Promise.reject(new TypeError())"
    )
    page.slide("#dimension-0", 5)
    page.wait(lambda: page.find("#error").is_displayed())
    assert page.find("#error").text == "The server does not answer. Is “rotfast demo” still running?"
    assert page.find("#error").get_attribute("role") == "alert"
    browser.execute_script("window.fetch = window.wasFetch")
    page.slide("#dimension-0", 6)
    page.wait(lambda: not page.find("#error").is_displayed())


@pytest.mark.parametrize("width", [360, 800, 1280])
def test_nothing_is_cut_off(page, browser, width):
    # A window of this browser is at least 500 pixels wide, so the narrow one is emulated.
    metrics = {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": False}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    try:
        inner, full = browser.execute_script("return [innerWidth, document.documentElement.scrollWidth]")
        assert inner == width
        assert full <= inner
        for element in browser.find_elements("css selector", "button, input, canvas, output"):
            assert element.rect["x"] + element.rect["width"] <= width
    finally:
        browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
