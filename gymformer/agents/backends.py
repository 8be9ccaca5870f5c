"""A language model behind HTTP: one client for every server of the OpenAI protocol, Ollama's among them."""

import json
import os
import random
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from gymformer.agents.settings import AgentSettings, check_base_url
from gymformer.env.rendering import printable

__all__ = [
    "Backend",
    "BackendAuthError",
    "BackendBadOutput",
    "BackendError",
    "BackendTimeout",
    "BackendUnavailable",
    "Usage",
]

BASE_URLS = {"openai": "https://api.openai.com/v1", "ollama": "http://localhost:11434/v1"}
KEY_VARIABLES = {"openai": "OPENAI_API_KEY", "ollama": None}
LOCAL_HOSTS = ("localhost", "127.0.0.1", "::1")
LARGEST_BODY = 1_000_000  # bytes of an answer, headers aside
LONGEST_EXCERPT = 300  # characters of a server's complaint
FIRST_WAIT, LONGEST_WAIT = 0.5, 30.0  # seconds between two attempts
NO_KEY = "none"  # the client insists on one; servers that ask for none ignore it


class BackendError(RuntimeError):
    """The language model could not be asked. Never a reward, never an action: the run stops, and can be resumed."""


class BackendAuthError(BackendError):
    """The key is missing, wrong, or must not be sent there."""


class BackendTimeout(BackendError):
    """No complete answer came in time, however often it was asked for."""


class BackendUnavailable(BackendError):
    """The server is not there, refuses, is overloaded or does not know the model."""


class BackendBadOutput(BackendError):
    """What came back is not what was asked for."""


class _Refusal(Exception):
    """A status other than success, with the beginning of what the server said."""

    def __init__(self, status: int, said: str, wait: float | None):
        super().__init__(status)
        self.status, self.said, self.wait = status, said, wait


class _Late(Exception):
    """The answer did not end in time, though bytes kept coming."""


class _Huge(Exception):
    """The answer is longer than anything that could be meant."""


@dataclass(slots=True)
class Usage:
    """What the answers of a Backend have cost so far."""

    prompt_tokens: int = 0  # read by the model, as its server counts them
    completion_tokens: int = 0  # written by it
    untold: int = 0  # answers whose server did not say


