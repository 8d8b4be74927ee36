"""Text encoding of a feed: what its bytes say, and a guess that is named where they do not."""

from __future__ import annotations

import codecs
import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from indexer.core.errors import BadDataError
from indexer.feeds.feed_file import FeedFile, read_all

_CHUNK = 1 << 20
# UTF-32 first: its little-endian mark begins with that of UTF-16.
_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
# A sequence of two to four bytes that UTF-8 allows.
_UTF8_SEQUENCE = re.compile(
    rb"[\xc2-\xdf][\x80-\xbf]|[\xe0-\xef][\x80-\xbf]{2}|[\xf0-\xf4][\x80-\xbf]{3}"
)
_HIGH = re.compile(rb"[\x80-\xff]")
_NO_ASCII = re.compile("[^\x00-\x7f]")
# The commoner half of GB 2312's characters and its punctuation, and full-width forms.
_CHINESE = re.compile(rb"[\xa1-\xa3\xb0-\xd7][\xa1-\xfe]")
# Encodings that begin with a mark -> the same without one.
_UNMARKED = {
    "utf-16": ("utf-16-le", "utf-16-be"),
    "utf-32": ("utf-32-le", "utf-32-be"),
}
# Of names, of Python's source, or of nothing: no file is written in them.
_NO_FILES = frozenset({"idna", "punycode", "undefined", "unicode_escape", "raw_unicode_escape"})
_NAMES = {"cp1252": "Windows-1252 (cp1252)", "gb18030": "Chinese GB18030"}


@dataclass(frozen=True)
class TextEncoding:
    """How to decode a feed. ``guess`` says in words what was guessed and how to say better."""

    name: str
    # "strict" where every byte was seen to fit.
    errors: str = "strict"
    guess: str | None = None
    # Line of the first byte that the guess is about.
    line: int | None = None

    @contextmanager
    def lines(self, source: FeedFile) -> Iterator[io.TextIOWrapper]:
        """The decoded text, line ends as they are.

        Raises ``BadDataError`` where it cannot be decoded after all.
        """
        file = source.open_text()
        try:
            with io.TextIOWrapper(file, self.name, errors=self.errors, newline="") as text:
                yield text
        except UnicodeError as error:
            raise BadDataError(
                f"{source.name} cannot be read as {self.name} ({error}); name another "
                "encoding (--encoding)"
            ) from error
        finally:
            file.close()


def find_encoding(
    source: FeedFile, given: str | None = None, *, declared: str | None = None
) -> TextEncoding:
    """The encoding of all of a file: ``given``, a byte order mark, what the file declares, UTF-8
    where all of it is, else a guess.

    Raises ``BadDataError`` where ``given`` does not exist, or needs a mark that is not there.
    """
    if given is not None:
        return _given(source, given)
    with source.open_text() as file:
        head = read_all(file, 4096)
    for mark, name in _MARKS:
        if head.startswith(mark):
            return _checked(source, name)
    unmarked = _unmarked_utf16(head)
    if unmarked is not None:
        guess = f"has no byte order mark; guessed to be {unmarked.upper()}, and read as that; "
        return TextEncoding(unmarked, "replace", guess + _better(unmarked))
    if declared is not None and _fits_declared(source, declared):
        return TextEncoding(declared)
    return _checked(source, "utf-8")


def _fits_declared(source: FeedFile, declared: str) -> bool:
    """Whether a file is wholly in the encoding that it declares, other than UTF-8."""
    try:
        found = codecs.lookup(declared)
    except LookupError:
        return False
    if not _is_of_files(found) or found.name == "utf-8":
        return False
    return _first_misfit(source, found.name) is None


def _given(source: FeedFile, given: str) -> TextEncoding:
    try:
        found = codecs.lookup(given.strip())
    except (LookupError, ValueError):
        raise BadDataError(
            f"--encoding {given}: no such encoding (for example utf-8, utf-16, cp1252, gb18030)"
        ) from None
    if not _is_of_files(found):
        raise BadDataError(f"--encoding {given}: not an encoding of text")
    name = "utf-8-sig" if found.name == "utf-8" else found.name
    if name in _UNMARKED:
        name = _byte_order(source, name)
    line = _first_misfit(source, name)
    if line is None:
        return TextEncoding(name)
    return TextEncoding(
        name,
        "replace",
        f"is not all {given}, as --encoding says: what does not fit is read as \ufffd",
        line,
    )


