"""Typed client of the service: one method for each call of ``/v1``."""

from __future__ import annotations

import codecs
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Unpack

from indexer.core.category_path import format_path
from service.api import keywords as kw
from service.api import requests
from service.api.form_fields import FieldValues, encode_fields
from service.api.product_requests import ProductPutRequest
from service.api.responses import (
    ActionsResponse,
    ActivateResponse,
    CallerResponse,
    ClassesResponse,
    ClassifyResponse,
    ClassResponse,
    ComparisonResponse,
    DescribeResponse,
    ExplainResponse,
    FacetsResponse,
    FeedbackResponse,
    ImportOfferResponse,
    IndexesResponse,
    JobModel,
    JobResponse,
    JobsResponse,
    MapResponse,
    ObjectsResponse,
    ProductResponse,
    ProductsResponse,
    QueuedResponse,
    QueueResponse,
    RecommendResponse,
    ReviewResponse,
    SchemaResponse,
    SearchResponse,
    SearchResult,
    TagsResponse,
    UndoResponse,
    WriteResponse,
)
from service.client.transport import (
    BatchRow,
    Fields,
    PhotoInput,
    Transport,
    file_parts,
    product_path,
    quoted,
)


class Client(Transport):
    """Asks one service. Safe to use from several threads; ``close`` it, or use it in ``with``.

    ``key``: where the service wants one. What was not sent (no connection, 429, 503) is tried again
    three times; what may have been read is not. Options of a call are the names of the HTTP
    contract, None and what is not given is not sent. Every method raises ``ProblemError``.
    """

    # -- questions: about a photo, a stored product, or both

    def classify(
        self, image: PhotoInput | None = None, **options: Unpack[kw.QueryKeywords]
    ) -> ClassifyResponse:
        """Categories of a photo or a stored product."""
        return self._ask("/v1/classify", ClassifyResponse, image, requests.ClassifyRequest, options)

    def search(
        self, image: PhotoInput | None = None, **options: Unpack[kw.SearchKeywords]
    ) -> SearchResponse:
        """Similar products, one page of ``k``."""
        return self._ask("/v1/search", SearchResponse, image, requests.SearchRequest, options)

    def results(
        self, image: PhotoInput | None = None, **options: Unpack[kw.SearchKeywords]
    ) -> Iterator[SearchResult]:
        """All results of a search, page after page of ``k``, for as long as they are taken."""
        while True:
            found = self.search(image, **options)
            yield from found.results
            if found.next_cursor is None:
                return
            options["cursor"] = found.next_cursor

    def tags(
        self, image: PhotoInput | None = None, **options: Unpack[kw.QueryKeywords]
    ) -> TagsResponse:
        """Suggested tags."""
        return self._ask("/v1/tags", TagsResponse, image, requests.TagsRequest, options)

    def describe(
        self, image: PhotoInput | None = None, **options: Unpack[kw.SearchKeywords]
    ) -> DescribeResponse:
        """Categories, similar products and tags at once."""
        return self._ask("/v1/describe", DescribeResponse, image, requests.SearchRequest, options)

    def objects(self, image: PhotoInput, **options: Unpack[kw.ObjectsKeywords]) -> ObjectsResponse:
        """The products in a busy photo."""
        return self._ask("/v1/objects", ObjectsResponse, image, requests.ObjectsRequest, options)

    def explain(
        self, image: PhotoInput | None = None, **options: Unpack[kw.ExplainKeywords]
    ) -> ExplainResponse:
        """Heat maps of a ``category``, or of the pair with ``other``, the id of a product."""
        other, category = options.pop("other", None), options.pop("category", None)
        fields: FieldValues = {**options}
        if category is not None:
            fields["category"] = category if isinstance(category, str) else format_path(category)
        if other is not None:
            fields["with"] = {"product_id": other}
        return self._ask("/v1/explain", ExplainResponse, image, requests.ExplainRequest, fields)

    def similar(
        self, product_id: str, **options: Unpack[kw.SearchOptionKeywords]
    ) -> SearchResponse:
        """Products similar to a stored one."""
        return self._get(f"/v1/products/{quoted(product_id)}/similar", SearchResponse, options)

    def facets(self, **options: Unpack[kw.FacetsKeywords]) -> FacetsResponse:
        """Counts of values."""
        return self._get("/v1/facets", FacetsResponse, options)

    # -- new listings, and what people say

    def review(
        self, images: Sequence[PhotoInput] = (), **options: Unpack[kw.ReviewKeywords]
    ) -> ReviewResponse:
        """Whether a listing is fit to publish."""
        if not images:
            return self._post("/v1/review", ReviewResponse, options)
        files = [("images", image) for image in images]
        return self._form("/v1/review", ReviewResponse, files, requests.ReviewRequest, options)

    def list_reviews(self, **options: Unpack[kw.ReviewsKeywords]) -> QueueResponse:
        """The queue for people."""
        return self._get("/v1/reviews", QueueResponse, options)

    def get_review(self, review_id: str) -> QueuedResponse:
        return self._get(f"/v1/reviews/{quoted(review_id)}", QueuedResponse, {})

    def review_photo(self, review_id: str, position: int) -> bytes:
        """The JPEG of a review's photo."""
        return self._send("GET", f"/v1/reviews/{quoted(review_id)}/photos/{position}")

    def decide_review(self, review_id: str, decision: str, reason: str = "") -> QueuedResponse:
        """``approve`` or ``reject``, once."""
        fields = {"decision": decision, "reason": reason}
        return self._post(f"/v1/reviews/{quoted(review_id)}:decide", QueuedResponse, fields)

    def undo_review(self, review_id: str) -> QueuedResponse:
        """Take a decision back."""
        path = f"/v1/reviews/{quoted(review_id)}:undo"
        return self._answer(self._send("POST", path), QueuedResponse)

    def feedback(self, request_id: str, **options: Unpack[kw.FeedbackKeywords]) -> FeedbackResponse:
        """What people made of an answer."""
        return self._post("/v1/feedback", FeedbackResponse, {"request_id": request_id, **options})

    # -- many photos in one call: answers in their order, each a dict with the answer's fields or a
    # ``problem``

    def classify_batch(
        self, images: Sequence[PhotoInput], **options: Unpack[kw.StateKeywords]
    ) -> list[BatchRow]:
        return self._batch("classify", images, requests.PhotosRequest, options)

    def search_batch(
        self, images: Sequence[PhotoInput], **options: Unpack[kw.SearchBatchKeywords]
    ) -> list[BatchRow]:
        return self._batch("search", images, requests.SearchPhotosRequest, options)

    def tags_batch(
        self, images: Sequence[PhotoInput], **options: Unpack[kw.StateKeywords]
    ) -> list[BatchRow]:
        return self._batch("tags", images, requests.PhotosRequest, options)

    # -- products

    def list_products(self, limit: int = 24) -> ProductsResponse:
        """A few products spread over the catalog."""
        return self._get("/v1/products", ProductsResponse, {"limit": limit})

    def get_product(self, product_id: str, **options: Unpack[kw.ShownKeywords]) -> ProductResponse:
        """One product as stored; with ``fields`` what was not asked for is None."""
        return self._get(product_path(product_id), ProductResponse, options)

    def put_product(
        self,
        product_id: str,
        images: Sequence[PhotoInput] = (),
        *,
        if_match: int | None = None,
        **fields: Unpack[kw.PutKeywords],
    ) -> WriteResponse:
        """Add or replace. ``if_match``: only where its last change is still that ``sequence``."""
        ProductPutRequest.model_validate(
            {name: value for name, value in fields.items() if value is not None}
        )
        files = file_parts([("images", image) for image in images])
        form = [*files, *encode_fields(None, {"product": fields})]
        path = product_path(product_id)
        return self._answer(self._send("PUT", path, form=form, if_match=if_match), WriteResponse)

    def patch_product(
        self, product_id: str, *, if_match: int | None = None, **fields: Unpack[kw.PatchKeywords]
    ) -> WriteResponse:
        """Change fields; photos stay. ``attributes={"name": None}`` removes one."""
        path = product_path(product_id)
        return self._answer(
            self._send("PATCH", path, body=fields, if_match=if_match), WriteResponse
        )

    def delete_product(
        self, product_id: str, *, if_match: int | None = None, **options: Unpack[kw.DeleteKeywords]
    ) -> WriteResponse:
        """Erase."""
        path = product_path(product_id)
        return self._answer(
            self._send("DELETE", path, query=options, if_match=if_match), WriteResponse
        )

    def batch_products(self, items: Sequence[Fields]) -> list[BatchRow]:
        """Many writes, each ``{"op": "put" | "patch" | "delete", "product_id": ..., ...}``; one
        status for each."""
        return list(self.call("POST", "/v1/products:batch", body={"items": list(items)})["results"])

    def get_schema(self) -> SchemaResponse:
        """Names, types and owners of attributes and fields."""
        return self._get("/v1/schema", SchemaResponse, {})

    def patch_schema(self, types: Mapping[str, str]) -> SchemaResponse:
        """Give attributes their types; stored values are converted."""
        return self._send_json("PATCH", "/v1/schema", SchemaResponse, {"types": dict(types)})

    def image(self, content_hash: str, width: int = 320) -> bytes:
        """A stored photo's JPEG, 160, 320 or 640 px wide at most."""
        return self._send("GET", f"/v1/images/{quoted(content_hash)}", query={"w": width})

    # -- classes from photos, versions

    def list_classes(self) -> ClassesResponse:
        return self._get("/v1/classes", ClassesResponse, {})

    def add_class(
        self,
        label: str,
        images: Sequence[PhotoInput] = (),
        kind: str = "category",
        *,
        prompts: Sequence[str] | None = None,
    ) -> ClassResponse:
        """From photos, or from words: ``prompts``, of none of them its name."""
        if prompts is not None:
            body = {"label": label, "kind": kind, "prompts": list(prompts)}
            return self._post("/v1/classes", ClassResponse, body)
        files = [("images", image) for image in images]
        fields = {"label": label, "kind": kind}
        return self._form("/v1/classes", ClassResponse, files, requests.ClassRequest, fields)

    def remove_class(self, **options: Unpack[kw.ClassKeywords]) -> ClassResponse:
        """By ``id``, or by ``label`` and ``kind``."""
        return self._answer(self._send("DELETE", "/v1/classes", query=options), ClassResponse)

    def list_indexes(self) -> IndexesResponse:
        return self._get("/v1/indexes", IndexesResponse, {})

    def compare_index(self, version: str) -> ComparisonResponse:
        """What changes where ``version`` is activated."""
        return self._get(f"/v1/indexes/{quoted(version)}/comparison", ComparisonResponse, {})

    def rollback_index(self, instead_of: str | None = None) -> ActivateResponse:
        """Undo the last activation; 412 where another version than ``instead_of`` is active."""
        return self._post("/v1/indexes:rollback", ActivateResponse, {"instead_of": instead_of})

    def activate_index(self, version: str) -> ActivateResponse:
        return self._answer(
            self._send("POST", f"/v1/indexes/{quoted(version)}:activate"), ActivateResponse
        )

    def list_actions(self, limit: int = 50, writes: bool = False) -> ActionsResponse:
        """What was done and by whom; ``writes``: single writes too."""
        options = {"limit": limit, "writes": writes}
        return self._get("/v1/actions", ActionsResponse, options)

    def undo_action(self, name: str, dry_run: bool = False) -> UndoResponse:
        """Take back an action of ``list_actions``; what others changed since stays."""
        path = f"/v1/actions/{quoted(name)}:undo"
        return self._post(path, UndoResponse, {"dry_run": dry_run})

    def start_undo(self, name: str, dry_run: bool = False) -> UndoResponse | JobResponse:
        """As ``undo_action``; of more than 1,000 products a job, which can be followed and
        cancelled."""
        body = {"dry_run": dry_run, "background": True}
        data = self._send("POST", f"/v1/actions/{quoted(name)}:undo", body=body)
        if "job_id" in json.loads(data):
            return self._answer(data, JobResponse)
        return self._answer(data, UndoResponse)

    def map(self, limit: int = 2000) -> MapResponse:
        """Products as points, alike ones near each other."""
        return self._get("/v1/map", MapResponse, {"limit": limit})

    # -- recommendations and long work

    def recommend(
        self,
        history: Sequence[Fields | str],
        **options: Unpack[kw.RecommendKeywords],
    ) -> RecommendResponse:
        """For a shopper, by ids or by {"product_id", "weight", "time"}."""
        events = [
            {"product_id": event} if isinstance(event, str) else dict(event) for event in history
        ]
        return self._post("/v1/recommendations", RecommendResponse, {"history": events, **options})

    def import_products(
        self, archive: Path | str | None = None, **options: Unpack[kw.ImportKeywords]
    ) -> JobResponse:
        """Start an import, of a feed or zip here, of ``url``, or of ``path``, a folder of the
        service's machine; its job."""
        if archive is None:
            return self._post("/v1/imports", JobResponse, options)
        files = [("archive", archive)]
        return self._form("/v1/imports", JobResponse, files, requests.ImportRequest, options)

    def get_import_offer(self) -> ImportOfferResponse:
        """What the service can import from, its profiles, and what columns can mean."""
        return self._get("/v1/imports", ImportOfferResponse, {})

    def whoami(self) -> CallerResponse:
        """The name and the role of the key."""
        return self._get("/v1/whoami", CallerResponse, {})

    def build_index(self, **options: Unpack[kw.BuildKeywords]) -> JobResponse:
        """Start a rebuild; its job."""
        return self._post("/v1/indexes", JobResponse, options)

    def list_jobs(self) -> JobsResponse:
        """Jobs, the newest first."""
        return self._get("/v1/jobs", JobsResponse, {})

    def get_job(self, job_id: str) -> JobResponse:
        return self._get(f"/v1/jobs/{quoted(job_id)}", JobResponse, {})

    def cancel_job(self, job_id: str) -> JobResponse:
        return self._answer(self._send("DELETE", f"/v1/jobs/{quoted(job_id)}"), JobResponse)

    def follow_job(self, job_id: str) -> Iterator[JobModel]:
        """The job at each change, until it ends; ends early where the service ends the stream."""
        response = self._request("GET", f"/v1/jobs/{quoted(job_id)}/events", preload_content=False)
        # A piece may end inside a character.
        decoder = codecs.getincrementaldecoder("utf-8")()
        text = ""
        try:
            for chunk in response.stream(1024, decode_content=True):
                *blocks, text = (text + decoder.decode(chunk)).split("\n\n")
                for block in blocks:
                    data = [
                        line[5:].strip() for line in block.splitlines() if line.startswith("data:")
                    ]
                    if data:
                        yield JobModel.model_validate_json("\n".join(data))
        finally:
            response.close()  # first: a stream that goes on must not be what the next call reads
            response.release_conn()
