"""HTML to plain text, in one pass over it, whatever is nested or left open in it."""

from __future__ import annotations

import html
import re

from indexer.core.lru import cache_texts

# What is around them begins a new line.
_BLOCK_NAMES = """
address article aside blockquote br center dd div dl dt fieldset figcaption figure footer form h1 h2
h3 h4 h5 h6 header hr li main nav ol option p pre section table tbody tfoot thead tr ul
"""
_BLOCKS = frozenset(_BLOCK_NAMES.split())
_CELLS = frozenset({"td", "th"})
# Left out with all they hold.
_DROPPED = {
    name: re.compile(rf"</{name}\b[^>]*>?", re.IGNORECASE)
    for name in ("script", "style", "template", "svg", "iframe", "head", "noframes")
}
_TAG = re.compile(r"</?([a-zA-Z][a-zA-Z0-9:-]{0,31})")
_QUOTE_OR_END = re.compile(r"=\s*[\"']|>")
# A number that Python would not read, and that is no character either.
_HUGE_REFERENCE = re.compile(r"&#[xX]?[0-9a-fA-F]{8,};?")
_SPACES = re.compile(r"[^\S\n]+")
_ANY_SPACE = re.compile(r"\s+")
_LINES = re.compile(r" ?\n ?")
_BREAKS = re.compile(r" ?\0[\0 ]*")
_EMPTY_LINES = re.compile(r"\n{3,}")
# Seen as nothing, or as a box.
_CONTROL = re.compile(r"[\x00-\x08\x0e-\x1f\x7f\u200b\u2060\ufeff\u00ad]")
# Of longer texts none is kept.
_CACHED = 20_000
_CLOSING = re.compile(r"</[a-zA-Z][a-zA-Z0-9]{0,15}>|<br ?/?>")


def to_text(markup: str) -> str:
    """The text of ``markup`` as a page shows it: blocks begin lines, entities are signs, scripts
    and styles are left out. Text without tags keeps its lines.

    >>> to_text("<p>Soft,&nbsp;heavy <b>cotton</b>.<br>Wash cold.</p><script>x()</script>")
    'Soft, heavy cotton.\\nWash cold.'
    """
    if "<" not in markup and "&" not in markup:
        return _tidy(markup.replace("\0", ""))
    # Variants of one product repeat its text.
    return _converted(markup) if len(markup) <= _CACHED else _convert(markup)


def _convert(markup: str) -> str:
    text, tags = _Scanner(markup).text()
    # HTML that was escaped as a whole on its way into the feed.
    if not tags and _CLOSING.search(text):
        text, _ = _Scanner(text).text()
    return _tidy(text)


_converted = cache_texts(256, longest=20_000)(_convert)


def unescape(text: str) -> str:
    """Text with entities as the signs they stand for, whatever their number.

    >>> unescape("Shirts &amp; Tops &#" + "9" * 5000 + ";")
    'Shirts & Tops \ufffd'
    """
    return html.unescape(_HUGE_REFERENCE.sub("\ufffd", text)) if "&" in text else text


class _Scanner:
    """One pass over a document. Every step goes on behind what it read, and what cannot be found
    any more is looked for once: the time grows with the length alone."""

    def __init__(self, markup: str) -> None:
        self.markup = markup.replace("\0", "")
        self.last_end = self.markup.rfind(">")
        self.last_comment_end = self.markup.rfind("-->")
        self.last_section_end = self.markup.rfind("]]>")
        # Until one was found that does not close inside a tag.
        self.quotes = True
        self.pieces: list[str] = []
        self.tags = False

    def text(self) -> tuple[str, bool]:
        """Text with ``\\0`` where a line begins, and whether there was any tag."""
        at = 0
        start = 0
        while 0 <= (at := self.markup.find("<", at)) < self.last_end:
            tag = _TAG.match(self.markup, at)
            if tag is None and self.markup[at + 1] not in "!?":
                at += 1
                continue
            self.add(self.markup[start:at])
            start = at = self.special(at) if tag is None else self.tag(at, tag)
        self.add(self.markup[start:])
        return "".join(self.pieces), self.tags

    def add(self, text: str) -> None:
        """Take in what stands between two tags."""
        if "&" in text:
            text = unescape(text).replace("\0", "")
        self.pieces.append(text)

    def special(self, at: int) -> int:
        """Pass a comment, declaration or instruction; the text of a CDATA section is kept."""
        markup = self.markup
        if markup.startswith("<!--", at) and self.last_comment_end >= at + 2:
            return markup.index("-->", at + 2) + 3
        if markup.startswith("<![CDATA[", at) and self.last_section_end >= at:
            end = markup.index("]]>", at)
            self.pieces.append(markup[at + 9 : end])
            return end + 3
        return markup.index(">", at) + 1

    def tag(self, at: int, tag: re.Match[str]) -> int:
        """Pass a tag, and what it holds where that is no text."""
        name = tag.group(1).lower()
        end = self.tag_end(tag.end())
        self.tags = True
        opens = self.markup[at + 1] != "/"
        if name in _BLOCKS:
            self.pieces.append("\0")
        elif name in _CELLS:
            self.pieces.append(" ")
        if opens and name in _DROPPED and self.markup[end - 2 : end] != "/>":
            closing = _DROPPED[name].search(self.markup, end)
            return closing.end() if closing else len(self.markup)
        return end

    def tag_end(self, at: int) -> int:
        """Where the tag ends whose name ended at ``at``; a ``>`` in quotes is none."""
        markup = self.markup
        place = at
        while self.quotes:
            found = _QUOTE_OR_END.search(markup, place)
            if found is None:
                break
            if found.group() == ">":
                return found.end()
            place = markup.find(found.group()[-1], found.end()) + 1
            if not place:
                break
        # An open quote: from here on, quotes are not heeded.
        self.quotes = False
        end = markup.find(">", at) + 1
        return end or len(markup)


def _tidy(text: str) -> str:
    if "\0" in text:
        text = _BREAKS.sub("\n", _ANY_SPACE.sub(" ", text))
    text = _CONTROL.sub("", text.replace("\r\n", "\n").replace("\r", "\n"))
    text = _LINES.sub("\n", _SPACES.sub(" ", text))
    return _EMPTY_LINES.sub("\n\n", text).strip()
