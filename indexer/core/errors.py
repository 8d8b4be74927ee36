"""The exception family: every failure a user can cause or meet, with a stable code."""

from __future__ import annotations


class CatalensError(Exception):
    """Base of all expected failures. ``str(error)`` is one line that names what is wrong and where.

    ``code`` is stable and machine-readable; the service puts it into problem documents, the command line exits 1.
    """

    code = "error"


class BadImage(CatalensError):
    """The bytes are empty, truncated, damaged or no image at all."""

    code = "bad-image"


class UnsupportedFormat(BadImage):
    """A real image, but of a format that is not on the allow-list (or whose optional decoder is not installed)."""

    code = "unsupported-format"


class ImageTooLarge(BadImage):
    """Over the byte or the pixel limit; raised before the pixels are decoded."""

    code = "image-too-large"


class BadData(CatalensError):
    """DATA (folder or manifest) cannot be used at all: missing, no photos, no ``image`` column, unknown column type."""

    code = "bad-data"


class BadProduct(CatalensError):
    """A product that cannot be stored: bad id, wrong attribute type, no photo."""

    code = "bad-product"


class UnknownProduct(CatalensError):
    """No product has this id."""

    code = "unknown-product"


class UnknownPhoto(CatalensError):
    """No stored photo has this content hash, or its file is gone or was changed."""

    code = "unknown-photo"


class StaleVersion(CatalensError):
    """``external_version`` is older than the stored one."""

    code = "stale-version"


class RefusedSync(CatalensError):
    """``import --sync`` would delete more than the allowed share of the catalog."""

    code = "refused-sync"


class BadHome(CatalensError):
    """The home folder does not exist or is not a home."""

    code = "bad-home"


class MissingCatalog(BadHome):
    """The home holds photos, embeddings or index versions, but the catalog that they belong to is not there."""

    code = "missing-catalog"


class CatalogBehind(BadHome):
    """The catalog is not the one that the home's photos and versions are of: an older state of it, or another one."""

    code = "catalog-behind"


class NewerFormat(CatalensError):
    """A stored thing (home, model, index version) was written by a newer Catalens."""

    code = "newer-format"


class Busy(CatalensError):
    """Another process holds the lock this work needs."""

    code = "busy"


class BadModel(CatalensError):
    """A model folder that is incomplete, damaged or edited by hand; the file is named."""

    code = "bad-model"


class UnknownModel(CatalensError):
    """No such model, or several and none chosen."""

    code = "unknown-model"


class WeightsUnavailable(CatalensError):
    """Pretrained weights cannot be had here; the message says exactly what to do."""

    code = "weights-unavailable"


class NoCategories(CatalensError):
    """The active model has no categories (nothing was trained)."""

    code = "no-categories"


class BadVectors(CatalensError):
    """Vectors of the wrong shape, not finite or not of unit length."""

    code = "bad-vectors"


class DamagedIndex(CatalensError):
    """An index version whose files do not match their checksums; the file is named."""

    code = "damaged-index"


class CatalogMismatch(CatalensError):
    """An index version of another catalog, or of a copy that went its own way: its numbers mean other products here."""

    code = "catalog-mismatch"


class OutdatedVersion(CatalensError):
    """An index version older than the change log reaches back: newer writes cannot be laid over it any more."""

    code = "outdated-version"


class NotErased(CatalensError):
    """Something of an erased product is still in the home; where is named."""

    code = "not-erased"


class ReadOnly(CatalensError):
    """The home's disk or folder is read-only: questions are answered, nothing can be written."""

    code = "read-only"


class IndexMismatch(CatalensError):
    """Model and index do not belong together; both embedding ids are named."""

    code = "index-mismatch"


class UnknownVersion(CatalensError):
    """No such index version."""

    code = "unknown-version"


class NoIndex(CatalensError):
    """The home has no active index version yet."""

    code = "no-index"


class BadRequest(CatalensError):
    """An argument out of range or not understood; the message names it."""

    code = "bad-request"


class BadFilter(BadRequest):
    """A filter on an unknown field, with a value of the wrong type or not understood; the place in it is named."""

    code = "bad-filter"


class CursorGone(CatalensError):
    """The next page was asked for, but the index version that gave the page before is gone: begin again."""

    code = "cursor-gone"


class TrainingFailed(CatalensError):
    """Training cannot start or go on (no labels, one class, loss not finite)."""

    code = "training-failed"


class BadSettings(CatalensError):
    """An unknown setting or a bad value; the message names it."""

    code = "bad-settings"


class StorageFailed(CatalensError):
    """The disk is full, read-only or failing; nothing was acknowledged that is not stored."""

    code = "storage-failed"


class DiskFull(StorageFailed):
    """The disk is full: nothing of this write was stored. Reading goes on; write again when there is room."""

    code = "disk-full"


class UnknownClass(CatalensError):
    """No class made from photos has this id or label."""

    code = "unknown-class"


class UnknownReview(CatalensError):
    """No review has this name, or what was asked of it is gone."""

    code = "unknown-review"


class AlreadyDecided(CatalensError):
    """A person decided this review before; a decision is made once."""

    code = "already-decided"


class UnknownRequest(CatalensError):
    """No answer with this ``request_id`` is remembered: feedback names an answer of this service since its start."""

    code = "unknown-request"


class BadPolicy(CatalensError):
    """A policy file that cannot be used; file, line, policy and key are named."""

    code = "bad-policy"


class NoOrders(CatalensError):
    """What goes together is not known: no orders were imported, or too few hold the categories that are asked about."""

    code = "no-orders"


class UnknownJob(CatalensError):
    """No job has this id; jobs that ended long ago are forgotten."""

    code = "unknown-job"


class JobEnded(CatalensError):
    """The job ended already, so it cannot be cancelled."""

    code = "job-ended"
