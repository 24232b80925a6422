"""``--mode serve``: a local web page that analyses videos. Nothing leaves the machine, is stored or is logged."""

import io
import ipaddress
import shutil
import signal
import socket
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from flask import Flask, Response, jsonify, request, send_from_directory
from werkzeug.exceptions import ClientDisconnected, HTTPException
from werkzeug.serving import BaseWSGIServer, WSGIRequestHandler, make_server

from apps.drawing import class_colours
from apps.predict.predictor import Predictor
from apps.predict.runners import ModelInfo
from apps.serve.jobs import BROKEN, FAILED, FILES, Job, Jobs, Refusal
from engine.options import Config, VideoOptions
from utils.errors import UserError, reason_of
from utils.files import temporary_folder

PAGE = Path(__file__).resolve().parent / "page"
CHUNK = 1 << 20  # bytes of an upload that are read at once
ASK_EVERY = 0.05  # seconds between two checks of a job whose sender waits for the result
IDLE_SECONDS = 60  # without a byte before a connection is closed; also the limit for requests except uploads
SLOWEST = 100_000  # least bytes per second of an upload, on average after the first minute
STOPPED = "The analysis was stopped."
ENDING = (  # signals that would end the process, and can be caught
    "SIGINT SIGTERM SIGHUP SIGQUIT SIGUSR1 SIGUSR2 SIGALRM SIGVTALRM SIGPROF SIGIO SIGPWR SIGXCPU SIGABRT SIGBREAK"
).split()
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; "
    "media-src blob:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}


class TimedReader(io.RawIOBase):
    """Reads a request, which may take ``IDLE_SECONDS``; only the bytes of an upload may take longer."""

    def __init__(self, connection: socket.socket) -> None:
        self.connection, self.deadline = connection, time.monotonic() + IDLE_SECONDS
        self.is_upload = False

    def readable(self) -> bool:
        return True

    @property
    def is_gone(self) -> bool:
        """Return whether the sender has closed the connection, without waiting and reading."""
        self.connection.setblocking(False)
        try:
            return not self.connection.recv(1, socket.MSG_PEEK)
        except BlockingIOError:
            return False
        except OSError:
            return True
        finally:
            self.connection.settimeout(IDLE_SECONDS)

    def readinto(self, buffer: Any) -> int:
        remaining = self.deadline - time.monotonic()
        if remaining <= 0:
            raise TimeoutError
        self.connection.settimeout(min(remaining, IDLE_SECONDS))
        try:
            count = self.connection.recv_into(buffer)
        finally:
            self.connection.settimeout(IDLE_SECONDS)  # for the response
        if self.is_upload:
            self.deadline += count / SLOWEST
        return count


class QuietHandler(WSGIRequestHandler):
    """Handles one request per connection, with a time limit and without a log."""

    def setup(self) -> None:
        super().setup()
        self.rfile.close()
        self.reader = TimedReader(self.connection)
        self.rfile = io.BufferedReader(self.reader)

    def make_environ(self) -> dict[str, Any]:
        return super().make_environ() | {"emotion.reader": self.reader}

    def log(self, *_: Any) -> None:
        pass


def serve(config: Config, flags: dict[str, Any]) -> None:
    """Serve until Ctrl-C or another signal."""
    if config.video.input is not None:
        raise UserError(f"--input {config.video.input}: --mode serve reads videos from its page; use --mode predict")
    with listen(config) as listener, signals_as_interrupt():
        predictor = Predictor(**flags)
        with open_server(predictor, config, listener) as server:
            for warning in predictor.warnings:
                print(f"warning: {warning}")
            print(announcement(config, listener), flush=True)
            server.serve_forever()  # returns after Ctrl-C
            with suppress(OSError):  # the terminal may be closed
                print("\nstopping: uploaded videos are removed", flush=True)


