"""HTML pages that need no file beside them: for phones and projectors, in light and dark.

A page consists of `element`s. Anything that is not `Html` is text, and is escaped. Pictures are embedded in
the page, and a Content-Security-Policy forbids the browser to fetch others.
"""

import base64
import html
import io
import re
from collections.abc import Iterable, Sequence

from matplotlib import rc_context
from matplotlib.figure import Figure
from PIL import Image

_VOID = {"img", "input", "meta"}


class Html(str):
    """Markup: a string that is not escaped again."""


def element(tag: str, *content: object, **attributes: object) -> Html:
    """Returns an HTML element with attributes and content.

    Example:
      >>> element("p", "1 < 2", class_="note")
      '<p class="note">1 &lt; 2</p>'

    Args:
      tag: Name of the element.
      *content: Content in order. All but `Html` is escaped; None is left out.
      **attributes: Attributes by name: `class_` stands for class, `data_name` for data-name. True writes an
        attribute without a value; None and False leave it out.
    """
    words = [tag]
    for name, value in attributes.items():
        name = name.rstrip("_").replace("_", "-")
        if value is True:
            words.append(name)
        elif value is not None and value is not False:
            words.append(f'{name}="{html.escape(str(value))}"')
    start = f"<{' '.join(words)}>"
    return Html(start if tag in _VOID else f"{start}{join(content)}</{tag}>")


def join(parts: Iterable[object]) -> Html:
    """Concatenates parts; all but `Html` is escaped, and None is left out."""
    return Html(
        "".join(
            part if isinstance(part, Html) else html.escape(str(part)) for part in parts if part is not None
        )
    )


def page(title: str, *parts: object) -> str:
    """Returns a complete page, to be written as UTF-8.

    Args:
      title: Title of the page and its first heading.
      *parts: Content below the heading.
    """
    policy = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'"
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", http_equiv="Content-Security-Policy", content=policy),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("title", title),
        element("style", Html(_CSS)),
    )
    body = element("body", element("main", element("h1", title), *parts), element("script", Html(_SCRIPT)))
    return f"<!doctype html>\n{element('html', head, body, lang='en')}\n"


def section(title: str, *parts: object) -> Html:
    """Returns parts under a heading of their own."""
    return element("section", element("h2", title), *parts)


def details(title: str, *parts: object) -> Html:
    """Returns parts that are hidden until a click on the title."""
    return element("details", element("summary", title), *parts)


def cards(*parts: object) -> Html:
    """Returns framed parts side by side, as many in a row as fit."""
    return element("div", *(element("div", part, class_="card") for part in parts), class_="cards")


def two_columns(*parts: object) -> Html:
    """Returns two parts side by side, the second wider; on narrow screens the second is below the first."""
    return element("div", *(element("div", part) for part in parts), class_="beside")


def badge(text: str, kind: str = "plain") -> Html:
    """Returns a word in a coloured frame; `kind` is "good", "bad" or "plain"."""
    return element("span", text, class_=f"badge {kind}")


def table(header: Sequence[object], rows: Iterable[Sequence[object]], sortable: bool = False) -> Html:
    """Returns a table that scrolls by itself where it is wider than the page.

    The first column is aligned to the left, all others to the right.

    Args:
      header: Titles of the columns.
      rows: Rows with a cell for each column.
      sortable: Whether a click on a title sorts the rows by that column: numbers by value, the rest as text.
    """
    heads = (element("th", element("button", cell) if sortable else cell, scope="col") for cell in header)
    body = (element("tr", *(element("td", cell) for cell in row)) for row in rows)
    content = element(
        "table",
        element("thead", element("tr", *heads)),
        element("tbody", *body),
        class_="sortable" if sortable else None,
    )
    return element("div", content, class_="scroll", tabindex="0")


def image(content: bytes, description: str) -> Html:
    """Returns a picture that is scaled down to the page's width; a click shows its full size.

    Args:
      content: PNG, JPEG or WebP file.
      description: Alternative text.
    """
    with Image.open(io.BytesIO(content)) as opened:
        kind, (width, height) = opened.get_format_mimetype(), opened.size
    data = base64.b64encode(content).decode()
    picture = element("img", src=f"data:{kind};base64,{data}", alt=description, width=width, height=height)
    return element("div", picture, class_="picture", tabindex="0")


