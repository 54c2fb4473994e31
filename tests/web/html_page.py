"""A page taken apart, for tests of what it holds."""

from html.parser import HTMLParser

VOID = {"meta", "br", "link", "input"}


class Page(HTMLParser):
    """A page taken apart: its elements with their attributes, its text, and whether every element is closed."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag, tag

    def handle_data(self, data: str) -> None:
        self.texts.append(data.strip())

    def asks(self) -> list[str | None]:
        """Return the addresses that the page would fetch or lead to, those within itself left out."""
        names = ("src", "href", "xlink:href", "srcset", "action", "data", "poster")
        found = [attributes.get(name) for _, attributes in self.elements for name in names if name in attributes]
        return [address for address in found if not (address or "").startswith("data:")]

    def of(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]