@contextmanager
def signals_as_interrupt() -> Iterator[None]:
    """Raise KeyboardInterrupt at the first signal of ``ENDING``; later ones are ignored, so that all files are removed.

    A signal that is already ignored, such as SIGHUP with nohup, stays ignored.
    """
    numbers = [getattr(signal, name) for name in ENDING if hasattr(signal, name)]
    before = {n: handler for n in numbers if (handler := signal.getsignal(n)) not in (signal.SIG_IGN, None)}
    is_stopping = False

    def interrupt(*_: Any) -> None:
        nonlocal is_stopping
        if not is_stopping:
            is_stopping = True
            raise KeyboardInterrupt

    for number in before:
        signal.signal(number, interrupt)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def listen(config: Config) -> Iterator[socket.socket]:
    """Open the port before the model is loaded, so that a port in use is reported at once."""
    host, port = config.video.host, config.video.port
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listener = socket.socket(family, kind, protocol)
    except OSError as error:
        raise UserError(f"--host {host}: {reason_of(error)}") from None
    with listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(address)
            listener.listen()
        except OSError as error:
            raise UserError(f"--host {host} --port {port}: {reason_of(error)}; --port 0 takes a free one") from None
        yield listener


@contextmanager
def open_server(
    predictor: Predictor, config: Config, listener: socket.socket, forget_after: float = 180.0
) -> Iterator[BaseWSGIServer]:
    """Yield a server that is ready to run. Afterwards all its folders are removed, and those of killed servers."""
    with temporary_folder(Path(tempfile.gettempdir()), "emotion-serve-") as folder:
        jobs = Jobs(predictor, folder / "videos", config.video.max_minutes, forget_after)
        app = make_app(jobs, predictor.info, config.video)
        host, port = listener.getsockname()[:2]
        server = make_server(host, port, app, threaded=True, request_handler=QuietHandler, fd=listener.fileno())
        server.daemon_threads = True
        try:
            yield server
        finally:
            jobs.close()
            server.server_close()


def announcement(config: Config, listener: socket.socket) -> str:
    """Return the address, and a warning if other machines can reach it."""
    host, port = config.video.host, listener.getsockname()[1]
    lines = [f"open http://{f'[{host}]' if ':' in host else host}:{port}/ in a browser; Ctrl-C ends it"]
    if not is_local(host):
        lines.append(
            f"warning: --host {host}: everyone who can connect to port {port} of this machine can send videos, without "
            f"a password and unencrypted"
        )
    return "\n".join(lines)


def make_app(jobs: Jobs, info: ModelInfo, options: VideoOptions) -> Flask:
    """Return the Flask app with its routes."""
    app = Flask(__name__, static_folder=str(PAGE), static_url_path="/page")
    app.json.sort_keys = False  # classes stay in the model's order
    app.before_request(lambda: check_sender(options.host))
    add_page(app, jobs, info, options)
    add_videos(app, jobs, options.max_upload_mb)

    @app.after_request
    def add_headers(response: Response) -> Response:
        response.headers.update(HEADERS)
        return response

    @app.errorhandler(HTTPException)
    def http_error(error: HTTPException) -> tuple[Response, int, dict[str, str]]:
        headers = error.headers if isinstance(error, Refusal) else {}
        return jsonify(error=error.description), error.code or 500, headers

    return app


def add_page(app: Flask, jobs: Jobs, info: ModelInfo, options: VideoOptions) -> None:
    """Add the page with the facts about the model and the limits."""

    @app.get("/")
    def page() -> Response:
        return send_from_directory(PAGE, "index.html")

    @app.get("/favicon.ico")
    def icon() -> Response:
        return send_from_directory(PAGE, "icon.svg")

    @app.get("/api/health")
    def health() -> dict[str, Any]:
        limits = {"megabytes": options.max_upload_mb, "minutes": options.max_minutes, "forgotten": jobs.forget_after}
        model = {"model": info.model, "family": info.family, "trained_on": info.trained_on, "caution": info.caution}
        return {"status": "ok"} | model | {"classes": class_colours(info.names), "limits": limits}


