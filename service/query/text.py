"""Query text: translated, split into colours and the rest, looked up and encoded."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from importlib import import_module
from typing import Any, Literal

import numpy as np

from indexer.catalog.store import Catalog
from indexer.core.errors import BadRequestError, BadSettingsError
from indexer.core.home import Home
from indexer.index.hybrid_ranking import KEYWORDS, KeywordShare, has_block, replace_colour
from indexer.model.spec import Block
from indexer.text.keyword_index import Keywords
from indexer.text.open_words import joint_query
from indexer.text.text_tower import TextEncoder
from indexer.text.tokenizer import MOST_CHARACTERS, MOST_WORDS, spelled, tokens, words
from service.query.context import RequestContext
from service.query.glossary_file import GlossaryFile
from service.query.pair_texts import OpenText, PairEncoders, words_read
from service.query.response import TextSignal
from service.state.snapshot import Snapshot

# The input of a text that is asked in block t, and the weights by which it is.
OPEN: Literal["text_t"] = "text_t"
OPEN_WEIGHTS: Mapping[str, Mapping[str, float]] = {OPEN: {"t": 1.0}}
_LONGEST_COLOUR = 3  # words
# Changes of the catalog that a question takes into the keywords itself.
_CHANGES = 500
QueryVectors = dict[str, np.ndarray]  # name -> embeddings float32 [n, D]


@dataclass(frozen=True)
class TextQuery:
    """A text as a search takes it."""

    unknown: list[str]  # words that neither keywords nor tower nor glossary know
    whole: np.ndarray | None  # float32 [D], unit: all of its words
    rest: np.ndarray | None  # those that name no colour
    colour: np.ndarray | None  # those that do
    keywords: KeywordShare | None  # with the share of a text that is asked alone
    encoder: TextEncoder | None = None
    colour_words: tuple[str, ...] = ()
    # Whether the keywords of all that was written were looked at.
    complete: bool = True
    # What an image and text pair says of the words, those beside the colour where it is replaced.
    open: OpenText | None = None

    def in_colour(self, kind: str) -> np.ndarray | None:
        """A kind of product in the colour that the text names, float32 [D]."""
        if self.encoder is None:
            return None
        return self.encoder.encode(" ".join([*self.colour_words, kind]))


@dataclass(frozen=True)
class MixedQuery:
    """The inputs of a query with a text, and what is left of the text for its keywords."""

    inputs: QueryVectors
    shares: dict[str, float]  # of ``inputs``
    keywords: KeywordShare | None
    recoloured: bool  # whether the text's colour replaced that of the other inputs

    @property
    def asked(self) -> list[TextSignal]:
        """What the text was asked of, as ``signals`` name it."""
        parts: dict[TextSignal, bool] = {
            "keywords": self.keywords is not None,
            "text": "text" in self.inputs or self.recoloured,
            OPEN: OPEN in self.inputs,
        }
        return [name for name, asked in parts.items() if asked]


class TextQueryParser:
    """Parses query texts; safe to call from many threads.

    ``encoder``: "package.module:function", which is called with a bundle and gives its
    ``TextEncoder``, or None for a model that it does not fit; without, the version's own tower is
    taken. ``followed``: ``follow_some`` is called beside the questions, so that none of them takes
    in more than a few changes.
    """

    def __init__(
        self,
        home: Home,
        catalog: Catalog,
        pairs: PairEncoders,
        *,
        encoder: str = "",
        followed: bool = False,
    ) -> None:
        self._pairs = pairs
        self._keywords = Keywords(home, catalog)
        self._most_changes = _CHANGES if followed else None
        self._make = _imported(encoder) if encoder else None
        self._made: tuple[str, TextEncoder | None] | None = None
        self._glossary = GlossaryFile(home)
        self._lock = threading.Lock()

    def close(self) -> None:
        """Close the keywords' file."""
        self._keywords.close()

    def follow_some(self) -> bool:
        """Bring the keywords nearer to the catalog, a moment's work; whether nothing is left."""
        return self._keywords.follow_some()

    def parse(
        self, ctx: RequestContext, text: str, *, beside: bool = False, open_words: bool = True
    ) -> TextQuery:
        """Read ``text`` for a request.

        ``beside``: there are other inputs; ``open_words``: the text tower of the model's pair is
        asked too, where it has one. Raises ``BadRequestError`` for a text without a letter or
        digit, ``DeadlineExceededError``.
        """
        if len(text) > MOST_CHARACTERS:
            raise BadRequestError(
                f"text has {len(text):,} characters, at most {MOST_CHARACTERS:,} are read"
            )
        translated = self._glossary.current().translate(text)
        found, shown = words(translated)[:MOST_WORDS], spelled(translated)[:MOST_WORDS]
        if not found:
            raise BadRequestError(
                "text holds nothing that can be looked for: no letter and no digit"
            )
        sought = [token for word in [*found, *words(text)] for token in tokens(word)]
        asked = list(dict.fromkeys(sought))[:MOST_WORDS]
        hits = self._keywords.search(asked, most_changes=self._most_changes)
        if not hits.complete:
            ctx.note_gap("keywords")
        encoder, absent = self._encoder(ctx.snapshot), set(hits.unknown)
        pair = self._pairs.asked(ctx) if open_words else None
        read = words_read(pair, shown)
        unknown = [
            surface
            for word, surface, known in zip(found, shown, read, strict=True)
            if absent.issuperset(tokens(word))
            and not (known or (encoder is not None and encoder.knows(word)))
        ]
        keywords = KeywordShare(hits, 1.0) if len(hits) else None
        parsed = TextQuery(list(dict.fromkeys(unknown)), None, None, None, keywords)
        colours: list[int] = []
        if encoder is not None:
            colours = _colours(found, encoder)
            rest = [word for place, word in enumerate(found) if place not in colours]
            named = [found[place] for place in colours]
            parsed = replace(
                parsed,
                whole=_encoded(encoder, " ".join(found)),
                rest=_encoded(encoder, " ".join(rest)),
                colour=_encoded(encoder, " ".join(named)),
                encoder=encoder,
                colour_words=tuple(named),
            )
        if beside and has_block(ctx.snapshot.bundle.spec.blocks, "c"):
            read = [known and place not in colours for place, known in enumerate(read)]
        said = [word for word, known in zip(shown, read, strict=True) if known]
        if pair is None or not said:
            return parsed
        # As it was written, where all of it is asked.
        whole = len(said) == len(words(translated))
        wanted = self._pairs.encode(ctx, pair, translated if whole else " ".join(said))
        return replace(parsed, open=wanted)

    def _encoder(self, snapshot: Snapshot) -> TextEncoder | None:
        if self._make is not None:
            with self._lock:
                if self._made is None or self._made[0] != snapshot.bundle.embedding_id:
                    self._made = (snapshot.bundle.embedding_id, self._make(snapshot.bundle))
                if self._made[1] is not None:
                    return self._made[1]
        return snapshot.live.base.tower


