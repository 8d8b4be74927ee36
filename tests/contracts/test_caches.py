"""Whatever remembers is listed with what bounds it: a new cache without a bound fails here."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from tests.contracts.source_trees import nodes, package_trees

# What grows in a process that serves: attributes that begin empty, and by what each ends.
SERVICE = {
    "alerts/monitor.py AlertMonitor._not_before": "channels of the settings",
    "background/jobs.py JobRunner._waiting": "_MOST_WAITING",
    "background/jobs.py JobRunner._running": "_MOST_WAITING, one of a kind",
    "background/jobs.py JobRunner._owned": "_MOST_WAITING",
    "background/jobs.py JobRunner._not_before": "_MOST_WAITING",
    "background/jobs.py JobRunner._cancelled": "those that run",
    "background/jobs.py JobRunner._ends": "until the disk has room; none can be added meanwhile",
    "background/jobs.py JobRunner._untold": "those of _ends",
    "background/jobs.py JobRunner._unmarked": "those that run or wait",
    "background/leadership.py Leadership._reported": "kinds of failures",
    "background/sync_schedule.py SyncSchedule._reported": "damaged files of feeds",
    "background/sync_schedule.py SyncSchedule._not_before": "feeds of the home",
    "inference/admission.py WaitingLine._waiting": "max_waiting",
    "inference/queue.py InferenceQueue._batches": "sizes up to max_batch",
    "products/writer.py Writer._unused": "cleared by the next write that can",
    "products/writer.py Writer._refused": "cleared by the next write that can",
    "products/writer.py Writer._reviewed": "cleared by the next write that can",
    "query/context.py TagDepths.by_widen": "one request",
    "query/interest_ranking.py ValueShares._fields": "one snapshot's fields",
    "query/interest_ranking.py ValueShares._shares": "one snapshot's fields",
    "query/pair_texts.py PairEncoders._made": "_MOST",
    "query/photo_embedder.py PhotoEmbedder._recent": "_REMEMBERED",
    "query/photo_urls.py PhotoUrls._open": "connections that are open",
    "query/photo_urls.py PhotoUrls._strangers": "connections that are open",
    "query/search_cache.py SearchCache._known": "one request",
    "query/stock.py StockFilter._reported": "rules of the settings",
    "review/feedback.py FeedbackLog._answers": "max_answers, max_names",
    "review/feedback.py FeedbackLog._entries": "max_answers",
    "review/feedback.py FeedbackLog._strangers": "max_answers, max_names",
    "review/feedback.py _ClickLimit._own": "_REMEMBERED",
    "review/policy_check.py PolicyCheck._checkers": "models that were activated",
    "review/policy_check.py PolicyCheck._due": "models that were activated",
    "server/dispatcher.py FairDispatcher._pending": "connections that are open",
    "server/dispatcher.py FairDispatcher._sides": "two sides",
    "server/dispatcher.py FairDispatcher._working": "threads",
    "server/limits.py BodyBudget._by_owner": "bodies that are held",
    "server/parser.py RequestParser.marks": "one request",
    "server/web_server.py WebServer._map": "connections that are open",
    "server/web_server.py WebServer._channels": "connections that are open",
    "state/derived.py DerivedValues._slots": "types of derived values",
    "state/pending_photos.py PendingPhotos._waiting": "photos of the catalog",
    "state/pending_photos.py PendingPhotos._left_out": "photos of the catalog",
    "state/pinned_versions.py PinnedVersions._opened": "capacity",
}
# Functions that remember each result for good, by what their arguments are.
FOR_GOOD = {
    "indexer/core/container.py container_limits": "",
    "indexer/core/memory_budget.py decoding_budget": "",
    "indexer/duplicates/alignment.py _starts": "",
    "indexer/imaging/analysis_view.py _line_places": "lengths of the analysis view",
    "indexer/imaging/lab_color.py _shares": "lengths of the analysis view",
    "indexer/model/openvino_runtime.py openvino": "",
    "indexer/model/openvino_runtime.py capabilities": "",
    "indexer/model/openvino_runtime.py sums_overflow": "",
    "indexer/operations/jobs.py _job_type": "",
    "indexer/operations/jobs.py _progress_type": "",
    "indexer/operations/sync_source.py _source_type": "",
    "indexer/operations/sync_source.py _run_type": "",
    "indexer/quality/checks/noise_and_blur.py _low_waves": "periods of the check",
    "indexer/quality/checks/noise_and_blur.py _kernels": "sides and passes of the check",
    "indexer/quality/checks/noise_and_blur.py _noise_energy": "sides and passes of the check",
    "service/app.py document": "",
    "service/query/response.py _fields": "types of results",
    "service/query/response.py _may_lack": "types of results",
    "service/settings/advice.py _setting_names": "",
    "service/settings/description.py describe_settings": "types of settings",
}
# Counts of entries, and what one may hold where that is no fixed size.
COUNTED = {
    "indexer/catalog/product_rows.py": "a tag, of a length that is checked",
    "indexer/core/lru.py": "a text of at most `longest` characters",
    "indexer/core/stamped_cache.py": "a file's value, weighed by the file",
    "indexer/feeds/column_words.py": "one table",
    "indexer/feeds/photo_files.py": "the names in a folder",
    "indexer/feeds/profile.py": "a profile of the package",
    "indexer/feeds/values/availability.py": "one table",
    "indexer/imaging/srgb.py": "a colour profile, of a size that is checked",
    "indexer/index/live.py": "a mask of the version's entries, counted in bytes",
    "indexer/model/network_cost.py": "a network without its numbers",
    "indexer/model/timm_networks.py": "a network's figures",
    "indexer/model/open_clip_networks.py": "a network's figures",
    "indexer/moderation/detectors/nudity.py": "one model",
    "indexer/moderation/detectors/text.py": "one model",
    "indexer/moderation/keypoint_matching.py": "one library",
    "indexer/text/keyword_index.py": "products of a question, weighed",
    "service/app.py": "the schema of a model of a request or an answer",
    "service/query/pair_texts.py": "a model's text tower",
    "service/query/photo_embedder.py": "a vector",
    "service/review/feedback.py": "names of an answer, weighed",
    "service/settings/values.py": "a host's name of the settings",
    "service/state/pinned_versions.py": "a version",
}
_EMPTY = ("dict", "set", "list", "OrderedDict", "defaultdict", "deque", "Counter", "LRUCache")


def _trees(*parts: str) -> Iterator[tuple[str, ast.Module]]:
    for part in parts:
        for path, tree in package_trees(part).items():
            yield path.as_posix(), tree


def _begins_empty(value: ast.expr | None) -> bool:
    if isinstance(value, ast.Dict):
        return not value.keys
    if isinstance(value, ast.List):
        return not value.elts
    called = (
        value.func.id if isinstance(value, ast.Call) and isinstance(value.func, ast.Name) else ""
    )
    return called == "LRUCache" or (called in _EMPTY and not value.args)  # type: ignore[union-attr]


def _held_by(kind: ast.ClassDef) -> Iterator[str]:
    """Attributes of a class that begin empty."""
    for made in ast.walk(kind):
        if isinstance(made, ast.FunctionDef) and made.name == "__init__":
            for statement in ast.walk(made):
                targets: list[ast.expr] = []
                if isinstance(statement, ast.Assign):
                    targets = statement.targets
                elif isinstance(statement, ast.AnnAssign):
                    targets = [statement.target]
                for target in targets:
                    if isinstance(target, ast.Attribute) and _begins_empty(statement.value):  # type: ignore[attr-defined]
                        yield f"{kind.name}.{target.attr}"


def test_whatever_grows_in_the_service_has_an_end() -> None:
    """Each attribute that begins empty and lives as long as its object is in the list, with what
    bounds it; a module of the service holds nothing that grows."""
    found = set()
    for name, tree in _trees("service"):
        place = name.removeprefix("service/")
        found |= {
            f"{place} {held}" for kind in nodes(tree, ast.ClassDef) for held in _held_by(kind)
        }
        for statement in tree.body:
            if isinstance(statement, ast.Assign | ast.AnnAssign):
                assert not _begins_empty(statement.value), (name, statement.lineno)
    assert found == SERVICE.keys()


def test_what_is_remembered_for_good_has_few_arguments() -> None:
    """``@cache`` never forgets: no text or number of a stranger may be its argument."""
    found = set()
    for name, tree in _trees("indexer", "service"):
        for node in nodes(tree, ast.FunctionDef):
            kept = [ast.unparse(one) for one in node.decorator_list]
            assert "lru_cache" not in kept, (name, node.name)
            if {"cache", "functools.cache"} & set(kept):
                found.add(f"{name} {node.name}")
                few = FOR_GOOD.get(f"{name} {node.name}", "")
                assert bool(node.args.args) == bool(few), (name, node.name)
    assert found == FOR_GOOD.keys()


def _called(node: ast.Call) -> str:
    """The name that is called, with what stands before one dot."""
    called = node.func
    if isinstance(called, ast.Attribute) and isinstance(called.value, ast.Name):
        return f"{called.value.id}.{called.attr}"
    return called.id if isinstance(called, ast.Name) else ""


def test_each_cache_counts_its_entries_and_what_they_hold() -> None:
    """A cache says how many it takes, and its file stands in the list with what one holds; what
    strangers wrote is remembered by ``cache_texts``, which passes long texts by."""
    found = set()
    for name, tree in _trees("indexer", "service"):
        for node in nodes(tree, ast.Call):
            if _called(node) in ("lru_cache", "functools.lru_cache", "LRUCache"):
                found.add(name)
                given = [*node.args, *(option.value for option in node.keywords)]
                assert given, (name, node.lineno)
                assert not any(isinstance(one, ast.Constant) and one.value is None for one in given)
    assert found == COUNTED.keys()
