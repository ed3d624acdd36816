"""A page as a browser would read it, for the tests of what pages hold."""

import base64
import html.parser
import io
import re
from typing import NamedTuple

from PIL import Image

VOID = {"img", "input", "meta", "path", "use", "rect", "br"}


class Element(NamedTuple):
    tag: str
    attributes: dict
    words: list  # its own and its children's


class Page(html.parser.HTMLParser):
    """Reads a page, and fails if its elements are not properly nested.

    Attributes:
      elements: all of them, in the order in which they begin.
    """

    def __init__(self, content):
        super().__init__()
        self.elements, self._open = [], []
        self.feed(content)
        self.close()
        assert not self._open, f"not closed: {self._open}"

    def handle_starttag(self, tag, attributes):
        self.elements.append(Element(tag, dict(attributes), []))
        if tag not in VOID:
            self._open.append(self.elements[-1])

    def handle_startendtag(self, tag, attributes):
        self.elements.append(Element(tag, dict(attributes), []))

    def handle_endtag(self, tag):
        if tag not in VOID:
            opened = self._open.pop().tag
            assert opened == tag, f"</{tag}> closes <{opened}>"

    def handle_data(self, words):
        for element in self._open:
            element.words.append(words)

    def all(self, tag, class_=None):
        return [
            element
            for element in self.elements
            if element.tag == tag and class_ in (None, *(element.attributes.get("class") or "").split())
        ]

    def texts(self, tag, class_=None):
        """The text of each such element, white space as one space."""
        return [" ".join("".join(element.words).split()) for element in self.all(tag, class_)]

    def images(self):
        """Each picture, decoded."""
        found = []
        for element in self.all("img"):
            kind, data = re.fullmatch(r"data:(image/\w+);base64,(.+)", element.attributes["src"]).groups()
            picture = Image.open(io.BytesIO(base64.b64decode(data, validate=True)))
            picture.load()
            assert picture.get_format_mimetype() == kind
            found.append(picture)
        return found


def assert_needs_no_other_file(content):
    """No address of anything outside the page, but within its visible text."""
    page = Page(content)
    for element in page.elements:
        for name, value in element.attributes.items():
            if name in ("src", "href", "xlink:href", "action", "data", "poster", "srcset"):
                assert value.startswith(("data:", "#")), f"{element.tag} {name}={value[:60]}"
            for address in re.findall(r"url\(([^)]*)", value or ""):
                assert address.startswith("#"), address
    assert "http://" not in content and "https://" not in content
    assert not page.all("link") and not page.all("iframe") and "@import" not in content
    (policy,) = (x for x in page.all("meta") if x.attributes.get("http-equiv") == "Content-Security-Policy")
    assert policy.attributes["content"].startswith("default-src 'none'; img-src data:;")