def add_videos(app: Flask, jobs: Jobs, megabytes: float) -> None:
    """Add the API for a video or a picture, from upload to removal."""

    def receive(has_overlay: bool) -> Job:
        length = check_length(megabytes)
        job = jobs.begin(has_overlay)
        try:
            save_upload(job, length)
            jobs.submit(job)
            if is_sender_gone():
                raise Refusal(503, STOPPED)
        except BaseException:
            jobs.remove(job)
            raise
        return job

    @app.post("/api/predict")
    def predict() -> Response:
        """Return timeline.json when the analysis is done. No overlay is written, because nobody could fetch it."""
        job = receive(has_overlay=False)
        try:
            while not job.has_ended:
                if job.is_cancelled or is_sender_gone():  # cancelled: the server stops
                    raise Refusal(503, STOPPED)
                job.last_request = time.monotonic()
                time.sleep(ASK_EVERY)
            if job.state == FAILED:
                raise Refusal(500 if job.error == BROKEN else 422, job.error)
            return Response((job.folder / "timeline.json").read_bytes(), mimetype="application/json")
        finally:
            jobs.remove(job)

    @app.post("/api/videos")
    def begin() -> tuple[dict[str, str], int]:
        return {"job": receive(has_overlay=True).id}, 201

    @app.get("/api/videos/<id>")
    def state(id: str) -> dict[str, Any]:
        return jobs.find(id).as_json()

    @app.get("/api/videos/<id>/<any({}):name>".format(",".join(f'"{name}"' for name in FILES)))
    def result(id: str, name: str) -> Response:
        job = jobs.find(id)
        if name not in job.files:
            raise Refusal(404, "There is no such answer (yet).")
        return send_from_directory(job.folder, name, conditional=True)

    @app.delete("/api/videos/<id>")
    def remove(id: str) -> tuple[str, int]:
        jobs.remove(jobs.find(id))
        return "", 204


def is_sender_gone() -> bool:
    """Return whether the sender of the request has closed the connection, so that nobody can get the answer."""
    reader = request.environ.get("emotion.reader")
    return reader is not None and reader.is_gone


def check_sender(host: str) -> None:
    """Refuse requests from other sites, and names of other sites that point to this machine."""
    name = urlsplit(f"//{request.host}").hostname or ""
    if not is_own_name(name, host):
        raise Refusal(403, f"This server does not answer to the name {name[:100]}.")
    origin = request.headers.get("Origin")
    is_foreign = origin is not None and origin != f"{request.scheme}://{request.host}"
    if is_foreign or request.headers.get("Sec-Fetch-Site") in ("cross-site", "same-site"):
        raise Refusal(403, "Requests of other sites are refused.")


def is_own_name(name: str, host: str) -> bool:
    """Return whether a request's host name means this server.

    Unlike a name, an address cannot be redirected. A server for only this machine accepts only loopback addresses.
    """
    return name in ("localhost", host.lower()) or is_local(name) or (is_address(name) and not is_local(host))


def is_local(host: str) -> bool:
    """Return whether only this machine can connect to ``host``."""
    return host == "localhost" or (is_address(host) and ipaddress.ip_address(host).is_loopback)


def is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def check_length(megabytes: float) -> int:
    """Return the size of an upload in bytes; refuse it before reading if it is unknown or too large."""
    length = request.content_length
    if length is None:
        raise Refusal(411, "The size of the video is not stated.")
    if length == 0:
        raise Refusal(422, "This file is empty.")
    if length > int(megabytes * 1e6):
        raise Refusal(413, f"This file has {length / 1e6:.1f} MB; at most {megabytes:g} MB are accepted.")
    return length


def save_upload(job: Job, length: int) -> None:
    """Write the body into the job's folder while it arrives."""
    if shutil.disk_usage(job.folder).free < 3 * length:
        raise Refusal(507, "There is not enough space on the disk of the server.")
    if (reader := request.environ.get("emotion.reader")) is not None:
        reader.is_upload = True
    with open(job.upload, "wb") as file:
        with suppress(TimeoutError, ConnectionError, ClientDisconnected):
            while chunk := request.stream.read(CHUNK):
                file.write(chunk)
        if file.tell() != length:
            raise Refusal(400, "The video was not received completely.")
