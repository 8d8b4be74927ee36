"""Alternative text of a product photo, in English, German and Chinese."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

# Colours and patterns as they stand before (Chinese) or behind (German) what is described.
_GERMAN = {
    "red": "rot",
    "green": "grün",
    "blue": "blau",
    "navy": "dunkelblau",
    "navy blue": "dunkelblau",
    "light blue": "hellblau",
    "black": "schwarz",
    "white": "weiß",
    "grey": "grau",
    "gray": "grau",
    "brown": "braun",
    "beige": "beige",
    "tan": "hellbraun",
    "yellow": "gelb",
    "orange": "orange",
    "pink": "rosa",
    "purple": "lila",
    "gold": "golden",
    "silver": "silbern",
    "striped": "gestreift",
    "checks": "kariert",
    "dots": "gepunktet",
    "zigzag": "mit Zickzackmuster",
    "stripes": "gestreift",
    "checked": "kariert",
    "dotted": "gepunktet",
    "floral": "geblümt",
    "solid": "einfarbig",
    "plain": "einfarbig",
}
# Patterns that are not worth a word.
_UNSAID = frozenset({"solid", "plain"})
# Longer ones are cut by screen readers' users and by Shopify (512).
_LONGEST = 125


def alt_texts(
    *, title: str | None, kind: str | None, color: str | None, details: Iterable[str] = ()
) -> dict[str, str]:
    """Describe a photo from the product's title, its kind, colour and further words (patterns).

    Returns texts by language; a language without a translation of all words is left out, but for
    English, which takes them as they are. Empty where neither title nor kind is known.
    """
    words = [word for word in details if word.casefold() not in _UNSAID]
    found = {}
    subject = _subject(title, kind)
    if subject is None:
        return {}
    front = [color] if color and color.casefold() not in subject.casefold() else []
    behind = [word for word in words if word.casefold() not in subject.casefold()]
    found["en"] = _joined([" ".join([*front, subject]).strip(), *behind], ", ")
    if kind:
        german = [_GERMAN.get(word.casefold()) for word in [*([color] if color else []), *words]]
        if all(german):
            found["de"] = _joined([title or kind, *_new(german, title or "")], ", ")
        chinese = _chinese([*([color] if color else []), *words, kind])
        if chinese is not None:
            found["zh"] = chinese[:_LONGEST]
    return found


def _subject(title: str | None, kind: str | None) -> str | None:
    return (title or kind or "").strip() or None


def _new(words: Iterable[str | None], text: str) -> list[str]:
    return [word for word in words if word and word.casefold() not in text.casefold()]


def _joined(parts: Iterable[str], joint: str) -> str:
    text = joint.join(part for part in parts if part)
    text = text[:1].upper() + text[1:]
    if len(text) <= _LONGEST:
        return text
    return text[:_LONGEST].rsplit(" ", 1)[0].rstrip(",")


def _chinese(words: Iterable[str]) -> str | None:
    """The words by the shipped glossary, shortest term first; None where one is unknown."""
    terms = _terms()
    found = []
    for word in map(str.casefold, words):
        forms = (word, f"{word}s", word.rstrip("s"))
        found.append(next((terms[form] for form in forms if form in terms), None))
    return "".join(map(str, found)) if all(found) else None


def _terms() -> Mapping[str, str]:
    from indexer.text.glossary import shipped

    found: dict[str, str] = {}
    for term, meaning in shipped().items():
        known = found.get(meaning.casefold())
        if known is None or len(term) < len(known):
            found[meaning.casefold()] = term
    return found
