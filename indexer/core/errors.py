"""The exception family: every failure a user can cause or meet, with a stable code.

The four kinds carry no code; the service answers each with one status (422, 404, 409, 503).

* CatalensError
  * BadBackupError
  * BadHomeError
    * CatalogBehindError
    * MissingCatalogError
  * BadModelError
    * NotAlikeError
  * BadPolicyError
  * BadSettingsError
  * BadVectorsError
  * ConflictError
    * AlreadyDecidedError
    * CatalogMismatchError
    * ChangedError
    * DamagedIndexError
    * FeedHeldError
    * IndexMismatchError
    * JobEndedError
    * KeyExistsError
    * NewerFormatError
    * NoCategoriesError
    * NoOrdersError
    * NoTextTowerError
    * NotUndoableError
    * OutdatedVersionError
    * StaleVersionError
  * DamagedHomeError
  * InvalidInputError
    * BadDataError
      * NoProfileError
    * BadImageError
      * ImageTooLargeError
      * UnsupportedFormatError
    * BadProductError
    * BadRequestError
      * BadFilterError
    * UrlRefusedError
  * NotErasedError
  * NotFoundError
    * CursorGoneError
    * UnknownActionError
    * UnknownClassError
    * UnknownJobError
    * UnknownKeyError
    * UnknownModelError
    * UnknownPhotoError
    * UnknownProductError
    * UnknownRequestError
    * UnknownReviewError
    * UnknownVersionError
  * NothingImportedError
  * OutOfMemoryError
  * SyncRefusedError
  * TrainingError
  * UnavailableError
    * BusyError
    * MissingReviewsError
    * NoIndexError
    * NoMemoryError
    * ReadOnlyError
    * StorageError
      * DamagedFileError
      * DiskFullError
      * ReplacedFileError
  * UrlFailedError
  * WeightsUnavailableError
"""

from __future__ import annotations


class CatalensError(Exception):
    """Base of all expected failures. ``str(error)`` is one line that names what is wrong and where.

    ``code`` is stable and machine-readable; the service puts it into problem documents, the command
    line exits 1.
    """

    code = "error"


class InvalidInputError(CatalensError):
    """What was given cannot be used as it is; the message names it."""


class NotFoundError(CatalensError):
    """What was named does not exist, or no longer."""


class ConflictError(CatalensError):
    """What was asked does not fit the present state."""


class UnavailableError(CatalensError):
    """It cannot be done now; the same may succeed later."""


class BadImageError(InvalidInputError):
    """The bytes are empty, truncated, damaged or no image at all."""

    code = "bad-image"


class UnsupportedFormatError(BadImageError):
    """A real image, but of a format that is not on the allow-list (or whose optional decoder is not
    installed)."""

    code = "unsupported-format"


class ImageTooLargeError(BadImageError):
    """Over the byte or the pixel limit; raised before the pixels are decoded."""

    code = "image-too-large"


class BadDataError(InvalidInputError):
    """DATA (folder or manifest) cannot be used at all: missing, no photos, no ``image`` column,
    unknown column type."""

    code = "bad-data"


class NoProfileError(BadDataError):
    """No profile fits the columns of a feed."""

    code = "no-profile"


class BadProductError(InvalidInputError):
    """A product that cannot be stored: bad id, wrong attribute type, no photo."""

    code = "bad-product"


class UnknownProductError(NotFoundError):
    """No product has this id."""

    code = "unknown-product"


class UnknownPhotoError(NotFoundError):
    """No stored photo has this content hash, or its file is gone or was changed."""

    code = "unknown-photo"


class StaleVersionError(ConflictError):
    """``external_version`` is older than the stored one, or than the product's delete."""

    code = "stale-version"


class ChangedError(ConflictError):
    """The product was changed, made or erased since it was read: read it again."""

    code = "changed"


class UnknownActionError(NotFoundError):
    """No action of this name changed the catalog, or it is no longer remembered."""

    code = "unknown-action"


class NotUndoableError(ConflictError):
    """It was undone already, or what it replaced is no longer kept."""

    code = "not-undoable"


class SyncRefusedError(CatalensError):
    """An import with ``sync`` would delete more than the allowed share of the catalog."""

    code = "refused-sync"


class FeedHeldError(ConflictError):
    """A feed lost so much since its last run that it is not imported unless that is accepted."""

    code = "feed-held"


class NothingImportedError(CatalensError):
    """Of a feed nothing was added, replaced or unchanged; the message says why and what to do."""

    code = "nothing-imported"


class BadHomeError(CatalensError):
    """The home folder does not exist or is not a home."""

    code = "bad-home"


class BadBackupError(CatalensError):
    """A backup that is not there, damaged, or does not hold what it names."""

    code = "bad-backup"


class MissingCatalogError(BadHomeError):
    """The home holds photos, embeddings or index versions, but the catalog that they belong to is
    not there."""

    code = "missing-catalog"


class CatalogBehindError(BadHomeError):
    """The catalog is not the one that the home's photos and versions are of: an older state of it,
    or another one."""

    code = "catalog-behind"


class DamagedHomeError(CatalensError):
    """Something that a home holds is not as it was written; what mends it is named."""

    code = "damaged-home"


class NewerFormatError(ConflictError):
    """A stored thing (home, model, index version) was written by a newer Catalens."""

    code = "newer-format"


class BusyError(UnavailableError):
    """Another process holds the lock this work needs."""

    code = "busy"


class BadModelError(CatalensError):
    """A model folder that is incomplete, damaged or edited by hand; the file is named."""

    code = "bad-model"


