"""Every way in which a server can fail has its own error, is tried again only where that helps, and never tells the key."""

import contextlib
import json
import logging
import pickle
import socket
import threading
import time
import traceback

import pytest
from werkzeug import Response

from gymformer.agents.backends import (
    LARGEST_BODY,
    Backend,
    BackendAuthError,
    BackendBadOutput,
    BackendError,
    BackendTimeout,
    BackendUnavailable,
)
from gymformer.agents.settings import section_settings
from tests.agents.server import KEY, Script, agent_config, answer

MESSAGES = [{"role": "user", "content": "?"}]


@pytest.fixture
def waits() -> list[float]:
    return []


@pytest.fixture
def backend(httpserver, waits):
    made = []

    def make(**changes) -> Backend:
        made.append(Backend(section_settings("agent", agent_config(httpserver, **changes)), sleep=waits.append))
        return made[-1]

    yield make
    for one in made:
        one.close()


def ask(backend: Backend) -> str:
    return backend.ask(MESSAGES, {"type": "object"}, 7)


def test_what_is_asked_for_arrives(httpserver, backend):
    script = Script(httpserver, answer(1))
    assert ask(backend(temperature=0.3, max_tokens=50)) == answer(1)
    (request,) = script.requests
    assert (request["model"], request["temperature"], request["seed"], request["max_tokens"]) == ("stub", 0.3, 7, 50)
    assert request["response_format"]["json_schema"]["schema"] == {"type": "object"}
    assert script.keys == [f"Bearer {KEY}"]


@pytest.mark.parametrize(("kind", "sent"), [("json_object", {"type": "json_object"}), ("text", None)])
def test_a_server_without_schemas_is_sent_none(httpserver, backend, kind, sent):
    script = Script(httpserver, answer(1))
    ask(backend(response_format=kind))
    assert script.requests[0].get("response_format") == sent


def test_ollama_is_the_same_client_without_the_key(httpserver, backend):
    script = Script(httpserver, answer(0))
    assert ask(backend(backend="ollama")) == answer(0)
    assert KEY not in str(script.keys)


def test_429_then_an_answer_is_an_answer(httpserver, backend, waits):
    script = Script(httpserver, Response("busy", 429, headers={"Retry-After": "3"}), Response("busy", 429), answer(1))
    assert ask(backend()) == answer(1)
    assert len(script.requests) == 3
    assert waits[0] == 3 and 0 <= waits[1] <= 1.0  # what the server asked for; jitter


def test_500s_end_after_the_stated_number_of_attempts(httpserver, backend, waits):
    script = Script(httpserver, Response("out of memory \x1b[31m", 503))
    with pytest.raises(BackendUnavailable, match=r"status 503\): out of memory \\x1b\[31m \(tried 3 times\)"):
        ask(backend(max_retries=2))
    assert len(script.requests) == 3 and len(waits) == 2
    assert all(0 <= wait <= 0.5 * 2**i for i, wait in enumerate(waits))


@pytest.mark.parametrize(("status", "error", "text"), [
    (401, BackendAuthError, "check the environment variable OPENAI_API_KEY"), (403, BackendAuthError, "OPENAI_API_KEY"),
    (404, BackendUnavailable, "does not know the model 'stub'"), (400, BackendUnavailable, "response_format: text"),
    (302, BackendUnavailable, "status 302"), (422, BackendUnavailable, "status 422")])  # fmt: skip
def test_what_no_attempt_would_change_is_asked_once(httpserver, backend, waits, status, error, text):
    script = Script(httpserver, Response(f"wrong key {KEY}", status, headers={"Location": "/v1/elsewhere"}), answer(1))
    with pytest.raises(error, match=text) as caught:
        ask(backend())
    assert len(script.requests) == 1 and waits == []
    assert KEY not in str(caught.value)


def test_a_slow_server_is_a_timeout(httpserver, backend):
    def slow(request):
        time.sleep(0.4)
        return answer(1)

    script = Script(httpserver, slow)
    with pytest.raises(BackendTimeout, match=r"within 0.1 s .*\(tried 2 times\)"):
        ask(backend(timeout=0.1, max_retries=1))
    time.sleep(0.5)
    assert len(script.requests) == 2


def test_a_trickle_ends_at_the_time_limit(httpserver, backend):
    def drops():
        for _ in range(30):
            time.sleep(0.05)
            yield b" "

    Script(httpserver, lambda request: Response(drops(), content_type="application/json"))
    began = time.monotonic()
    with pytest.raises(BackendTimeout):
        ask(backend(timeout=0.2, max_retries=0))
    assert time.monotonic() - began < 1


