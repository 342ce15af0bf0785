# SPDX-License-Identifier: Apache-2.0
"""The command ``reader_study``: readers tell synthetic from real images on a local web page, blinded."""

import json
import logging
import os
import signal
import socket
from collections.abc import Iterator
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medti_components.errors import ConfigError, DataError, MedtiError
from medti_components.files import ensure_writable_directory, write_text_atomically

if TYPE_CHECKING:
    from flask import Flask

    from medti_components.apps.reader_study_server.study import ReaderStudy

logger = logging.getLogger(__name__)

ANSWERS = "answers"


def reader_study(
    output_dir: str,
    real_dir: str = "",
    generated_dir: str = "",
    *,
    kind: str = "single",
    num_images: int = 50,
    concept: str = "",
    channels: str = "auto",
    image_size: int = 0,
    seed: int = 0,
    reader: str = "",
    host: str = "127.0.0.1",
    port: int = 0,
    analyse: bool = False,
) -> Iterator[str]:
    """Serve a page on which readers judge images without knowing their origin; Ctrl-C stops it and shows the metrics.

    Every answer is saved at once, and the same command continues the study. Metrics are written to reader_study.json
    and reader_study.html in output_dir whenever a reader has finished, and when the command is stopped.

    Args:
        output_dir: folder of the study, its answers and its metrics.
        real_dir: folder of real images, PNG or JPEG.
        generated_dir: output_dir of a generating run, or a folder of PNG or JPEG.
        kind: single (real or synthetic? how realistic, 1 to 5?) or pairs (which is more realistic?).
        num_images: images of each origin, drawn by the seed; of pairs, their number.
        concept: take only generated images of this word, such as "<prostate_mri_positive>".
        channels: auto, colour, grey, or panels for three channels side by side, as in prostate MRI.
        image_size: edge of all images in pixels; 0 takes that of the smallest.
        seed: draws images, orders and sides.
        reader: name of the only reader; by default each gives one.
        host: address to serve at; any but 127.0.0.1 lets other machines in.
        port: port to serve at; 0 takes a free one.
        analyse: serve nothing, only compute the metrics from the answers in output_dir.
    """
    if analyse:
        yield from analysis(output_dir)
        return
    if not real_dir or not generated_dir:
        raise ConfigError("--real_dir and --generated_dir must be given: see medti reader_study --help")
    from medti_components.apps.reader_study_server.blinded_pictures import BlindedPictures
    from medti_components.apps.reader_study_server.study import KINDS, QUESTIONS, ReaderStudy, drawn
    from medti_components.data.generated.generated_folder import generated_files, picture_files

    if kind not in QUESTIONS:
        raise ConfigError(f"kind must be one of {', '.join(QUESTIONS)}, got '{kind}'")
    page_of = _page_of()
    folders = _folders(real_dir, generated_dir)
    files = {
        "real": picture_files(real_dir, "real_dir"),
        "synthetic": generated_files(generated_dir, concept),
    }
    for name, key in zip(KINDS, ("real_dir", "generated_dir"), strict=True):
        _check_number(num_images, files[name], key, folders[name])
        files[name] = drawn(files[name], num_images, seed, name)
    pictures = BlindedPictures(files["real"], files["synthetic"], channels, image_size, show_progress=True)
    settings = {
        "num_images": num_images,
        "concept": concept,
        "channels": pictures.channels,
        "image_size": pictures.image_size,
    }
    new = ReaderStudy.of(kind, seed, settings, files, folders, lambda path: pictures.facts[path].sha256)
    study = new.begun_or_continued(ensure_writable_directory(output_dir))
    if pictures.num_cut:
        yield f"{pictures.num_cut} images are not square: their middle square is shown"
    app = page_of(
        study,
        lambda picture: pictures.png(folders[picture.kind] / picture.file),
        Path(output_dir) / ANSWERS,
        reader,
        lambda name: _finished(output_dir, name),
    ).app()
    yield from _served(app, study, host, port)
    if any((Path(output_dir) / ANSWERS).glob("*.jsonl")):
        yield from analysis(output_dir)
    else:
        yield "no answers yet"