def shrink(png: bytes, most_pixels: int = 1200, most_bytes: int = 400_000) -> bytes:
    """Returns a picture that fits the limits: the PNG itself, or a smaller JPEG of it.

    Args:
      png: PNG file.
      most_pixels: Largest width and height.
      most_bytes: Largest size of the file.
    """
    with Image.open(io.BytesIO(png)) as opened:
        if max(opened.size) <= most_pixels and len(png) <= most_bytes:
            return png
        small = opened.convert("RGB")
    while True:
        small.thumbnail((most_pixels, most_pixels))
        buffer = io.BytesIO()
        small.save(buffer, "JPEG", quality=85)
        if buffer.tell() <= most_bytes:
            return buffer.getvalue()
        most_pixels = max(small.size) * 4 // 5


def slideshow(pictures: Sequence[tuple[str, Html]]) -> Html:
    """Returns pictures of which a slider shows one; without scripts, all of them show.

    Args:
      pictures: Pairs of a caption and a picture. The last one shows first.
    """
    figures = (element("figure", picture, element("figcaption", caption)) for caption, picture in pictures)
    return element("div", *figures, class_="slides")


def inline_svg(figure: Figure, description: str) -> Html:
    """Returns a figure as SVG within the page: sharp at every size, transparent, in the page's font.

    Args:
      figure: Figure to embed.
      description: Text for screen readers.
    """
    buffer = io.StringIO()
    # Text stays text, and the same figure always gives the same names.
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": "biggan_jax"}):
        about = dict.fromkeys(("Date", "Creator", "Format", "Type"))
        figure.savefig(buffer, format="svg", transparent=True, metadata=about)
    _, start, content = buffer.getvalue().partition("<svg")
    # HTML implies the namespaces, and the groups of other figures on the page have the same names.
    content = re.sub(r' xmlns(:\w+)?="[^"]*"| (width|height)="[\d.]+pt"', "", content)
    content = re.sub(r'<g id="[^"]*">', "<g>", content)
    return Html(f'{start} role="img" aria-label="{html.escape(description)}"{content.rstrip()}')


