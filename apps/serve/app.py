"""The pages of ``--mode serve``: a video is sent, asked after, its answer fetched and removed. Nothing is logged."""

import ipaddress
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from flask import Flask, Response, jsonify, request, send_from_directory
from werkzeug.exceptions import ClientDisconnected, HTTPException

from apps.predict.colours import class_colours
from apps.predict.runner import About
from apps.serve.jobs import FILES, Job, Jobs, Refused

PAGE = Path(__file__).resolve().parent / "page"
CHUNK = 1 << 20
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; "
    "media-src blob:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}


@dataclass(frozen=True)
class Limits:
    megabytes: float
    minutes: float

    @property
    def bytes(self) -> int:
        return int(self.megabytes * 1e6)


def make_app(jobs: Jobs, about: About, limits: Limits, host: str) -> Flask:
    """``host``: what is listened on; requests for another name are refused."""
    app = Flask(__name__, static_folder=str(PAGE), static_url_path="/page")
    app.json.sort_keys = False  # classes stay in the model's order
    add_guards(app, host)
    add_page(app, jobs, about, limits)
    add_videos(app, jobs, limits)
    return app


def add_guards(app: Flask, host: str) -> None:
    """Who may ask, what the browser may do with an answer, and errors as one sentence."""

    @app.before_request
    def check() -> None:
        check_sender(host)

    @app.after_request
    def guard(response: Response) -> Response:
        response.headers.update(HEADERS)
        return response

    @app.errorhandler(Refused)
    def refuse(error: Refused) -> tuple[Response, int]:
        return jsonify(error=str(error)), error.status

    @app.errorhandler(HTTPException)
    def answer(error: HTTPException) -> tuple[Response, int]:
        return jsonify(error=error.description), error.code or 500


def add_page(app: Flask, jobs: Jobs, about: About, limits: Limits) -> None:
    """The page, and what it says of the model and its limits."""

    @app.get("/")
    def page() -> Response:
        return send_from_directory(PAGE, "index.html")

    @app.get("/favicon.ico")
    def icon() -> Response:
        return send_from_directory(PAGE, "icon.svg")

    @app.get("/about")
    def tell() -> dict[str, Any]:
        colours = class_colours(about.names)
        limit = {"megabytes": limits.megabytes, "minutes": limits.minutes, "forgotten": jobs.forget_after}
        told = {"model": about.model, "family": about.family, "trained_on": about.trained_on}
        return told | {"classes": colours, "limits": limit}


def add_videos(app: Flask, jobs: Jobs, limits: Limits) -> None:
    """A video from its first byte to its removal."""

    @app.post("/videos")
    def receive() -> tuple[dict[str, str], int]:
        length = check_length(limits)
        job = jobs.begin()
        try:
            save(job, length)
            jobs.submit(job)
        except BaseException:
            jobs.remove(job)
            raise
        return {"job": job.id}, 201

    @app.get("/videos/<id>")
    def state(id: str) -> dict[str, Any]:
        return jobs.find(id).as_json()

    @app.get("/videos/<id>/<any({}):name>".format(",".join(f'"{name}"' for name in FILES)))
    def result(id: str, name: str) -> Response:
        job = jobs.find(id)
        if name not in job.as_json()["files"]:
            raise Refused(404, "There is no such answer (yet).")
        return send_from_directory(job.folder, name, conditional=True)

    @app.delete("/videos/<id>")
    def remove(id: str) -> tuple[str, int]:
        jobs.remove(jobs.find(id))
        return "", 204


def check_sender(host: str) -> None:
    """A page of another site, or another site's name that leads to this machine, gets nothing."""
    name = urlsplit(f"//{request.host}").hostname or ""
    if not is_ours(name, host):
        raise Refused(403, f"This server does not answer to the name {name[:100]}.")
    origin = request.headers.get("Origin")
    foreign = origin is not None and origin != f"{request.scheme}://{request.host}"
    if foreign or request.headers.get("Sec-Fetch-Site") in ("cross-site", "same-site"):
        raise Refused(403, "Requests of other sites are refused.")


def is_ours(name: str, host: str) -> bool:
    """An address cannot be pointed elsewhere as a name can; one machine alone answers to loopback ones only."""
    if name in ("localhost", host.lower()):
        return True
    try:
        address = ipaddress.ip_address(name)
    except ValueError:
        return False
    return address.is_loopback or not is_local(host)


def is_local(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def check_length(limits: Limits) -> int:
    """Known, and small enough, before anything is read."""
    length = request.content_length
    if length is None:
        raise Refused(411, "The size of the video is not stated.")
    if length == 0:
        raise Refused(422, "This file is empty.")
    if length > limits.bytes:
        raise Refused(413, f"This file has {length / 1e6:.1f} MB; at most {limits.megabytes:g} MB are taken.")
    return length


def save(job: Job, length: int) -> None:
    """The body as it comes, into the job's folder."""
    if shutil.disk_usage(job.folder).free < 3 * length:
        raise Refused(507, "There is not enough room on the disk of the machine that analyses.")
    with open(job.video, "wb") as file:
        try:
            while chunk := request.stream.read(CHUNK):
                file.write(chunk)
        except (TimeoutError, ConnectionError, ClientDisconnected):
            raise Refused(400, "The video did not arrive whole.") from None
        if file.tell() != length:
            raise Refused(400, "The video did not arrive whole.")