def analysis(output_dir: str) -> Iterator[str]:
    """Write ``reader_study.json`` and ``reader_study.html``, yield what they say, one line per reader.

    Raises:
        DataError: there is no study, no answer, or an answer of another study.
    """
    from medti_components.apps.reader_study_server.reader_metrics import ReaderMetrics
    from medti_components.apps.reader_study_server.reader_report import render_report, report_lines
    from medti_components.apps.reader_study_server.study import ReaderStudy, answers_by_reader
    from medti_components.metrics.interval_estimate import plain_metrics

    folder = Path(output_dir)
    study = ReaderStudy.read(folder)
    items = [tuple(picture.kind for picture in item) for item in study.items]
    metrics = ReaderMetrics(items, answers_by_reader(folder / ANSWERS), study.seed).metrics()
    settings: dict[str, Any] = {"kind": study.kind, "seed": study.seed, **study.settings}
    for item, found in zip(study.items, metrics["items"], strict=True):
        found["files"] = {picture.kind: picture.file for picture in item}
    content = json.dumps(plain_metrics({"settings": settings, **metrics}), indent=2, ensure_ascii=False)
    write_text_atomically(folder / "reader_study.json", content + "\n")
    write_text_atomically(folder / "reader_study.html", render_report(metrics, settings))
    yield from report_lines(metrics)
    yield f"metrics in {folder / 'reader_study.html'} and reader_study.json"


def _page_of() -> Any:
    """Return the class of the page; Flask is needed, and imported, only to serve it."""
    try:
        from medti_components.apps.reader_study_server.web_page import ReaderStudyPage
    except ModuleNotFoundError as error:
        if error.name != "flask":
            raise
        raise ConfigError("reader_study needs Flask, which is not installed: pip install 'flask>=3.1'") from error
    return ReaderStudyPage


def _folders(real_dir: str, generated_dir: str) -> dict[str, Path]:
    from medti_components.data.generated.generated_folder import is_generated

    real, generated = Path(real_dir), Path(generated_dir)
    first, second = real.resolve(), generated.resolve()
    if first == second:
        raise ConfigError(f"real_dir and generated_dir must be two folders, got '{real_dir}' for both: correct one")
    if first in second.parents or second in first.parents:
        raise ConfigError(f"real_dir '{real}' and generated_dir '{generated}' must not lie in each other: move one")
    if real.is_dir() and is_generated(real):
        raise DataError(f"real_dir '{real}' is the output_dir of a generating run: give a folder of real images")
    return {"real": real, "synthetic": generated}


def _check_number(num_images: int, files: list[Path], key: str, folder: Path) -> None:
    if num_images < 1:
        raise ConfigError(f"num_images must be at least 1, got {num_images}: correct --num_images")
    if len(files) < num_images:
        raise DataError(
            f"{key} '{folder}' must hold {num_images} images, got {len(files)}: add some, or set "
            f"--num_images {len(files)}"
        )


def _served(app: "Flask", study: "ReaderStudy", host: str, port: int) -> Iterator[str]:
    """Serve until interrupted; yield where."""
    from werkzeug.serving import WSGIRequestHandler, make_server

    class QuietHandler(WSGIRequestHandler):
        def log_request(self, *args: Any, **kwargs: Any) -> None:
            """Say nothing of each request: its address holds the key."""

    with _bound(host, port) as listening:
        bound = listening.getsockname()[1]
        server = make_server(host, bound, app, threaded=True, request_handler=QuietHandler, fd=listening.fileno())
        if not _is_local(host):
            yield f"warning: --host {host} lets other machines in; whoever has the link sees the images"
        shown = f"[{host}]" if ":" in host else host
        yield f"open in a browser: http://{shown}:{bound}/{study.link_key}/"
        yield f"answers go to {ANSWERS}/ in output_dir; Ctrl-C stops, the same command continues"
        before = signal.signal(signal.SIGTERM, signal.default_int_handler)  # stopping it is as good as Ctrl-C
        try:
            server.serve_forever()  # ends by itself when interrupted
        finally:
            signal.signal(signal.SIGTERM, before)


def _bound(host: str, port: int) -> socket.socket:
    if port > 65535:
        raise ConfigError(f"port must be at most 65535, got {port}: correct --port")
    try:
        return socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
    except OSError as error:
        raise ConfigError(
            f"port {port} of {host} can't be served at ({os.strerror(error.errno or 0)}): choose another by --port, "
            "0 for a free one, or correct --host"
        ) from error


def _is_local(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _finished(output_dir: str, reader: str) -> None:
    try:
        for _ in analysis(output_dir):
            continue
    except MedtiError as error:  # the reader's answers are safe, and stopping shows it again
        logger.error("%s", error)
    else:
        logger.info("%s has finished", reader)
