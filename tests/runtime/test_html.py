"""Pages: nothing in them comes from outside or escapes its place, and pictures stay small."""

import io
import re

import numpy as np
import pytest
from matplotlib.figure import Figure
from pages import Page, assert_needs_no_other_file
from PIL import Image

from biggan_jax.runtime import html
from biggan_jax.runtime.html import Html, element

WICKED = '<script>alert("&amp;")</script>'


def png(width, height, noise=False, mode="RGB"):
    shape = (height, width, len(mode))
    pixels = (
        np.random.default_rng(0).integers(0, 256, shape, np.uint8) if noise else np.zeros(shape, np.uint8)
    )
    buffer = io.BytesIO()
    Image.fromarray(pixels, mode).save(buffer, "PNG")
    return buffer.getvalue()


def decoded(content):
    return Image.open(io.BytesIO(content))


def test_text_is_escaped_wherever_it_is_put_and_markup_is_not_escaped_twice():
    parts = [
        element("p", WICKED, element("b", WICKED), title=WICKED),
        html.section(WICKED, html.table([WICKED], [[WICKED]], sortable=True)),
        html.details(WICKED, html.badge(WICKED)),
        html.slideshow([(WICKED, html.image(png(2, 2), WICKED))]),
        html.cards(WICKED),
        html.two_columns(WICKED),
    ]
    page = Page(html.page(WICKED, *parts))
    assert len(page.all("script")) == 1 and 'alert("&amp;")' not in page.texts("script")[0]
    for tag in ("title", "h1", "h2", "b", "th", "td", "summary", "span", "figcaption"):
        assert page.texts(tag) == [WICKED], tag
    assert page.texts("p") == [WICKED * 2] and page.all("p")[0].attributes["title"] == WICKED
    assert page.all("img")[0].attributes["alt"] == WICKED


def test_attributes_without_value_and_without_an_attribute():
    assert element("p", None, hidden=True, class_="a", data_step=3, title=None, lang=False) == (
        '<p hidden class="a" data-step="3"></p>'
    )
    assert element("img", alt="") == '<img alt="">'
    assert isinstance(element("p"), Html) and html.join(["<", element("b"), None]) == "&lt;<b></b>"


def test_a_page_asks_for_no_other_file_and_tells_the_browser_to_fetch_none():
    figure = Figure()
    figure.subplots().plot([1, 2])
    content = html.page("title", html.image(png(3, 2), "picture"), html.inline_svg(figure, "curve"))
    assert_needs_no_other_file(content)
    assert content.startswith("<!doctype html>")
    assert "width=device-width" in content  # or a phone shows it as wide as a desk


@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
def test_a_picture_is_in_the_page_pixel_by_pixel_with_its_size(mode):
    content = png(7, 5, noise=True, mode=mode)
    page = Page(html.image(html.shrink(content), "noise"))
    (found,) = page.images()
    np.testing.assert_array_equal(np.asarray(found), np.asarray(decoded(content)))
    assert (page.all("img")[0].attributes["width"], page.all("img")[0].attributes["height"]) == ("7", "5")


@pytest.mark.parametrize(("size", "noise"), [((1500, 400), False), ((400, 1500), False), ((900, 700), True)])
def test_a_picture_with_too_many_pixels_or_bytes_becomes_smaller_in_the_same_shape(size, noise):
    small = html.shrink(png(*size, noise=noise), most_pixels=1000, most_bytes=50_000)
    found = decoded(small)
    assert len(small) <= 50_000 and max(found.size) <= 1000
    assert found.width / found.height == pytest.approx(size[0] / size[1], rel=0.02)
    assert found.width * found.height > 10_000


def test_a_table_has_its_cells_in_their_places_and_headers_to_press_only_where_it_can_be_sorted():
    rows = [("a", Html("<i>1</i>")), ("b", 2)]
    for sortable in (True, False):
        page = Page(html.table(("name", "number"), rows, sortable=sortable))
        assert page.texts("td") == ["a", "1", "b", "2"] and page.texts("th") == ["name", "number"]
        assert len(page.all("button")) == (2 if sortable else 0)
        assert bool(page.all("table", "sortable")) is sortable


def test_figures_of_one_page_share_no_names_of_their_parts_and_each_finds_its_own():
    drawn = []
    for points in ([1, 3, 2], [5, 4, 6]):
        figure = Figure()
        axes = figure.subplots()
        axes.plot(points, marker="o")
        axes.set_xlabel("steps < last")
        drawn.append(html.inline_svg(figure, "curve <1>"))
    assert drawn[0] != drawn[1]
    page = Page(html.page("two", *drawn))
    assert not [group for group in page.all("g") if "id" in group.attributes]
    names = [x.attributes["id"] for x in page.elements if "id" in x.attributes]
    for name in set(names):  # the same name is the same thing: markers and frames that look alike
        places = re.findall(rf'<(path|clippath) id="{name}"(.*?)</', "".join(drawn).lower(), re.DOTALL)
        assert len(set(places)) <= 1, name
    used = re.findall(r'(?:url\(|xlink:href=")#([\w-]+)', "".join(drawn))
    assert used and set(used) <= set(names)
    assert "steps < last" in page.texts("text")  # text, and no outlines of letters
    assert page.all("svg")[0].attributes["aria-label"] == "curve <1>"
    assert "viewbox" in page.all("svg")[0].attributes and "width" not in page.all("svg")[0].attributes


def test_parts_beside_each_other_keep_their_order():
    page = Page(html.two_columns(element("p", "one"), element("p", "two")))
    assert page.texts("p") == ["one", "two"] and page.texts("div", "beside") == ["onetwo"]
    assert len(page.all("div")) == 3


def test_a_slider_has_its_pictures_in_the_order_given_each_with_its_caption():
    pictures = [(f"step {step}", html.image(png(step, 1), "sheet")) for step in (1, 2, 3)]
    page = Page(html.slideshow(pictures))
    assert page.texts("figcaption") == ["step 1", "step 2", "step 3"]
    assert [picture.width for picture in page.images()] == [1, 2, 3]