class NotAlikeError(BadModelError):
    """An exported network whose vectors are too far from the model's own; the message has the
    figures."""

    code = "not-alike"


class OutOfMemoryError(CatalensError):
    """The device cannot hold even one photo's pass through the network."""

    code = "out-of-memory"


class UnknownModelError(NotFoundError):
    """No such model, or several and none chosen."""

    code = "unknown-model"


class WeightsUnavailableError(CatalensError):
    """Pretrained weights cannot be had here; the message says exactly what to do."""

    code = "weights-unavailable"


class NoCategoriesError(ConflictError):
    """The active model has no categories (nothing was trained)."""

    code = "no-categories"


class NoTextTowerError(ConflictError):
    """The active model reads no words: it has no text tower, or one that cannot be used here."""

    code = "no-text-tower"


class BadVectorsError(CatalensError):
    """Vectors of the wrong shape, not finite or not of unit length."""

    code = "bad-vectors"


class DamagedIndexError(ConflictError):
    """An index version whose files do not match their checksums; the file is named."""

    code = "damaged-index"


class CatalogMismatchError(ConflictError):
    """An index version of another catalog, or of a copy that went its own way: its numbers mean
    other products here."""

    code = "catalog-mismatch"


class OutdatedVersionError(ConflictError):
    """An index version older than the change log reaches back: newer writes cannot be laid over it
    any more."""

    code = "outdated-version"


class NotErasedError(CatalensError):
    """Something of an erased product is still in the home; where is named."""

    code = "not-erased"


class ReadOnlyError(UnavailableError):
    """The home's disk or folder is read-only: questions are answered, nothing can be written. A
    service that started on one goes on so until you start the service again."""

    code = "read-only"


class IndexMismatchError(ConflictError):
    """Model and index do not belong together; both embedding ids are named."""

    code = "index-mismatch"


class UnknownVersionError(NotFoundError):
    """No such index version."""

    code = "unknown-version"


class MissingReviewsError(UnavailableError):
    """The home had reviews, and their file is not there: people's decisions would be lost."""

    code = "missing-reviews"


class NoIndexError(UnavailableError):
    """The home has no active index version yet."""

    code = "no-index"


class BadRequestError(InvalidInputError):
    """An argument out of range or not understood; the message names it."""

    code = "bad-request"


class BadFilterError(BadRequestError):
    """A filter on an unknown field, with a value of the wrong type or not understood; the place in
    it is named."""

    code = "bad-filter"


class CursorGoneError(NotFoundError):
    """The next page was asked for, but the index version that gave the page before is gone: begin
    again."""

    code = "cursor-gone"


class TrainingError(CatalensError):
    """Training cannot start or go on (no labels, one class, loss not finite)."""

    code = "training-failed"


class BadSettingsError(CatalensError):
    """An unknown setting or a bad value; the message names it."""

    code = "bad-settings"


class StorageError(UnavailableError):
    """The disk is full, read-only or failing; nothing was acknowledged that is not stored."""

    code = "storage-failed"


class NoMemoryError(UnavailableError):
    """Other work takes the memory that this needs. Try again shortly."""

    code = "no-memory"


class DamagedFileError(StorageError):
    """A file that is made from others is damaged; the message names what makes it again."""

    code = "damaged-file"


class DiskFullError(StorageError):
    """The disk is full: nothing of this write was stored. Reading goes on; write again when there
    is room."""

    code = "disk-full"


class ReplacedFileError(StorageError):
    """The home was moved, or it or its catalog was replaced, overwritten or damaged, while it was
    in use: nothing is read or written until the right one is in its place and the service started
    again."""

    code = "replaced-file"


class UnknownClassError(NotFoundError):
    """No class made from photos has this id or label."""

    code = "unknown-class"


class UnknownReviewError(NotFoundError):
    """No review has this name, or what was asked of it is gone."""

    code = "unknown-review"


class AlreadyDecidedError(ConflictError):
    """A person decided this review before; a decision is made once."""

    code = "already-decided"


class UnknownRequestError(NotFoundError):
    """No answer with this ``request_id`` is remembered: feedback names an answer of this service
    since its start."""

    code = "unknown-request"


class BadPolicyError(CatalensError):
    """A policy file that cannot be used; file, line, policy and key are named."""

    code = "bad-policy"


class NoOrdersError(ConflictError):
    """What goes together is not known: no orders were imported, or too few hold the categories that
    are asked about."""

    code = "no-orders"


class UnknownJobError(NotFoundError):
    """No job has this id; jobs that ended long ago are forgotten."""

    code = "unknown-job"


class JobEndedError(ConflictError):
    """The job ended already, so it cannot be cancelled."""

    code = "job-ended"


class UnknownKeyError(NotFoundError):
    """No key of this home has this name, or it was revoked."""

    code = "unknown-key"


class KeyExistsError(ConflictError):
    """A key of this name is there already: rotate it, revoke it, or choose another name."""

    code = "key-exists"


class UrlRefusedError(InvalidInputError):
    """A photo's URL that is not asked: no http(s), a user name, an address that is not public, a
    host that is not allowed. Names no user and no password."""

    code = "url-refused"


class UrlFailedError(CatalensError):
    """A photo's URL was asked and gave no photo: an HTTP error, a web page, too late, too large.

    ``transient``: asked again, it may give one. ``retry_after_s``: not before so many seconds.
    ``status``: the server's, where it answered.
    """

    code = "url-failed"

    def __init__(
        self,
        message: str,
        *,
        transient: bool = False,
        status: int | None = None,
        retry_after_s: float | None = None,
    ) -> None:
        super().__init__(message)
        self.transient = transient
        self.status = status
        self.retry_after_s = retry_after_s