def test_a_trickle_of_complaint_ends_too(httpserver, backend):
    def drops():
        for _ in range(30):
            time.sleep(0.05)
            yield b"no "

    Script(httpserver, lambda request: Response(drops(), 400))
    began = time.monotonic()
    with pytest.raises(BackendUnavailable, match="status 400"):
        ask(backend(connect_timeout=0.2))
    assert time.monotonic() - began < 1


def test_a_flood_ends_at_the_size_limit(httpserver, backend, waits):
    Script(httpserver, Response(b"x" * (LARGEST_BODY + 100_000)))
    with pytest.raises(BackendBadOutput, match="more than 1,000,000 bytes"):
        ask(backend())
    assert waits == []


def test_of_a_flood_of_complaint_only_the_beginning_is_read(httpserver, backend):
    Script(httpserver, Response(b"y" * 5_000_000, 400))
    with pytest.raises(BackendUnavailable) as caught:
        ask(backend())
    assert len(str(caught.value)) < 700


@pytest.mark.parametrize("body", [
    b"", b"{", b"<html>not here</html>", b'data: {"choices": [{"delta": {"content": "1"}}]}\n\ndata: [DONE]\n\n', b"[]", b"{}",
    b'{"choices": []}', b'{"choices": [{"message": {"content": 5}}]}', b"[" * 100_000, b"\xff\xfe"])  # fmt: skip
def test_what_is_not_a_chat_completion_is_bad_output_and_not_asked_for_again(httpserver, backend, waits, body):
    script = Script(httpserver, Response(body, content_type="application/json"))
    with pytest.raises(BackendBadOutput, match="answered with"):
        ask(backend())
    assert len(script.requests) == 1 and waits == []


def test_a_refusal_without_content_is_an_empty_text(httpserver, backend):
    Script(httpserver, lambda request: Response(json.dumps({"choices": [{"message": {"content": None}}]})))
    assert ask(backend()) == ""


@contextlib.contextmanager
def raw_server(sends: bytes):
    """Reads a request, sends some bytes and hangs up."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(5)

        def serve() -> None:
            with contextlib.suppress(OSError):
                connection, _ = listener.accept()
                with connection:
                    connection.recv(100_000)
                    connection.sendall(sends)

        thread = threading.Thread(target=serve)
        thread.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/v1"
        thread.join(5)


@pytest.mark.parametrize("sends", [b"", b'HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n{"choices": [', b"nonsense\r\n\r\n"])
def test_a_connection_that_breaks_off_is_unavailable(backend, sends, waits):
    with raw_server(sends) as url, pytest.raises(BackendUnavailable, match="broke off"):
        ask(backend(base_url=url))
    assert waits == []


def test_no_server_at_all_is_unavailable(backend):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with pytest.raises(BackendUnavailable, match="is it running"):
        ask(backend(base_url=f"http://127.0.0.1:{port}/v1"))


def test_the_key_is_in_no_message_log_or_copy(httpserver, backend, caplog):
    caplog.set_level(logging.DEBUG)
    texts = []
    for reply in (Response(f"bad {KEY}", 401), Response(f"bad {KEY}", 500), Response(f"bad {KEY}", 400), Response(KEY), KEY):
        httpserver.clear()
        Script(httpserver, reply)
        one = backend(max_retries=0)
        try:
            texts.append(ask(one))
        except BackendError as error:
            texts += ["".join(traceback.format_exception(error)), repr(error)]
        texts += [repr(one), repr(one.settings), one.settings.model_dump_json()]
        with pytest.raises(TypeError, match="holds a key"):
            pickle.dumps(one)
    assert len(texts) == 24
    assert KEY not in "".join(texts) and KEY not in caplog.text


def test_a_missing_key_names_the_variable(backend, monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY")
    with pytest.raises(BackendAuthError, match="OPENAI_API_KEY is not set"):
        backend()
    backend(api_key_env="")


def test_the_key_of_another_variable(httpserver, backend, monkeypatch):
    monkeypatch.setenv("MY_API_KEY", "another")
    script = Script(httpserver, answer(1))
    ask(backend(api_key_env="MY_API_KEY"))
    assert script.keys == ["Bearer another"]


def test_a_key_does_not_travel_unencrypted(backend):
    with pytest.raises(BackendAuthError, match=r"unencrypted to http://models\.example/v1; use https") as caught:
        backend(base_url="http://models.example/v1")
    assert KEY not in str(caught.value)
