"""The plain service, peer of ``bench http`` and ``startup``, as tutorials write it.

A process of its own with the arguments MODEL FACTS PORT.

Pillow, torchvision's transforms, torch eager in float32 on all threads, FAISS Flat, waitress with
four threads.
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
from flask import Flask, request
from PIL import Image

from indexer.core.native import faiss, torch
from indexer.model.bundle import load_bundle


def make_app(model: str, facts: str) -> Flask:
    from torchvision import transforms

    bundle = load_bundle(Path(model))
    network, preprocess = bundle.network(), bundle.spec.preprocess
    transform = transforms.Compose(
        [
            transforms.Resize(preprocess.resize, transforms.InterpolationMode.BICUBIC),
            transforms.CenterCrop(preprocess.crop),
            transforms.ToTensor(),
            transforms.Normalize(preprocess.mean, preprocess.std),
        ]
    )
    vectors = np.load(Path(facts) / "vectors.npy")
    products = json.loads((Path(facts) / "products.json").read_text())
    categories = json.loads((Path(facts) / "categories.json").read_text())
    index: Any = faiss.IndexFlatIP(vectors.shape[1])
    index.add(vectors)
    app = Flask(__name__)

    @app.get("/readyz")
    def ready() -> dict[str, str]:
        return {"status": "ready"}

    @app.post("/v1/describe")
    def describe() -> dict[str, Any]:
        image = Image.open(request.files["image"].stream).convert("RGB")
        with torch.no_grad():
            embedding, logits = network(transform(image).unsqueeze(0))
        chances = torch.softmax(logits["category"][0], 0).numpy()
        scores, places = index.search(embedding.numpy(), int(request.form.get("k", 10)))
        near = [products[place] for place in places[0]]
        votes = Counter(tag for _, _, tags in near for tag in tags)
        return {
            "categories": [
                {"label": categories[place], "probability": float(chances[place])}
                for place in chances.argsort()[:-6:-1]
            ],
            "results": [
                {"product_id": name, "title": title, "score": float(score)}
                for (name, title, _), score in zip(near, scores[0], strict=True)
            ],
            "tags": [
                {"tag": tag, "confidence": count / len(near)} for tag, count in votes.most_common(8)
            ],
        }

    return app


if __name__ == "__main__":
    from waitress import serve

    serve(make_app(sys.argv[1], sys.argv[2]), host="127.0.0.1", port=int(sys.argv[3]), threads=4)
