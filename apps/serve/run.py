"""``--mode serve``: a page on this machine to drop a video on. Nothing leaves the machine, nothing is kept."""

import signal
import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from werkzeug.serving import BaseWSGIServer, WSGIRequestHandler, make_server

from apps.predict.run import Predictor
from apps.serve.app import Limits, is_local, make_app
from apps.serve.jobs import Jobs
from engine.options import Config
from utils.errors import UserError, reason_of

STALLED = 60  # seconds without a byte until a connection is closed


class Quiet(WSGIRequestHandler):
    """Who asked for what is written nowhere."""

    timeout = STALLED

    def log(self, *_: Any) -> None:
        pass


def serve(config: Config, given: dict[str, Any]) -> None:
    """Until Ctrl-C or SIGTERM."""
    check_model(config, given)
    with listen(config) as listener, stopping_on_sigterm():
        predictor = Predictor(**given)
        with open_server(predictor, config, listener) as server:
            for caution in predictor.cautions:
                print(f"warning: {caution}")
            print(announce(config, listener), flush=True)
            server.serve_forever()  # which takes Ctrl-C as its end
            print("\nstopping: what was sent is removed", flush=True)


def check_model(config: Config, given: dict[str, Any]) -> None:
    has_model = config.run.eval_checkpoint is not None or config.video.onnx is not None
    if config.run.eval_checkpoint is not None and config.video.onnx is not None:
        raise UserError("--onnx and --eval-checkpoint both name the model; keep one")
    if not has_model and not {"class_texts", "clip_path"} & set(given):
        raise UserError(
            "--mode serve needs --eval-checkpoint FILE or --onnx FILE (or, for plain CLIP, --clip-path and "
            "--class-texts)"
        )
    if config.video.input is not None:
        raise UserError(f"--input {config.video.input}: videos come by the page; --mode predict reads files")


@contextmanager
def listen(config: Config) -> Iterator[socket.socket]:
    """Before the model is loaded: a port that is taken should be known at once."""
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
    """A server that waits to be run; afterwards no folder is left."""
    limits = Limits(config.video.max_upload_mb, config.video.max_minutes)
    with tempfile.TemporaryDirectory(prefix="emotion-serve-", ignore_cleanup_errors=True) as folder:
        jobs = Jobs(predictor, Path(folder), limits.minutes, forget_after)
        app = make_app(jobs, predictor.about, limits, config.video.host)
        host, port = listener.getsockname()[:2]
        server = make_server(host, port, app, threaded=True, request_handler=Quiet, fd=listener.fileno())
        server.daemon_threads = True
        try:
            yield server
        finally:
            jobs.close()
            server.server_close()


@contextmanager
def stopping_on_sigterm() -> Iterator[None]:
    """As by Ctrl-C: what was sent is removed."""

    def stop(*_: Any) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def announce(config: Config, listener: socket.socket) -> str:
    """The address; and who else may come, where it is not this machine alone."""
    host, port = config.video.host, listener.getsockname()[1]
    lines = [f"open http://{f'[{host}]' if ':' in host else host}:{port}/ in a browser; Ctrl-C ends it"]
    if not is_local(host):
        lines.append(
            f"warning: --host {host}: whoever reaches port {port} of this machine can send videos, without a password "
            f"and unencrypted"
        )
    return "\n".join(lines)