def replaces_colour(
    parsed: TextQuery, inputs: Mapping[str, np.ndarray], blocks: Sequence[Block]
) -> bool:
    """Whether the text's colour takes the place of that of the other inputs ("like this, but
    blue")."""
    return bool(inputs) and parsed.colour is not None and has_block(blocks, "c")


def mix_text(
    parsed: TextQuery,
    inputs: QueryVectors,
    shares: dict[str, float],
    blocks: Sequence[Block],
    kinds: Mapping[str, str | None],
) -> MixedQuery:
    """Join a text to the other inputs of its query.

    ``shares`` sum to 1 over ``inputs`` and "text"; ``kinds``: by input the kind of product that it
    shows, where known. Words that name a colour replace that of every other input, the other words
    are one more input. What a text cannot use of its share goes to the others. What a pair says of
    it is an input of its own, ``OPEN``, whose colour stays.
    """
    replaces = replaces_colour(parsed, inputs, blocks)
    vector = parsed.rest if replaces else parsed.whole
    out = dict(inputs)
    if vector is not None:
        out["text"] = vector[np.newaxis]
    if replaces:
        assert parsed.colour is not None
        for name, given in inputs.items():
            label = kinds.get(name)
            kind = parsed.in_colour(label) if label else None
            out[name] = replace_colour(given, parsed.colour, blocks, kind=kind)
        if vector is not None:
            # The words beside the colour keep what they say of all but the colour.
            out["text"] = replace_colour(out["text"], parsed.colour, blocks, only_colour=True)
    keywords = parsed.keywords
    left = {name: shares[name] for name in out}
    if parsed.open is not None:
        out[OPEN] = joint_query(blocks, parsed.open.vector[np.newaxis])
        told = _split(parsed.open.share, text=vector is not None, keywords=keywords is not None)
        if not told["text"]:
            out.pop("text", None)
            left.pop("text", None)
        left |= {name: shares["text"] * told[name] for name in ("text", OPEN) if name in out}
        of_keywords = shares["text"] * told["keywords"]
    else:
        of_keywords = shares["text"] * (KEYWORDS if out else 1.0)
        if "text" in left and keywords is not None:
            left["text"] -= of_keywords
    if keywords is not None:
        keywords = replace(keywords, share=of_keywords) if of_keywords > 0 else None
    if not sum(left.values()) > 0:  # "like this" counts nothing, and the text is all keywords
        out = {}
    return MixedQuery(out, left, keywords, replaces)


def _split(share: float, *, text: bool, keywords: bool) -> dict[str, float]:
    """How a text's share is divided where a pair has ``share`` beside the catalog's own words.

    These are halved as they are without a pair; of two that say something the third's goes to both.
    """
    parts = {
        "keywords": (1 - share) * KEYWORDS if keywords else 0.0,
        "text": (1 - share) * (1 - KEYWORDS) if text else 0.0,
        OPEN: share * (1 - KEYWORDS),
    }
    total = sum(parts.values())
    return {name: part / total for name, part in parts.items()}


def _colours(found: list[str], encoder: TextEncoder) -> list[int]:
    """The places of the words that name values of the colour attribute, the longest names first."""
    colours: list[int] = []
    place = 0
    while place < len(found):
        for length in range(min(_LONGEST_COLOUR, len(found) - place), 0, -1):
            if encoder.colour(" ".join(found[place : place + length])) is not None:
                colours += range(place, place + length)
                place += length
                break
        else:
            place += 1
    return colours


def _encoded(encoder: TextEncoder, text: str) -> np.ndarray | None:
    return encoder.encode(text) if text else None


def _imported(name: str) -> Any:
    module, _, function = name.partition(":")
    try:
        return getattr(import_module(module), function)
    except (ImportError, AttributeError, ValueError) as error:
        raise BadSettingsError(f"text_encoder {name!r} cannot be loaded: {error}") from error