def _is_of_files(found: codecs.CodecInfo) -> bool:
    """Whether files of text are written in an encoding."""
    return (
        found._is_text_encoding
        and found.incrementaldecoder is not None
        and found.name.replace("-", "_") not in _NO_FILES
    )


def _byte_order(source: FeedFile, name: str) -> str:
    """``name``, UTF-16 or UTF-32, of a file with its mark; of another the order that it shows.

    Feeds have ASCII, line ends at the least, which is none in the other order. Raises
    ``BadDataError`` where neither order fits.
    """
    with source.open_text() as file:
        head = read_all(file, 4096)
    if any(head.startswith(mark) for mark, marked in _MARKS if marked == name):
        return name
    little, big = _UNMARKED[name]
    ascii_ = {each: len(_NO_ASCII.sub("", head.decode(each, "ignore"))) for each in (little, big)}
    order = little if ascii_[little] >= ascii_[big] else big
    if not head or (ascii_[order] and _first_misfit(source, order) is None):
        return order
    raise BadDataError(
        f"--encoding {name}: {source.name} has no byte order mark, and is not {name} as it "
        f"stands; leave --encoding out, or name {little} or {big} if it is one of these"
    )


def _checked(source: FeedFile, name: str) -> TextEncoding:
    """``name`` if the whole file is that, else a guess."""
    line = _first_misfit(source, name)
    if line is None:
        return TextEncoding("utf-8-sig" if name == "utf-8" else name)
    if name in ("utf-8", "utf-8-sig"):
        guessed, chinese = _guess(source)
        if guessed is not None:
            why = f"is not UTF-8; guessed to be {_NAMES[guessed]}, and read as that; "
            # Few bytes of these mean nothing in cp1252; every file can be read.
            errors = "strict" if chinese and _first_misfit(source, guessed) is None else "replace"
            return TextEncoding(guessed, errors, why + _better(guessed), line)
    shown = name.removesuffix("-sig").upper()
    return TextEncoding(
        "utf-8-sig" if name == "utf-8" else name,
        "replace",
        f"is {shown} with bytes that are not: each of them is read as \ufffd; save it as UTF-8, or "
        "name another encoding (--encoding)",
        line,
    )


def _better(name: str) -> str:
    return f"if that is wrong, say which it is (--encoding {name} is what was taken)"


def _first_misfit(source: FeedFile, name: str) -> int | None:
    """The line of the first bytes that ``name`` cannot decode, or None."""
    decoder = codecs.getincrementaldecoder(name)("strict")
    line = 1
    with source.open_text() as file:
        while True:
            chunk = file.read(_CHUNK)
            try:
                text = decoder.decode(chunk, final=not chunk)
            except UnicodeError as error:
                # Bytes before the chunk that the decoder held back have no line end.
                start = getattr(error, "start", 0)
                return line + getattr(error, "object", b"")[:start].count(b"\n")
            if not chunk:
                return None
            line += text.count("\n")


def _unmarked_utf16(head: bytes) -> str | None:
    """UTF-16 without a mark: of mostly ASCII text, every second byte is zero."""
    if len(head) < 8 or b"\0" not in head:
        return None
    size = len(head) // 2
    even = head[0::2].count(0)
    odd = head[1::2].count(0)
    if odd > 0.4 * size and even < 0.05 * size:
        return "utf-16-le"
    if even > 0.4 * size and odd < 0.05 * size:
        return "utf-16-be"
    return None


def _guess(source: FeedFile) -> tuple[str | None, bool]:
    """cp1252 or gb18030, or None where the file is UTF-8 but for a few damaged bytes."""
    high = 0
    utf8 = 0
    chinese = 0
    with source.open_text() as file:
        while chunk := file.read(_CHUNK):
            found = len(_HIGH.findall(chunk))
            if not found:
                continue
            high += found
            utf8 += sum(map(len, _UTF8_SEQUENCE.findall(chunk)))
            chinese += 2 * len(_CHINESE.findall(chunk))
            # Enough to tell; the rest would not change it.
            if high > 200_000:
                break
    if utf8 > 0.8 * high:
        return None, False
    if chinese > 0.6 * high:
        return "gb18030", True
    return "cp1252", False


def looks_chinese(data: bytes) -> bool:
    """Whether bytes that are no UTF-8 are mostly pairs of GB 2312's commoner characters."""
    high = len(_HIGH.findall(data))
    return high > 0 and 2 * len(_CHINESE.findall(data)) > 0.6 * high
