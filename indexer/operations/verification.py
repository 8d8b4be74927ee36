"""Verification of a whole home: every file that it holds, and the counts between them."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from indexer.catalog.checksums import changed_rows, unsealed_count
from indexer.catalog.deletions import Deletions
from indexer.catalog.integrity import check_catalog, page_damages
from indexer.catalog.photo_keys import known_state
from indexer.catalog.photo_store import kept_thumbnail, thumbnail_damage
from indexer.catalog.presence import has_catalog
from indexer.catalog.records import PhotoRow, photo_file
from indexer.catalog.store import SCHEMA as CATALOG
from indexer.catalog.store import Catalog, open_catalog
from indexer.core.atomic_files import foreign_failure, sha256_file
from indexer.core.errors import (
    BadHomeError,
    CatalensError,
    NewerFormatError,
)
from indexer.core.home import Home, require_readable
from indexer.core.progress import OnStage, no_progress
from indexer.core.regular_files import read_json
from indexer.core.sqlite import PASSING, Connection, Database, Schema, opened
from indexer.core.sqlite_files import has_log, is_made
from indexer.core.sqlite_schema import foreign_part
from indexer.index.activation import PastActivation
from indexer.index.embedding_store import EmbeddingStore
from indexer.index.version import Versions
from indexer.model.registry import examine_models
from indexer.operations.garbage_collection import count_strays
from indexer.operations.state_files import check_state
from indexer.reviews.body_hashes import check_bodies
from indexer.reviews.schema import ROW_KINDS
from indexer.reviews.schema import SCHEMA as REVIEWS
from indexer.reviews.store import Reviews
from indexer.text.keyword_index import SCHEMA as KEYWORDS

_PORTION = 1000
# Each file of this kind is listed by itself up to here.
_LISTED = 20
# File -> patterns of its triggers and virtual tables; of other files there are none.
_PROGRAMS = {
    "catalog.sqlite3": CATALOG.programs,
    "reviews.sqlite3": REVIEWS.programs,
    "keywords.sqlite3": KEYWORDS.programs,
}
_TRUTH = ("reviews.sqlite3",)
# What several steps look at: as files, and for what they say.
_READ_TWICE = ("indexes/ACTIVATIONS",)


@dataclass(frozen=True)
class Damage:
    """One thing that is not as it was written. ``where`` is below the home."""

    where: str
    what: str
    # The command that mends it.
    mend: str
    # Whether ``repair`` makes it again, or may take it away: what is lost is in other files.
    derived: bool = False


@dataclass
class Verification:
    """What ``verify_home`` found."""

    home: Path
    damages: list[Damage] = field(default_factory=list)
    # Kind -> how many were looked at.
    checked: dict[str, int] = field(default_factory=dict)
    not_checked: list[str] = field(default_factory=list)
    # What ``repair`` did; empty of a check alone.
    repaired: list[str] = field(default_factory=list)

    @property
    def intact(self) -> bool:
        """Whether nothing is damaged."""
        return not self.damages


@dataclass(frozen=True)
class _Check:
    home: Home
    found: Verification
    progress: OnStage
    # Whether originals are read, and not only looked at.
    read_photos: bool

    @property
    def repair(self) -> str:
        return mend_command("verify --repair", self.home.path)

    @property
    def restore(self) -> str:
        return restore_words(self.home.path)

    def damaged(self, path: Path, what: object, mend: str, *, derived: bool = False) -> None:
        """Note damage. What only says that nothing could be read now is raised: a repair of what is
        whole would lose it."""
        if isinstance(what, PASSING):
            raise what
        where = path.relative_to(self.home.path) if path != self.home.path else Path()
        said = str(what).replace(f"{self.home.path}/", "")
        self.found.damages.append(Damage(str(where), said, mend, derived))


def restore_words(home: Path) -> str:
    """How a home comes back from a backup: made beside it, then put in its place."""
    beside = home.with_name(f"{home.name}-restored")
    return f"{mend_command('restore FROM', beside)} (a backup), then put it in the place of {home}"


def mend_command(words: str, home: Path) -> str:
    """A command line that can be copied."""
    return f"catalens {words} --home {shlex.quote(str(home))}"


def verify_home(
    path: Path, *, read_photos: bool = True, progress: OnStage = no_progress
) -> Verification:
    """Check everything that the home at ``path`` holds; changes nothing.

    Pages, relations and row checksums of the catalog; SQLite's own check of all other databases;
    hashes of originals; checksums of models and index versions; what serves, and that it is there;
    vectors and their photos. ``read_photos`` False: of originals only the size. Raises
    ``BadHomeError`` where there is no home at all, and ``DiskFullError``, ``ReadOnlyError``,
    ``BusyError`` where the home cannot be read now.
    """
    found = Verification(path)
    require_home_readable(path)
    try:
        home = Home(path, as_backup=True)
    except CatalensError as error:
        if not looks_like_home(path):
            raise
        mend = mend_command("verify --repair", path)
        found.damages.append(Damage("home.json", str(error), mend, derived=True))
        return found
    check = _Check(home, found, progress, read_photos)
    steps = (_catalog, _models, _versions, _active, _databases, _small_files)
    for number, step in enumerate(steps):
        progress("verify", number, len(steps))
        before = found.damages
        found.damages = []
        step(check)
        if found.damages and step is not _catalog:
            # Files come and go while the home serves: damage is there twice.
            first = set(found.damages)
            found.damages = []
            step(check)
            found.damages = [damage for damage in found.damages if damage in first]
        found.damages = [*before, *found.damages]
    found.damages = list(_once(found.damages))
    progress("verify", len(steps), len(steps))
    return found


def _once(damages: list[Damage]) -> Iterator[Damage]:
    """Each damage once, whatever number of steps met it: by its file, but for files in which many
    things can be damaged."""
    seen: set[tuple[str, ...]] = set()
    for damage in damages:
        is_whole = damage.where.startswith("models/") or damage.where in _READ_TWICE
        key = (damage.where,) if is_whole else (damage.where, damage.what)
        if key not in seen:
            yield damage
        seen.add(key)


def looks_like_home(path: Path) -> bool:
    """Whether a folder whose marker is lost or damaged holds a home."""
    return any((path / name).exists() for name in ("catalog.sqlite3", "photos", "indexes"))


def require_home_readable(path: Path) -> None:
    """Raise ``ReadOnlyError`` where this user may not read all of a home: what is whole would be
    taken for damaged, and repaired away."""
    if os.path.isdir(path) and not os.access(path, os.R_OK | os.X_OK):
        raise foreign_failure(path)
    if (path / "home.json").exists() or looks_like_home(path):
        require_readable(path)


def _catalog(check: _Check) -> None:
    home = check.home
    try:
        if not has_catalog(home):
            check.found.checked["products"] = 0
            return
        with Catalog.open(home.catalog_file, photos=home.photos) as catalog:
            state = check_catalog(catalog)
            for damage in state.damages:
                check.damaged(home.catalog_file, damage, check.restore)
            check.found.checked["products"] = state.products
            _note_unchecked(check, state.unchecked, "the catalog")
            if not state.damages:
                _photos(check, catalog)
                _vectors(check, catalog)
                _foreign_reviews(check, catalog)
            # That its salt is there: without it an erasure finds nothing.
            Deletions(catalog.database).salted()
        if not state.damages:
            # Also whether it is the catalog that the versions were built from.
            open_catalog(home).close()
    except CatalensError as error:
        mend = check.repair if "verify --repair" in str(error) else check.restore
        check.damaged(home.catalog_file, error, mend)


def photo_rows(catalog: Catalog) -> Iterator[PhotoRow]:
    """All photos of a catalog, in portions."""
    with catalog.database.read() as sql:
        ids = [row[0] for row in sql.execute("SELECT photo_id FROM photos ORDER BY photo_id")]
    for start in range(0, len(ids), _PORTION):
        yield from catalog.photos_by_id(ids[start : start + _PORTION]).values()


def photo_damage(home: Home, row: PhotoRow, *, read: bool) -> str | None:
    """What is wrong with an original, or with the thumbnail that stands for one that is not kept;
    None where nothing is."""
    if row.storage == "forget":
        return _forgotten_damage(home, row, read=read)
    path = Path(row.path or "") if row.storage == "reference" else None
    path = path or photo_file(home.photos, row.content_hash)
    try:
        size = path.stat().st_size
        if size != row.bytes:
            return f"{path} has {size:,} bytes, not {row.bytes:,}"
        if read and sha256_file(path) != row.content_hash:
            return f"{path} was changed: its content is not what its name says"
    except FileNotFoundError:
        return f"{path} is missing"
    except OSError as error:
        return f"{path} cannot be read: {error.strerror or error}"
    return None


def _forgotten_damage(home: Home, row: PhotoRow, *, read: bool) -> str | None:
    # In this order: its bytes go once the thumbnail is there.
    if photo_file(home.photos, row.content_hash).is_file():
        return None
    path = kept_thumbnail(home.thumbnails, row.content_hash)
    try:
        what = thumbnail_damage(path, read=read)
    except OSError as error:
        return f"{path} cannot be read: {error.strerror or error}"
    return None if what is None else f"{what}; no other picture of it is kept here"


def _photos(check: _Check, catalog: Catalog) -> None:
    home = check.home
    count = 0
    bad: list[tuple[PhotoRow, str]] = []
    total = catalog.photo_count()
    for row in photo_rows(catalog):
        if count % _PORTION == 0:
            check.progress("photos", count, total)
        count += 1
        if photo_damage(home, row, read=check.read_photos) is None:
            continue
        # Again as the catalog has it now: another process may have deleted it meanwhile.
        for now in catalog.photos_by_id([row.photo_id]).values():
            if (what := photo_damage(home, now, read=check.read_photos)) is not None:
                bad.append((now, what))
    for row, what in bad[:_LISTED]:
        ids = ", ".join(ascii(name) for name in _holders(catalog, row)[:3])
        aside = "" if what.endswith(" is missing") else f"{check.repair} sets it aside, then "
        mend = (
            f"{aside}{mend_command('import DATA', home.path)} (or a PUT of the product) brings it "
            f"again; or {check.restore}"
        )
        top = home.photos
        if row.storage == "forget":
            top, mend = home.thumbnails, f"copy it from a backup's thumbnails; or {check.restore}"
        check.damaged(top, f"photo of {ids}: {what}", mend)
    if len(bad) > _LISTED:
        check.damaged(home.photos, f"and {len(bad) - _LISTED:,} more photos", check.restore)
    check.found.checked["photos"] = count
    strays, _ = count_strays(home, catalog)
    if strays:
        check.found.not_checked.append(
            f"photos of no product below {home.photos}: {strays:,}, and no deletion of them was "
            "recorded (a killed import left them?); erasures of products do not look there; "
            "importing again takes them, or move them out of the home"
        )
    if not check.read_photos:
        check.found.not_checked.append(
            f"the content of originals ({mend_command('verify', home.path)} reads them)"
        )


def _foreign_reviews(check: _Check, catalog: Catalog) -> None:
    """Tell of reviews of another catalog: the products that they name are not known."""
    path = check.home.reviews_file
    if not path.exists():
        return
    try:
        with Reviews(path, catalog) as reviews, reviews.database.read() as sql:
            count = reviews.known_numbers().count_foreign(sql)
    except CatalensError:
        # Reported with the other databases.
        return
    if count:
        check.found.not_checked.append(
            f"{count:,} reviews and entries of feedback were written beside another catalog, or "
            "one that was put back since: they are shown without its products, and are not exported"
        )


def _holders(catalog: Catalog, row: PhotoRow) -> list[str]:
    pids = catalog.holders([row.photo_id]).get(row.photo_id, [])
    return list(catalog.ids_of(pids).values())


def _models(check: _Check) -> None:
    whole, damaged = examine_models(check.home)
    check.found.checked["models"] = len(whole) + len(damaged)
    for name, reason in damaged.items():
        check.damaged(
            check.home.models / name, reason, mend_command("model add FOLDER", check.home.path)
        )
    for bundle in whole:
        try:
            bundle.numpy_network()
        except CatalensError as error:
            mend = mend_command("model add FOLDER", check.home.path)
            check.damaged(bundle.path, error, mend)


def _versions(check: _Check) -> None:
    home, versions = check.home, Versions(check.home)
    names = versions.names()
    models = {path.name for path in home.models.glob("[!.]*")}
    for number, name in enumerate(names):
        check.progress("versions", number, len(names))
        try:
            manifest = versions.verify(name)
        except NewerFormatError as error:
            check.damaged(versions.folder / name, error, "upgrade Catalens")
        except CatalensError as error:
            check.damaged(versions.folder / name, error, check.repair, derived=True)
        else:
            if manifest.model_version not in models:
                check.damaged(
                    home.models / manifest.model_version,
                    f"the model of index version {name} is not there",
                    mend_command("model add FOLDER", home.path),
                )
    check.found.checked["index versions"] = len(names)


def _active(check: _Check) -> None:
    home, versions = check.home, Versions(check.home)
    mend = check.repair
    try:
        active = home.active()
    except BadHomeError as error:
        check.damaged(home.current_file, error, mend, derived=True)
        return
    record = versions.folder / "ACTIVATIONS"
    if active is None:
        if record.exists():
            check.damaged(home.current_file, "is missing, though versions were activated", mend)
        return
    if active.index_version not in versions.names():
        check.damaged(home.current_file, f"names {active.index_version}, which is not there", mend)
    elif not (home.models / active.model_version).is_dir():
        check.damaged(
            home.models / active.model_version,
            "the model that serves is not there",
            mend_command("model add FOLDER", home.path),
        )
    try:
        for entry in read_json(record):
            PastActivation.read(entry)
    except FileNotFoundError:
        check.damaged(record, "is missing", mend, derived=True)
    except (OSError, ValueError, KeyError, TypeError) as error:
        check.damaged(record, f"is not readable: {error}", mend, derived=True)


def _vectors(check: _Check, catalog: Catalog) -> None:
    home = check.home
    count = 0
    for path in sorted(home.embeddings.glob("*.sqlite3")):
        try:
            damages, dim = file_damages(path), EmbeddingStore.dim_of(path)
            if damages or dim is None:
                raise BadHomeError(damages[0] if damages else "it says no number of dimensions")
            store = EmbeddingStore(path.parent, path.stem, dim)
            with store.database:
                state = known_state(store.database)
                if state is not None and state.sequence > catalog.last_sequence():
                    check.damaged(
                        home.catalog_file,
                        f"ends with change {catalog.last_sequence():,}, but vectors were made of "
                        f"change {state.sequence:,}: writes are lost",
                        check.restore,
                    )
                count += len(store)
                if len(bad := store.damaged()):
                    check.damaged(path, f"{len(bad):,} vectors were changed", check.repair)
        except CatalensError as error:
            check.damaged(path, error, check.repair, derived=True)
    check.found.checked["vectors"] = count


def file_damages(path: Path) -> list[str]:
    """What SQLite's own check finds in a file, and what no Catalens put there. Raises as a read
    does."""
    with Database(path, Schema(format=0)) as database:
        return _file_damages(database)


def database_damages(path: Path) -> list[str]:
    """``file_damages``, and for reviews their checksums. Raises as a read does."""
    with Database(path, Schema(format=0)) as database:
        damages = _file_damages(database)
        if not damages and path.name == "reviews.sqlite3":
            with database.read() as sql:
                damages = changed_rows(sql, ROW_KINDS) + changed_bodies(sql)
    return damages


def foreign_damages(database: Database) -> list[str]:
    """What of a home's file no Catalens made and SQLite would run, in words. Raises as a read
    does."""
    with database.read() as sql:
        part = foreign_part(sql, _PROGRAMS.get(database.path.name, ()))
    if part is None:
        return []
    return [f"it holds {part}, which no Catalens makes: it was changed by somebody else"]


def _file_damages(database: Database) -> list[str]:
    # First: what a stranger put there is not run, not even by a check.
    return foreign_damages(database) or page_damages(database)


def changed_bodies(sql: Connection) -> list[str]:
    """Which entries of the log of reviews are not what was said, in words."""
    changed = check_bodies(sql).changed
    named = ", ".join(map(str, changed[:_LISTED])) + (", ..." if len(changed) > _LISTED else "")
    return [f"the body of entry {named} of the log was changed"] if changed else []


def _databases(check: _Check) -> None:
    home = check.home
    paths = [path for path in sorted(home.path.glob("*.sqlite3")) if path != home.catalog_file]
    made = is_made(home.reviews_file) or has_log(home.reviews_file)
    if home.has_mark("reviews") and not made:
        check.damaged(
            home.reviews_file, "is missing or empty, though people decided reviews", check.restore
        )
    for path in paths:
        truth = path.name in _TRUTH
        if truth and not is_made(path) and not has_log(path):
            # Lost, which is told above, or being made: whoever opens it next does that.
            continue
        mend = check.restore if truth else check.repair
        damages: Sequence[object]
        try:
            damages = database_damages(path)
        except CatalensError as error:
            damages = [error]
        for damage in damages:
            check.damaged(path, damage, mend, derived=not truth)
    check.found.checked["databases"] = len(paths)
    if made and not any(damage.where == home.reviews_file.name for damage in check.found.damages):
        with opened(home.reviews_file) as sql:
            if redacted := check_bodies(sql).redacted:
                check.found.checked["redacted entries of reviews"] = redacted
            _note_unchecked(check, unsealed_count(sql, ROW_KINDS), "the reviews")


def _note_unchecked(check: _Check, rows: int, where: str) -> None:
    if rows:
        check.found.not_checked.append(
            f"{rows:,} rows of {where} that an older Catalens wrote have no checksum "
            f"({mend_command('migrate', check.home.path)} gives them one)"
        )


def _small_files(check: _Check) -> None:
    state = check_state(check.home)
    for damage in state.damages:
        mend = damage.mend or (check.repair if damage.derived else check.restore)
        check.damaged(damage.path, damage.what, mend, derived=damage.derived)
    check.found.checked["small files"] = state.count
