"""Shell scripts of the project, run by bash. Their Python is this process: no command imports torch again.

``$PYTHON`` is a small client that sends its arguments here and prints what comes back. A training by
``main.py`` in fresh processes is tested in tests/engine/test_distributed.py, and that ``python -m`` calls the main
function of a module in tests/test_documents.py.
"""

import contextlib
import importlib
import importlib.util
import json
import os
import shlex
import socket
import subprocess
import sys
import traceback
from pathlib import Path

from tests.support.tools import ROOT, Run, call, captured

CLIENT = """
import json, os, socket, sys
if sys.argv[1] == "-":  # setup.sh asks whether all packages are there
    sys.exit(0)
with socket.create_connection(("127.0.0.1", int(os.environ["SERVER_OF_THE_TEST"]))) as server:
    server.sendall(json.dumps([os.getcwd(), *sys.argv[1:]]).encode())
    server.shutdown(socket.SHUT_WR)
    status, out, err = json.loads(server.makefile(encoding="utf-8").read())
sys.stdout.write(out)
sys.stderr.write(err)
sys.exit(status)
"""


def run_script(folder: Path, script: str, *words: object, **environment: str) -> Run:
    """Run ``bash script words`` in the root of the project; ``folder`` is for the client and the output."""
    folder.mkdir(exist_ok=True)
    (folder / "client.py").write_text(CLIENT, encoding="utf-8")
    python, screen = folder / "python", [folder / "out", folder / "err"]
    client = shlex.join([sys.executable, "-S", "-E", str(folder / "client.py")])
    python.write_text(f'#!/bin/sh\nexec {client} "$@"\n', encoding="utf-8")
    python.chmod(0o755)
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        server.settimeout(0.05)
        settings = {"PYTHON": str(python), "SERVER_OF_THE_TEST": str(server.getsockname()[1])}
        process = subprocess.Popen(
            ["bash", script, *map(str, words)],
            cwd=ROOT,
            env=os.environ | settings | environment,
            stdout=stack.enter_context(open(screen[0], "wb")),
            stderr=stack.enter_context(open(screen[1], "wb")),
        )
        while process.poll() is None:
            with contextlib.suppress(TimeoutError), server.accept()[0] as client:
                client.settimeout(None)
                answer(client)
    return Run(process.returncode, Path(), *(file.read_text(encoding="utf-8") for file in screen))


def run_python(words: list[str]) -> Run:
    """Run ``python main.py ...`` or ``python -m module ...`` in this process."""
    if words[0] == "main.py":
        return call(*words[1:])
    assert words[0] == "-m", words
    is_package = importlib.util.find_spec(words[1]).submodule_search_locations is not None
    module = importlib.import_module(f"{words[1]}.__main__" if is_package else words[1])
    return captured(lambda: module.main(words[2:]))


def answer(client: socket.socket) -> None:
    """Run the command of a client and send its exit status, stdout and stderr."""
    folder, *words = json.loads(client.makefile(encoding="utf-8").read())
    with contextlib.chdir(folder):
        try:
            run = run_python(words)
            result = run.status, run.out, run.err
        except Exception:
            result = 1, "", traceback.format_exc()
    client.sendall(json.dumps(result).encode())