class Backend:
    """Asks one model of one server. The key is read here, from the environment, and kept by the client alone.

    What is worth another attempt (429, 5xx, a time-out) is attempted up to `settings.max_retries` times more, after waits that
    double, with jitter, or after what the server asks for. Everything else raises at once. `usage` counts tokens.
    """

    def __init__(self, settings: AgentSettings, *, sleep: Callable[[float], None] = time.sleep):
        try:
            import openai
        except ImportError as error:
            raise ImportError(
                "playing over HTTP needs the package openai; install it: pip install 'gymformer[agents]'"
            ) from error
        self.settings, self._sleep, self._jitter, self._openai = settings, sleep, random.Random(), openai
        self.base_url = check_base_url(settings.base_url or BASE_URLS[settings.backend])
        self.attempts = 0  # requests that were sent
        self.usage = Usage()
        key = self._secret = self._key()
        self._client = openai.OpenAI(
            api_key=key or NO_KEY, base_url=self.base_url, max_retries=0,
            timeout=openai.Timeout(settings.timeout, connect=settings.connect_timeout),
            default_headers={"Accept-Encoding": "identity"},  # so that what is counted is what is read
            http_client=openai.DefaultHttpxClient(follow_redirects=False, event_hooks={"response": [self._stop_refusals]}))  # fmt: skip

    def __repr__(self) -> str:
        return f"Backend({self.settings.backend}, {self.settings.model!r}, {self.base_url!r})"

    def __getstate__(self) -> dict[str, Any]:
        raise TypeError("a Backend holds a key and is not pickled; build another from the same settings")

    def ask(self, messages: list[dict[str, str]], schema: Mapping[str, Any] | None, seed: int | None) -> str:
        """The model's answer to the conversation, as text; `schema` is a JSON schema that it is asked to follow.

        Raises BackendAuthError, BackendTimeout, BackendUnavailable or BackendBadOutput (of the protocol, not of the text).
        """
        retries = 0
        answer, wait = self._attempt(messages, schema, seed)
        while not isinstance(answer, str) and wait is not None and retries < self.settings.max_retries:
            # full jitter: aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter
            self._sleep(max(wait, self._jitter.uniform(0, min(LONGEST_WAIT, FIRST_WAIT * 2**retries))))
            retries += 1
            answer, wait = self._attempt(messages, schema, seed)
        if isinstance(answer, str):
            return self._without_key(answer)
        tried = f" (tried {retries + 1} times)" if retries else ""
        raise type(answer)(f"{answer}{tried}")

    def close(self) -> None:
        self._client.close()

    def _attempt(
        self, messages: list[dict[str, str]], schema: Mapping[str, Any] | None, seed: int | None
    ) -> tuple[str | BackendError, float | None]:
        """The answer; or what went wrong, and the least wait in seconds if another attempt is worth it."""
        openai, where = self._openai, f"{self.settings.backend} at {self.base_url}"
        self.attempts += 1
        try:
            return self._content(self._body(self._request(messages, schema, seed))), None
        except BackendBadOutput as error:
            return BackendBadOutput(f"{where} {error}"), None
        except (openai.OpenAIError, _Refusal, _Late, _Huge) as error:
            cause = error if isinstance(error, _Refusal | _Late | _Huge) or error.__cause__ is None else error.__cause__
        except Exception as error:
            if type(error).__module__.split(".")[0] not in ("httpx", "httpx2", "httpcore", "httpcore2"):
                raise
            cause = error  # a connection that broke while the body was read
        if isinstance(cause, _Refusal):
            return self._refused(cause, where)
        if isinstance(cause, _Huge):
            return BackendBadOutput(
                f"{where} answered with more than {LARGEST_BODY:,} bytes; is base_url a model's server?"
            ), None
        if isinstance(cause, _Late | openai.APITimeoutError) or "Timeout" in type(cause).__name__:
            return BackendTimeout(f"{where} gave no complete answer within {self.settings.timeout:g} s "
                                  f"({self.settings.connect_timeout:g} s to connect); raise agent.timeout"), 0.0  # fmt: skip
        return BackendUnavailable(f"{where} cannot be reached, or broke off ({type(cause).__name__}); is it running?"), None

    def _request(self, messages: list[dict[str, str]], schema: Mapping[str, Any] | None, seed: int | None) -> dict[str, Any]:
        settings = self.settings
        request: dict[str, Any] = {"model": settings.model, "messages": messages, "temperature": settings.temperature}
        if settings.max_tokens is not None:
            request["max_tokens"] = settings.max_tokens
        if seed is not None:
            request["seed"] = seed
        if settings.response_format == "json_schema" and schema is not None:
            request["response_format"] = {"type": "json_schema",
                                          "json_schema": {"name": "answer", "strict": True, "schema": dict(schema)}}  # fmt: skip
        elif settings.response_format == "json_object":
            request["response_format"] = {"type": "json_object"}
        return request

    def _body(self, request: dict[str, Any]) -> bytes:
        """All bytes of a successful answer. A slow trickle ends at the time limit, a flood at LARGEST_BODY."""
        deadline, body = time.monotonic() + self.settings.timeout, bytearray()
        with self._client.chat.completions.with_streaming_response.create(**request) as response:
            for chunk in response.iter_bytes():
                body += chunk
                if len(body) > LARGEST_BODY:
                    raise _Huge
                if time.monotonic() > deadline:
                    raise _Late
        return bytes(body)

    def _content(self, body: bytes) -> str:
        """The text of the first choice of a chat completion, whose cost is counted."""
        try:
            completion = json.loads(body)
            content = completion["choices"][0]["message"]["content"]
        except (ValueError, LookupError, TypeError, RecursionError):
            raise BackendBadOutput(
                "answered with something that is not a chat completion; base_url should end in /v1"
            ) from None
        self._count(completion.get("usage"))
        if content is None:  # a refusal, or a tool call: the model's doing, not the server's
            return ""
        if not isinstance(content, str):
            raise BackendBadOutput(f"answered with a message whose content is a {type(content).__name__}, not a text")
        return content

    def _count(self, usage: Any) -> None:
        match usage:
            case {"prompt_tokens": int(read), "completion_tokens": int(written)} if min(read, written) >= 0:
                self.usage.prompt_tokens += read
                self.usage.completion_tokens += written
            case _:
                self.usage.untold += 1

    def _refused(self, refusal: _Refusal, where: str) -> tuple[BackendError, float | None]:
        status = refusal.status
        if status in (401, 403):  # what the server says is left out: some repeat parts of the key
            variable = self._variable()
            remedy = f"check the environment variable {variable}" if variable else "name its key's variable: agent.api_key_env"
            return BackendAuthError(f"{where} does not accept the key (status {status}); {remedy}"), None
        said = f": {refusal.said}" if refusal.said else ""
        if status == 429 or status >= 500:
            return BackendUnavailable(f"{where} is overloaded or broken (status {status}){said}"), refusal.wait or 0.0
        if status == 408:
            return BackendTimeout(f"{where} says that the request took too long (status 408)"), refusal.wait or 0.0
        what = {404: f"does not know the model {self.settings.model!r}, or base_url is wrong",
                400: "does not accept the request; agent.response_format: text suits servers without JSON schemas"}  # fmt: skip
        return BackendUnavailable(f"{where} {what.get(status, 'refuses')} (status {status}){said}"), None

    def _stop_refusals(self, response: Any) -> None:
        """Reads the beginning of a refusal and no more of it, however long it is."""
        if response.status_code < 300:
            return
        deadline, said = time.monotonic() + self.settings.connect_timeout, b""
        with _quiet():
            for chunk in response.iter_bytes():
                said += chunk
                if len(said) > 4 * LONGEST_EXCERPT or time.monotonic() > deadline:
                    break
        response.close()
        text = " ".join(printable(self._without_key(said.decode("utf-8", "replace"))).split())
        raise _Refusal(response.status_code, text[:LONGEST_EXCERPT], _seconds(response.headers.get("retry-after")))

    def _without_key(self, text: str) -> str:
        """A server may repeat what it was sent; what it says is shown and kept."""
        return text.replace(self._secret, "[key]") if self._secret else text

    def _variable(self) -> str | None:
        own = self.settings.api_key_env
        return KEY_VARIABLES[self.settings.backend] if own is None else own or None

    def _key(self) -> str | None:
        variable = self._variable()
        if variable is None:
            return None
        key = os.environ.get(variable, "").strip()
        if not key:
            raise BackendAuthError(f"the environment variable {variable} is not set; set it to the key of {self.base_url}, or say "
                                   'agent.api_key_env: "" for a server that asks for none')  # fmt: skip
        parts = urlsplit(self.base_url)
        if parts.scheme == "http" and parts.hostname not in LOCAL_HOSTS:
            raise BackendAuthError(f"the key in {variable} would travel unencrypted to {self.base_url}; use https, or say "
                                   'agent.api_key_env: "" for a server that asks for none')  # fmt: skip
        if not key.isascii() or not key.isprintable():
            raise BackendAuthError(f"the environment variable {variable} holds characters that no key has; set it again")
        return key


@contextmanager
def _quiet() -> Iterator[None]:
    """A refusal whose text cannot be read is a refusal all the same."""
    try:
        yield
    except Exception as error:
        if type(error).__module__.split(".")[0] not in ("httpx", "httpx2", "httpcore", "httpcore2"):
            raise


def _seconds(header: str | None) -> float | None:
    """Of a Retry-After header that gives a number; at most LONGEST_WAIT."""
    try:
        wait = float(header or "")
    except ValueError:
        return None
    return min(wait, LONGEST_WAIT) if wait >= 0 else None
