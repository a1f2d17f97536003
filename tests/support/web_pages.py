"""Reads a web page as a browser would, and complains where one would have to guess."""

from html.parser import HTMLParser

_VOID = {"meta", "br", "hr", "img", "link", "input"}
_SVG = "svg"
Rows = list[list[str]]


class WebPage(HTMLParser):
    """What a page holds; `text` is what a person sees, words apart by one blank."""

    def __init__(self, source: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[str] = []
        self.ids: list[str] = []
        self.references: list[str] = []  # what src, href and url() lead to
        self.tables: list[Rows] = []
        self.headings: list[str] = []
        self.facts: dict[str, str] = {}  # the last one of each name
        self.drawings = 0
        self._open: list[str] = []
        self._words: list[str] = []
        self._name = ""
        assert source.startswith("<!DOCTYPE html>")
        self.feed(source)
        self.close()
        assert self._open == [], f"never closed: {self._open}"

    @property
    def text(self) -> str:
        """All that is said, without style."""
        return " ".join(" ".join(self._words).split())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Open a tag."""
        self._look_at(tag, attrs)
        if tag not in _VOID:
            self._open.append(tag)
        if tag == "table":
            self.tables.append([])
        if tag == "tr":
            self.tables[-1].append([])
        if tag in ("td", "th"):
            self.tables[-1][-1].append("")
        if tag in ("h1", "h2", "h3"):
            self.headings.append("")
        if tag == "dt":
            self._name = ""

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """A tag without content, which only drawings have."""
        assert _SVG in self._open, f"<{tag}/> outside of a drawing"
        self._look_at(tag, attrs)

    def handle_endtag(self, tag: str) -> None:
        """Close the tag that was opened last, and no other."""
        assert self._open, f"</{tag}> closes nothing"
        assert self._open.pop() == tag, f"</{tag}> closes another tag"

    def handle_data(self, data: str) -> None:
        """Text."""
        inside = self._open[-1] if self._open else ""
        if "style" in self._open:
            return
        self._words.append(data)
        if inside in ("td", "th"):
            self.tables[-1][-1][-1] += data
        if inside in ("h1", "h2", "h3"):
            self.headings[-1] += data
        if inside == "dt":
            self._name = data
            self.facts[data] = ""
        if inside == "dd":
            self.facts[self._name] += data

    def _look_at(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.drawings += tag == _SVG
        for name, value in attrs:
            if name == "id":
                self.ids.append(value or "")
            if name in ("src", "href", "xlink:href", "srcset", "data", "action"):
                self.references.append(value or "")
            if value and "url(" in value:
                self.references.append(value.partition("url(")[2].rstrip(")"))


def assert_stands_alone(source: str) -> WebPage:
    """The page loads nothing, runs nothing, and all its links lead into itself."""
    page = WebPage(source)
    assert len(page.ids) == len(set(page.ids))
    assert {reference[:1] for reference in page.references} <= {"#"}
    assert {reference[1:] for reference in page.references} <= set(page.ids)
    assert not {"script", "link", "iframe", "img", "object", "embed"} & set(page.tags)
    assert "@import" not in source
    assert "@font-face" not in source
    return page
