"""The playground page, driven in a real browser."""

import dataclasses
import io
import shutil
import time
import urllib.request

import jax
import numpy as np
import pytest
from PIL import Image

from biggan_jax.config import default_config
from biggan_jax.sampling.sampler import Sampler
from biggan_jax.sampling.standing_statistics import prepare_generator
from biggan_jax.training.step.state import create_state

pytestmark = [pytest.mark.peers, pytest.mark.slow]
gradio = pytest.importorskip("gradio")
webdriver = pytest.importorskip("selenium.webdriver")
Keys = pytest.importorskip("selenium.webdriver.common.keys").Keys

NAMES = ("red <b>one</b>", "green one", "blue one")
PATIENCE = 120  # seconds
# Without a screen, and without a word to anyone but the page.
FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--window-size=1300,1200",
)


@pytest.fixture(scope="module")
def generator():
    config = default_config()
    config.model.update(
        resolution=16,
        channels=8,
        generator_channels=(2, 2, 1),
        discriminator_channels=(1, 1),
        num_classes=3,
        latent_dim=6,
        class_embedding_dim=4,
        attention_resolution=0,
    )
    config.sampling.update(standing_passes=2, batch_size=8)
    state = create_state(config)
    exported = prepare_generator(config, state.ema_params, state.generator.u, [0.5, 1.0, 0.0])
    return Sampler(dataclasses.replace(exported, class_names=NAMES), devices=jax.devices()[:1])


@pytest.fixture(scope="module")
def address(generator):
    from biggan_jax.sampling.playground_page import FONTS, STYLE, playground_page

    blocks = playground_page(generator)
    _, url, _ = blocks.launch(
        prevent_thread_lock=True,
        quiet=True,
        theme=gradio.themes.Default(**FONTS),
        css=STYLE,
        server_port=None,
    )
    yield url
    blocks.close()


@pytest.fixture
def browser(tmp_path):
    chromium, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if not (chromium and driver):
        pytest.skip("no browser here: apt-get install chromium chromium-driver")
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for argument in (*FLAGS, f"--user-data-dir={tmp_path}"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driven = webdriver.Chrome(options=options, service=webdriver.ChromeService(driver))
    yield driven
    driven.quit()


def wait_for(search):
    """The result of `search`, as soon as it is not empty."""
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        try:
            if result := search():
                return result
        except Exception as error:  # the page is drawing itself anew under our hands
            last = error
        time.sleep(0.2)
    raise AssertionError(f"nothing came in {PATIENCE} s: {locals().get('last')}")


def pictures(browser):
    return [picture.get_attribute("src") for picture in browser.find_elements("css selector", "#gallery img")]


def shown(browser, selector):
    return any(element.is_displayed() for element in browser.find_elements("css selector", selector))


def pixels(url):
    with urllib.request.urlopen(url) as answer:
        return np.asarray(Image.open(io.BytesIO(answer.read())).convert("RGB"))


def changed(browser, before):
    """The pictures, once they are eight others."""
    now = pictures(browser)
    return now if len(now) == 8 and not set(now) & set(before) else None


def test_other_classes_and_truncations_give_other_images_and_two_can_be_interpolated(
    address, browser, generator
):
    browser.get(address)
    first = wait_for(lambda: changed(browser, []))
    enlarged = generator.sample([0] * 8)[0].repeat(6, axis=0).repeat(6, axis=1)
    np.testing.assert_array_equal(pixels(first[0]), enlarged)

    box = browser.find_element("css selector", "#class input")
    box.click()
    box.send_keys(Keys.CONTROL, "a")
    box.send_keys("green")
    wait_for(lambda: browser.find_elements("css selector", "[role=option]"))
    box.send_keys(Keys.ENTER)
    second = wait_for(lambda: changed(browser, first))
    np.testing.assert_array_equal(
        pixels(second[7]), generator.sample([1] * 8)[7].repeat(6, axis=0).repeat(6, axis=1)
    )

    assert not shown(browser, "#truncation")  # beside "no truncation", which is ticked
    browser.find_element("css selector", "#untruncated input").click()
    wait_for(lambda: shown(browser, "#truncation"))
    third = wait_for(lambda: changed(browser, second))
    np.testing.assert_array_equal(
        pixels(third[2]), generator.sample([1] * 8, truncation=1.0)[2].repeat(6, axis=0).repeat(6, axis=1)
    )

    for number, end in ((0, "#from"), (5, "#to")):
        browser.find_elements("css selector", "#gallery img")[number].click()
        wait_for(lambda end=end: browser.find_elements("css selector", f"{end} img"))
    wait_for(lambda: browser.find_element("css selector", "#interpolate").is_enabled())
    browser.find_element("css selector", "#interpolate").click()
    strip = wait_for(lambda: browser.find_elements("css selector", "#strip img"))
    drawn = pixels(strip[0].get_attribute("src"))
    assert drawn.shape == (96, 8 * 96, 3)
    np.testing.assert_array_equal(drawn[:, :96], pixels(third[0]))
    np.testing.assert_array_equal(drawn[:, -96:], pixels(third[5]))

    complaints = [entry for entry in browser.get_log("browser") if entry["level"] == "SEVERE"]
    assert not complaints, complaints
