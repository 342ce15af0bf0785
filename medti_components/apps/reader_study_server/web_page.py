# SPDX-License-Identifier: Apache-2.0
"""The web page of a reader study: plain forms that load nothing from other servers. Needs Flask."""

import logging
import math
import re
from collections.abc import Callable, Mapping
from datetime import datetime, timezone
from pathlib import Path
from threading import Lock

from flask import Flask, Response, abort, redirect, render_template, request, url_for
from werkzeug.wrappers import Response as AnyResponse

from medti_components.apps.reader_study_server.study import AnswerFile, ReaderAnswer, ReaderStudy, StudyPicture
from medti_components.errors import ConfigError, MedtiError

logger = logging.getLogger(__name__)

NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_\-]{0,31}")  # as browsers read it, too
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; img-src 'self' data:; style-src 'self'; script-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
}


class ReaderStudyPage:
    """A reader study as a Flask application.

    Every address begins with the study's random key, so that no other page or user can read or answer without the
    link. The questions of a reader are counted 0, 1, ... in that reader's order, and pictures have no other name. An
    answer is on the disk before the next question is asked. An answer to any but the reader's next question (sent
    twice, or from an old page) does not count.

    Args:
        study: what is asked.
        png: gives a picture as it is shown.
        answers_dir: folder of the readers' answers.
        reader: the only reader; empty lets each give a name.
        finished: called with the name of each reader who has answered everything.

    Raises:
        ConfigError: the reader's name has another form.
    """

    def __init__(
        self,
        study: ReaderStudy,
        png: Callable[[StudyPicture], bytes],
        answers_dir: str | Path,
        reader: str = "",
        finished: Callable[[str], None] = lambda reader: None,
    ) -> None:
        self.study = study
        self.png = png
        self.answers_dir = Path(answers_dir)
        self.reader = reader.lower()
        self.finished = finished
        self._lock = Lock()
        if self.reader and not NAME.fullmatch(self.reader):
            raise ConfigError(f"reader must be 1 to 32 letters, digits, - or _, got '{reader}': correct --reader")

    def app(self) -> Flask:
        """Return the application."""
        root = f"/{self.study.link_key}"
        app = Flask(__name__, static_url_path=f"{root}/static")
        app.add_url_rule(f"{root}/", "start", self.start)
        app.add_url_rule(f"{root}/", "enter", self.enter, methods=["POST"])
        app.add_url_rule(f"{root}/reader/<reader>/", "question", self.question)
        app.add_url_rule(f"{root}/reader/<reader>/", "answer", self.answer, methods=["POST"])
        app.add_url_rule(f"{root}/reader/<reader>/<int:position>/<int:side>.png", "picture", self.picture)
        app.register_error_handler(MedtiError, _failed)
        app.after_request(_with_headers)
        return app

    def start(self) -> AnyResponse | str:
        """Ask who reads."""
        if self.reader:
            return redirect(url_for("question", reader=self.reader))
        return render_template("start.html", pattern=NAME.pattern, study=self.study)

    def enter(self) -> AnyResponse:
        """Lead a reader to the next question."""
        return redirect(url_for("question", reader=self._known(request.form.get("reader", "").strip())), 303)

    def question(self, reader: str) -> str:
        """Show the reader's next question, or thanks."""
        reader = self._known(reader)
        order = self.study.order(reader)
        position = self._next(order, self._file(reader))
        if position == len(order):
            return render_template("done.html", number=len(order))
        return render_template(f"{self.study.kind}.html", reader=reader, position=position, number=len(order))

    def answer(self, reader: str) -> AnyResponse:
        """Record an answer."""
        reader = self._known(reader)
        order, file = self.study.order(reader), self._file(reader)
        with self._lock:
            position = self._next(order, file)
            is_awaited = position < len(order) and request.form.get("position") == str(position)
            if is_awaited:
                file.append(self._given(reader, order[position], request.form))
            if is_awaited and position + 1 == len(order):
                self.finished(reader)
        return redirect(url_for("question", reader=reader), 303)

    def picture(self, reader: str, position: int, side: int) -> Response:
        """Send a picture."""
        reader = self._known(reader)
        order = self.study.order(reader)
        if position >= len(order) or side >= len(self.study.items[0]):
            abort(404)
        return Response(self.png(self.study.shown(reader, order[position])[side]), mimetype="image/png")

    def _given(self, reader: str, item: int, form: Mapping[str, str]) -> ReaderAnswer:
        rating = form.get("rating", "")
        answer = ReaderAnswer(
            item=item,
            shown=tuple(picture.kind for picture in self.study.shown(reader, item)),
            answer=form.get("answer", ""),
            rating=int(rating) if re.fullmatch("[1-5]", rating) else None,
            seconds=_seconds(form.get("seconds", "")),
            answered_at=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        )
        if not answer.is_whole:
            abort(400, "The answer was not complete. Go back and answer again.")
        return answer

    def _known(self, reader: str) -> str:
        name = reader.lower()
        if not NAME.fullmatch(name) or (self.reader and name != self.reader):
            abort(404)
        return name

    def _file(self, reader: str) -> AnswerFile:
        return AnswerFile(self.answers_dir / f"{reader}.jsonl")

    @staticmethod
    def _next(order: list[int], file: AnswerFile) -> int:
        """Return the position of the first item without an answer, or the number of items."""
        answered = {answer.item for answer in file.answers()}
        return next((position for position, item in enumerate(order) if item not in answered), len(order))


def _seconds(text: str) -> float | None:
    try:
        seconds = float(text)
    except ValueError:
        return None
    return seconds if math.isfinite(seconds) and seconds >= 0 else None


def _failed(error: MedtiError) -> tuple[str, int]:
    """Tell the person who runs the study what is wrong; the reader, who must not see file names, only that it is."""
    logger.error("%s", error)
    return "Something is wrong on this computer: tell whoever runs the study. Nothing that you answered is lost.", 500


def _with_headers(response: Response) -> Response:
    response.headers.update(HEADERS)
    return response