_CSS = """
:root { color-scheme: light dark; --ink: #1c1e21; --dim: #5c6166; --line: #dfe2e5; --paper: #f6f7f8;
  --card: #fff; --good: #1a7f37; --bad: #c02626; --accent: #2f6db3;
  font: clamp(15px, 11px + 0.5vw, 22px)/1.5 system-ui, sans-serif; }
@media (prefers-color-scheme: dark) { :root { --ink: #e7e9eb; --dim: #9aa1a8; --line: #3a3f45;
  --paper: #16181b; --card: #1f2226; --good: #4fc26a; --bad: #ff7b72; --accent: #79b0ee; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--paper); color: var(--ink); overflow-wrap: anywhere; }
main { max-width: 78rem; margin: auto; padding: 0.5rem 1rem 3rem; }
h1 { font-size: 1.7rem; line-height: 1.2; margin: 1rem 0 0.5rem; }
h2 { font-size: 1.25rem; margin: 2rem 0 0.6rem; }
h3 { font-size: 1rem; margin: 0 0 0.3rem; }
p { margin: 0.3rem 0; max-width: 48rem; }
.dim, figcaption { color: var(--dim); font-size: 0.9rem; }
.note { border-left: 4px solid var(--bad); padding-left: 0.7rem; }
.cards { display: grid; gap: 0.8rem; margin: 0.8rem 0;
  grid-template-columns: repeat(auto-fill, minmax(min(100%, 22rem), 1fr)); }
.card { background: var(--card); border: 1px solid var(--line); border-radius: 8px; padding: 0.8rem;
  min-width: 0; }
.card > .scroll { border: 0; margin: 0; }
.beside { display: grid; gap: 0 2rem; grid-template-columns: minmax(0, 1fr); }
.beside > :only-child { grid-column: 1 / -1; }
@media (min-width: 80rem) { .beside { grid-template-columns: minmax(0, 5fr) minmax(0, 7fr); } }
.badge { border: 1px solid; border-radius: 1rem; padding: 0 0.55rem; font-size: 0.85rem;
  white-space: nowrap; color: var(--dim); }
.badge.good { color: var(--good); }
.badge.bad { color: var(--paper); background: var(--bad); border-color: var(--bad); font-weight: 600; }
.scroll { overflow: auto; max-height: 85vh; margin: 0.6rem 0;
  /* A shadow marks the side where the table continues: covers move with the table, shadows do not. */
  background: linear-gradient(90deg, var(--card) 1.5rem, transparent 3rem) local,
    linear-gradient(270deg, var(--card) 1.5rem, transparent 3rem) local,
    linear-gradient(90deg, #0004, transparent 0.8rem), linear-gradient(270deg, #0004, transparent 0.8rem),
    var(--card);
  border: 1px solid var(--line); border-radius: 8px; width: fit-content; max-width: 100%; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: 0.3rem 0.8rem; text-align: right; border-bottom: 1px solid var(--line);
  white-space: nowrap; overflow-wrap: normal; }
th { white-space: normal; }
th:first-child, td:first-child { text-align: left; white-space: normal; min-width: 5rem; }
@media (max-width: 40rem) { th, td { padding: 0.3rem 0.5rem; } }
tbody tr:last-child td { border-bottom: 0; }
th { position: sticky; top: 0; background: var(--card); font-size: 0.9rem; vertical-align: bottom; }
th button { font: inherit; color: inherit; background: none; border: 0; padding: 0; cursor: pointer;
  text-align: inherit; }
th button::after { content: " ↕"; color: var(--dim); }
th[aria-sort=ascending] button::after { content: " ↑"; }
th[aria-sort=descending] button::after { content: " ↓"; }
img, svg { display: block; max-width: 100%; height: auto; }
svg { width: 100%; }
@media (prefers-color-scheme: dark) { svg { filter: invert(1) hue-rotate(180deg); } }
svg text { font-family: system-ui, sans-serif !important; }
img { border-radius: 4px; background: #fff; }
.picture { overflow-x: auto; }
.picture.whole img { max-width: none; }
.picture.narrow img { cursor: zoom-in; }
.picture.whole img { cursor: zoom-out; }
figure { margin: 0; }
figcaption { margin: 0.3rem 0; }
.slides figure + figure { margin-top: 1rem; }
.slides.live figure { margin-top: 0; }
.slides input { width: 100%; margin: 0.6rem 0; accent-color: var(--accent); }
details { margin: 0.6rem 0; }
summary { cursor: pointer; color: var(--accent); }
a { color: var(--accent); }
"""

_SCRIPT = """
for (const slides of document.querySelectorAll(".slides")) {
  const figures = slides.querySelectorAll("figure");
  if (figures.length < 2) continue;
  const slider = document.createElement("input");
  const show = () => figures.forEach((figure, i) => { figure.hidden = i != slider.value; });
  Object.assign(slider, {type: "range", min: 0, max: figures.length - 1, oninput: show});
  slider.value = figures.length - 1;
  slider.setAttribute("aria-label", "which picture");
  slides.prepend(slider);
  slides.classList.add("live");
  show();
}
for (const picture of document.querySelectorAll(".picture")) {
  const image = picture.querySelector("img");
  image.onmouseenter = () => picture.classList.toggle("narrow", image.width < image.naturalWidth);
  image.onclick = () => picture.classList.toggle("whole");
  picture.onkeydown = event => { if (event.key == "Enter") image.onclick(); };
}
const order = new Intl.Collator("en", {numeric: true}).compare;
for (const button of document.querySelectorAll(".sortable th button")) button.onclick = () => {
  const head = button.parentElement, body = head.closest("table").tBodies[0];
  const sign = head.ariaSort == "ascending" ? -1 : 1;
  const text = row => row.cells[head.cellIndex].textContent.trim();
  const number = words => words && words != "–" ? Number(words.replace(/[,%\\s]/g, "")) : NaN;
  const compare = (one, other) => {
    const [a, b] = [text(one), text(other)], [x, y] = [number(a), number(b)];
    if (isNaN(x) != isNaN(y)) return isNaN(x) ? 1 : -1;  // unknown values come last in both orders
    return sign * (isNaN(x) ? order(a, b) : x - y);
  };
  body.append(...[...body.rows].sort(compare));
  for (const other of head.parentElement.cells) other.removeAttribute("aria-sort");
  head.ariaSort = sign > 0 ? "ascending" : "descending";
};
"""
